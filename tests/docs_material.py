"""The files that code blocks of the documentation work on; small, and made anew by each run.

``examples/zoo/make.py`` makes the classifier, the table and the test samples, as a reader may. What
pages about other kinds of files need beside them is made here.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from examples.zoo.make import SEEN, make_zoo, read_table
from onnx import TensorProto, helper, numpy_helper, save
from PIL import Image

from icis_cli import quiet

#: Animals that there are photographs of.
_PHOTOGRAPHED = ("cow", "horse", "skunk", "zebra", "penguin")


def make_material(folder: Path) -> None:
    """Write all files that pages of the documentation name, but those that their blocks make."""
    make_zoo(folder)
    names, attributes = read_table()
    state = torch.load(folder / "resnet18.pt", weights_only=True)
    _training_checkpoint(folder / "checkpoint.pth", state)
    _onnx(folder / "model.onnx", state)
    _vit(folder / "vit", names[:SEEN], state)
    _photos(folder / "photos")
    _word_vectors(folder / "glove.txt", names, attributes.numpy())
    _taxonomy(folder / "taxonomy.csv", names, attributes.numpy())


def copy_material(material: Path, folder: Path) -> None:
    """Give a page its own folder: the same files under other names, which takes no room."""
    shutil.copytree(material, folder, copy_function=os.link)


def _training_checkpoint(path: Path, state: dict[str, torch.Tensor]) -> None:
    """As torchvision's references/classification/train.py writes it."""
    torch.save(
        {
            "model": state,
            "model_ema": {f"module.{key}": value for key, value in state.items()},
            "optimizer": {"state": {}, "param_groups": []},
            "lr_scheduler": {"last_epoch": 90},
            "epoch": 89,
            "args": argparse.Namespace(model="resnet18", lr=0.1, num_classes=SEEN),
        },
        path,
    )


def _onnx(path: Path, state: dict[str, torch.Tensor]) -> None:
    """A convolution, a mean over the image, and the final layer of the zoo's classifier."""
    kernel = np.random.default_rng(0).standard_normal((512, 3, 3, 3)).astype(np.float32)
    weights = {
        "conv.weight": kernel,
        "fc.weight": state["fc.weight"].numpy(),
        "fc.bias": state["fc.bias"].numpy(),
    }
    nodes = [
        helper.make_node("Conv", ["image", "conv.weight"], ["maps"]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["means"]),
        helper.make_node("Flatten", ["means"], ["features"]),
        helper.make_node("Gemm", ["features", "fc.weight", "fc.bias"], ["logits"], transB=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", SEEN])
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "zoo", [image], [logits], stored)
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def _vit(folder: Path, names: list[str], state: dict[str, torch.Tensor]) -> None:
    """A folder of transformers that knows the names of its classes."""
    with quiet.quietly():
        import transformers
    config = transformers.ViTConfig(
        hidden_size=512,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=16,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    model: Any = transformers.ViTForImageClassification(config)
    with torch.no_grad():
        model.classifier.weight.copy_(state["fc.weight"])
        model.classifier.bias.copy_(state["fc.bias"])
    with quiet.quietly():
        model.save_pretrained(folder)
        size = {"height": 32, "width": 32}
        transformers.ViTImageProcessor(size=size).save_pretrained(folder)


def _photos(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for name in _PHOTOGRAPHED:
        (folder / name).mkdir(parents=True)
        for number in range(2):
            pixels = generator.integers(0, 256, (240, 320, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")


def _word_vectors(path: Path, names: list[str], attributes: np.ndarray) -> None:
    """Vectors that tell as much as the attributes do, of names and of the words in them."""
    mixing = np.random.default_rng(0).standard_normal((attributes.shape[1], 16))
    vectors = {
        name.replace(" ", "_"): row @ mixing for name, row in zip(names, attributes, strict=True)
    }
    lines = [f"{word} {' '.join(f'{x:.4f}' for x in row)}" for word, row in vectors.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _taxonomy(path: Path, names: list[str], attributes: np.ndarray) -> None:
    """Three levels: animal, its kind, and what it eats or where it lives."""
    header = (path.parent / "animals.csv").read_text(encoding="utf-8").splitlines()[0]
    columns = header.split(",")[1:]
    links = {("animal", "")}
    for name, row in zip(names, attributes, strict=True):
        has = {column for column, value in zip(columns, row, strict=True) if value == 1}
        kinds = {"feathers": "bird", "flippers": "sea animal", "hooves": "ungulate"}
        kind = next((found for sign, found in kinds.items() if sign in has), "other mammal")
        ways = ("eats meat", "eats fish", "at home with people", "in herds", "in forests")
        way = next((sign for sign in ways if sign in has), "on its own")
        links |= {(kind, "animal"), (f"{kind} {way}", kind), (name, f"{kind} {way}")}
    lines = ["child,parent", *(f"{child},{parent}" for child, parent in sorted(links) if parent)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

"""Inputs of the golden record: the same bytes on every machine, made of nothing.

Every number is an integer over a power of two, drawn by numpy's generator and multiplied and added
as integers, so no processor and no library of linear algebra has a say in it.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

Array = NDArray[Any]
State = dict[str, torch.Tensor]

#: The classifier knows the first 24.
NAMES = (
    "ant", "bat", "bear", "bee", "bison", "camel", "cat", "cow", "crab", "crow", "deer", "dog",
    "duck", "eel", "elk", "fox", "frog", "goat", "hare", "hen", "horse", "lion", "mole", "mouse",
    "newt", "okapi", "polar bear", "zebra",
)  # fmt: skip
KNOWN = 24
WIDTH = 12
ATTRIBUTES = ("furry", "striped", "large", "fast", "aquatic", "horned")

#: Of the network that looks at images.
NETWORK = "shufflenet_v2_x0_5"


class World:
    """Descriptions of all classes, and rows that follow from them but for some noise."""

    def __init__(self, width: int = WIDTH) -> None:
        """Draw it, with rows for a layer of ``width`` inputs."""
        generator = np.random.default_rng(7)
        described = generator.integers(-8, 9, (len(NAMES), len(ATTRIBUTES)))
        mix = generator.integers(-8, 9, (len(ATTRIBUTES), width + 1))
        noise = generator.integers(-40, 41, (len(NAMES), width + 1))
        self.descriptors: Array = (described / 8).astype(np.float32)
        self.rows: Array = ((described @ mix + noise) / 64).astype(np.float32)

    def head(self, prefix: str = "fc.", *, bias: bool = True) -> State:
        """Return the rows of the known classes as a layer."""
        rows = torch.from_numpy(self.rows[:KNOWN].copy())
        layer = {f"{prefix}weight": rows[:, :-1].contiguous()}
        return {**layer, f"{prefix}bias": rows[:, -1].contiguous()} if bias else layer

    def state(self, prefix: str = "", *, bias: bool = True) -> State:
        """Return a network with a body that is there to be copied."""
        body = {
            f"{prefix}body.weight": torch.arange(WIDTH * 9, dtype=torch.float32).reshape(
                12, 1, 3, 3
            ),
            f"{prefix}body.count": torch.tensor(7),
        }
        return {**body, **self.head(f"{prefix}fc.", bias=bias)}

    def samples(self, count: int = 5) -> tuple[Array, Array]:
        """Return inputs of the final layer around each class's own row, and their class numbers."""
        generator = np.random.default_rng(8)
        labels = np.repeat(np.arange(len(NAMES)), count)
        noise = generator.integers(-100, 101, (len(labels), WIDTH))
        return (self.rows[labels, :WIDTH] + noise / 64).astype(np.float32), labels


def make_material(folder: Path) -> None:
    """Write all files."""
    folder.mkdir()
    world = World()
    _write_lists(folder)
    _write_tables(folder, world)
    _write_checkpoints(folder, world)
    _write_training_checkpoints(folder, world)
    _write_folders(folder, world)
    _write_onnx(folder, world)
    _write_samples(folder, world)
    _write_images(folder)
    _write_data_set(folder / "xlsa17" / "TOY")


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_lines(path: Path, lines: Sequence[object]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_lists(folder: Path) -> None:
    """Write lists of names and numbers."""
    _write_lines(folder / "seen.txt", NAMES[:KNOWN])
    _write_lines(folder / "seen-rows.txt", range(KNOWN))
    _write_lines(folder / "all.txt", NAMES)
    _write_lines(folder / "new.txt", ("zebra", "newt"))
    _write_lines(folder / "new-rows.txt", (27, 24))
    _write_lines(folder / "added.txt", NAMES[KNOWN:])
    _write_lines(folder / "rest.txt", ("okapi", "polar bear"))
    _write_lines(folder / "twice.txt", ("zebra", "zebra"))
    _write_lines(folder / "unknown.txt", ("zebra", "unicorn"))
    _write_lines(folder / "synonyms.txt", ("newt|eft", "okapi", "polar bear|ice bear", "zebra"))
    (folder / "empty.txt").touch()


def _csv(names: Sequence[str], values: Array, separator: str = ",") -> str:
    lines = [["class", *ATTRIBUTES[: values.shape[1]]]]
    lines += [
        [name, *(f"{value:g}" for value in row)] for name, row in zip(names, values, strict=True)
    ]
    return "".join(separator.join(line) + "\n" for line in lines)


def _write_tables(folder: Path, world: World) -> None:
    """Write the descriptions in every format, and tables with one thing wrong each."""
    import h5py
    import pyarrow as pa
    from pyarrow import parquet

    values = world.descriptors
    named = dict(zip(NAMES, values.tolist(), strict=True))
    (folder / "attrs.csv").write_text(_csv(NAMES, values))
    (folder / "attrs.tsv").write_text(_csv(NAMES, values, "\t"))
    (folder / "known.csv").write_text(_csv(NAMES[:KNOWN], values[:KNOWN]))
    (folder / "new.csv").write_text(_csv(NAMES[KNOWN:], values[KNOWN:]))
    shuffled = np.random.default_rng(9).permutation(len(NAMES))
    (folder / "shuffled.csv").write_text(_csv([NAMES[k] for k in shuffled], values[shuffled]))
    np.save(folder / "attrs.npy", values)
    np.savez(folder / "attrs.npz", descriptors=values, names=np.array(NAMES))
    _write_json(folder / "attrs.json", named)
    save_arrays({"descriptors": values}, folder / "attrs.safetensors")
    _write_matlab(folder / "attrs.mat", {"att": values.T})
    with h5py.File(folder / "attrs73.mat", "w", userblock_size=512) as file:
        file.create_dataset("att", data=values.astype(np.float64), track_times=False)
    _mark_as_matlab(folder / "attrs73.mat")
    columns = {"class": list(NAMES), **dict(zip(ATTRIBUTES, values.T.tolist(), strict=True))}
    parquet.write_table(pa.table(columns), folder / "attrs.parquet")
    second = np.random.default_rng(10).integers(-8, 9, (len(NAMES), 4)) / 8
    (folder / "second.csv").write_text(_csv(NAMES, second))
    _write_word_vectors(folder, values)
    _write_wrong_tables(folder, values)


def _write_matlab(path: Path, values: Mapping[str, Any]) -> None:
    """Write a file of version 5 without the time of day in its title."""
    import scipy.io

    scipy.io.savemat(path, values)
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 5.0 MAT-file, made for the golden record".ljust(116))


def _mark_as_matlab(path: Path) -> None:
    """Write what MATLAB writes before the HDF5 part of a file of version 7.3."""
    title = b"MATLAB 7.3 MAT-file, made for the golden record".ljust(124)
    with path.open("r+b") as stream:
        stream.write(title + b"\x00\x02IM")


def _write_word_vectors(folder: Path, values: Array) -> None:
    """Write GloVe's and word2vec's text, and a taxonomy."""
    lines = [
        " ".join([name.replace(" ", "_"), *(f"{value:g}" for value in row)])
        for name, row in zip(NAMES, values, strict=True)
    ]
    lines += ["polar 1 0 0.5 0 0.25 0", "eft 0 0.5 0 0.25 1 0", "ice 1 0 0 0 1 0.5"]
    _write_lines(folder / "glove.txt", lines)
    _write_lines(folder / "words.vec", [f"{len(lines)} {len(ATTRIBUTES)}", *lines])
    kinds = ("bird", "fish", "insect", "mammal", "reptile")
    pairs = [f"{name},{kinds[n % len(kinds)]}" for n, name in enumerate(NAMES)]
    pairs += [f"{kind},animal" for kind in kinds]
    _write_lines(folder / "taxonomy.csv", ["child,parent", *pairs])


def _write_wrong_tables(folder: Path, values: Array) -> None:
    """Write tables with one thing wrong each."""
    bad = folder / "bad"
    bad.mkdir()
    text = _csv(NAMES, values)
    lines = text.splitlines()
    with_nan, with_infinity = values.copy(), values.copy()
    with_nan[3, 2], with_infinity[5, 1] = np.nan, np.inf
    same = values.copy()
    same[26] = same[27]
    contents = {
        "duplicate.csv": "\n".join([*lines, lines[-1]]) + "\n",
        "nan.csv": _csv(NAMES, with_nan),
        "infinity.csv": _csv(NAMES, with_infinity),
        "ragged.csv": text.replace(lines[4], lines[4] + ",1"),
        "words.csv": text.replace(lines[4], "bee,yes,no,no,no,no,no"),
        "titles.csv": lines[0] + "\n",
        "empty.csv": "",
        "few.csv": "\n".join(lines[:4]) + "\n",
        "same.csv": _csv(NAMES, same),
        "list.json": "[1, 2",
        "table.xlsx": "PK",
        "pickle.pkl": "",
    }
    for name, content in contents.items():
        (bad / name).write_text(content, encoding="utf-8")
    (bad / "latin.csv").write_bytes(text.replace("bee", "b\xeae").encode("latin-1"))
    np.save(bad / "nan.npy", with_nan)
    np.save(bad / "flat.npy", values.ravel())
    (bad / "objects.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '|O', ".ljust(128))
    (bad / "half.npz").write_bytes((folder / "attrs.npz").read_bytes()[:300])
    np.save(bad / "wide.npy", values[:, :4])


def _write_checkpoints(folder: Path, world: World) -> None:
    """Write the network in single files, and files that are refused."""
    state = world.state()
    torch.save(state, folder / "model.pt")
    (folder / "legacy.pt").write_bytes(legacy_checkpoint(state))
    torch.save(world.state(bias=False), folder / "nobias.pt")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    for name, dtype in (("half", torch.float16), ("bf16", torch.bfloat16)):
        save_file(
            {key: _as(value, dtype) for key, value in state.items()}, folder / f"{name}.safetensors"
        )
    double = {key: _as(value, torch.float64) for key, value in state.items()}
    torch.save(double, folder / "double.pt")
    two = {**state, **{f"other.{key[3:]}": value for key, value in world.head().items()}}
    torch.save(two, folder / "two-heads.pt")
    bad = folder / "bad"
    torch.save({"body.weight": torch.ones(4, 4, 3, 3)}, bad / "headless.pt")
    torch.save(_zeroed(torch.nn.Linear(8, 10)), bad / "module.pt")
    torch.save(state | {"fc.bias": torch.full((KNOWN,), torch.nan)}, bad / "nan.pt")
    torch.save({key: _as(value, torch.int8) for key, value in state.items()}, bad / "int8.pt")
    content = (folder / "model.pt").read_bytes()
    (bad / "half.pt").write_bytes(content[: len(content) // 2])
    (bad / "empty.pt").touch()
    (bad / "text.pt").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    )
    (bad / "zeros.safetensors").write_bytes(bytes(100))
    (bad / "half.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:400])
    (bad / "keras.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    reference = {
        f"fc.{key}": value for key, value in zip(("weight", "bias"), _all(world), strict=True)
    }
    torch.save(reference, folder / "reference.pt")


class _LegacyPickler(pickle.Pickler):
    """Pickles tensors without their numbers, whose keys are 0, 1, ... in order."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=2)
        self.count = 0

    def persistent_id(self, value: object) -> object:
        if not isinstance(value, torch.storage.TypedStorage):
            return None
        self.count += 1
        kind = torch.LongStorage if value.dtype == torch.int64 else torch.FloatStorage
        return ("storage", kind, str(self.count - 1), "cpu", len(value), None)


def legacy_checkpoint(state: State) -> bytes:
    """Return what ``torch.save`` wrote before 1.6; today it takes addresses in memory for keys."""
    stream = io.BytesIO()
    sizes = {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
    for part in (0x1950A86A20F9469CFC6C, 1001, system):
        pickle.dump(part, stream, protocol=2)
    pickler = _LegacyPickler(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its storages are deprecated
        pickler.dump(OrderedDict(state))
    pickle.dump([str(key) for key in range(pickler.count)], stream, protocol=2)
    for value in state.values():
        stream.write(value.numel().to_bytes(8, "little") + value.numpy().tobytes())
    return stream.getvalue()


def _zeroed(module: torch.nn.Module) -> torch.nn.Module:
    for value in module.parameters():
        torch.nn.init.zeros_(value)
    return module


def _as(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _all(world: World) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights and biases of all classes, as if trained on the new ones, too."""
    rows = torch.from_numpy(world.rows)
    return rows[:, :-1].contiguous(), rows[:, -1].contiguous()


def _write_training_checkpoints(folder: Path, world: World) -> None:
    """Write the network as training scripts keep it."""
    state = world.state()
    optimizer = {"state": {0: {"step": 3}}, "param_groups": [{"lr": 0.125, "params": [0]}]}
    wrapped = {"state_dict": world.state("module."), "epoch": 3, "arch": "resnet18"}
    torch.save({**wrapped, "optimizer": optimizer, "best_acc1": 0.75}, folder / "wrapped.pth")
    averaged = {key: value + 1 if key == "fc.bias" else value for key, value in state.items()}
    twins = {"model": state, "model_ema": {f"module.{k}": v for k, v in averaged.items()}}
    torch.save({**twins, "optimizer": optimizer, "epoch": 9}, folder / "ema.pth")
    lightning = {
        "state_dict": world.state("net."),
        "hyper_parameters": {"num_classes": KNOWN, "class_names": list(NAMES[:KNOWN])},
        "epoch": 1,
        "pytorch-lightning_version": "2.0.0",
    }
    torch.save(lightning, folder / "lightning.ckpt")


def _write_folders(folder: Path, world: World) -> None:
    """Write the network in shards, and as folders of transformers and timm."""
    shards = folder / "shards"
    shards.mkdir()
    body = {key: value for key, value in world.state().items() if key.startswith("body.")}
    parts = {
        "model-00001-of-00002.safetensors": body,
        "model-00002-of-00002.safetensors": world.head(),
    }
    for name, part in parts.items():
        save_file(part, shards / name, {"format": "pt"})
    where = {key: name for name, part in parts.items() for key in part}
    size = sum(value.nbytes for part in parts.values() for value in part.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    _write_json(shards / "model.safetensors.index.json", index)
    binary = folder / "binary"
    binary.mkdir()
    torch.save(world.state(), binary / "pytorch_model.bin")
    labels: dict[str, Any] = {
        "id2label": {str(k): name for k, name in enumerate(NAMES[:KNOWN])},
        "label2id": {name: k for k, name in enumerate(NAMES[:KNOWN])},
    }
    _write_json(binary / "config.json", {"architectures": ["Net"], **labels})
    (binary / "README.md").write_text("A network for tests.\n")
    _write_transformers_folder(folder / "hf", world, labels)
    _write_timm_folder(folder / "timm", world)


def _write_transformers_folder(folder: Path, world: World, labels: Mapping[str, Any]) -> None:
    """Write a vision transformer of 12 numbers with the head of the world."""
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 16, "image_size": 32, "patch_size": 16}
    model = ViTForImageClassification(ViTConfig(**sizes, num_labels=KNOWN))
    folder.mkdir()
    state = filled(model.state_dict()) | world.head("classifier.")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    architecture = {"architectures": ["ViTForImageClassification"], "model_type": "vit"}
    _write_json(folder / "config.json", {**architecture, **sizes, **labels})
    processor = {
        "image_processor_type": "ViTImageProcessor", "do_resize": True, "do_rescale": True,
        "do_normalize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        "resample": 2, "rescale_factor": 1 / 255, "size": {"height": 32, "width": 32},
    }  # fmt: skip
    _write_json(folder / "preprocessor_config.json", processor)


def _write_timm_folder(folder: Path, world: World) -> None:
    """Write timm's vision transformer of 12 numbers with the head of the world."""
    import timm

    sizes = {"embed_dim": WIDTH, "depth": 1, "num_heads": 2, "img_size": 32}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=KNOWN, **sizes)
    folder.mkdir()
    state = filled(model.state_dict()) | world.head("head.")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    given = {"input_size": [3, 32, 32], "crop_pct": 1.0, "mean": [0.5] * 3, "std": [0.5] * 3}
    given |= {"interpolation": "bilinear", "classifier": "head", "num_classes": KNOWN}
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": KNOWN, "model_args": sizes}
    names = {"label_names": list(NAMES[:KNOWN])}
    _write_json(folder / "config.json", {**config, **names, "pretrained_cfg": given})


def filled(state: Mapping[str, torch.Tensor]) -> State:
    """Return tensors of the same shapes with numbers of no library's generator."""
    generator = np.random.default_rng(11)
    found = {}
    for key, value in state.items():
        drawn = torch.from_numpy(generator.integers(-16, 17, tuple(value.shape)))
        inputs = value[0].numel() if value.ndim > 1 else 1
        scale = 2.0 ** -np.ceil(3 + np.log2(inputs) / 2)
        if not value.is_floating_point():
            found[key] = torch.zeros_like(value)
        elif key.endswith("running_var") or (value.ndim == 1 and key.endswith("weight")):
            found[key] = torch.ones_like(value)
        elif value.ndim == 1:
            found[key] = torch.zeros_like(value)
        else:
            found[key] = (drawn * scale).to(value.dtype)
    return found


def _write_onnx(folder: Path, world: World) -> None:
    """Write the head as a graph of one node, with and without class names."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight, bias = world.rows[:KNOWN, :-1].copy(), world.rows[:KNOWN, -1].copy()
    for name, labels in (("model", None), ("named", NAMES[:KNOWN])):
        graph = helper.make_graph(
            [helper.make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["y"], transB=1)],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["count", WIDTH])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["count", KNOWN])],
            [
                numpy_helper.from_array(weight, "fc.weight"),
                numpy_helper.from_array(bias, "fc.bias"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        if labels:
            helper.set_model_props(model, {"class_names": json.dumps(list(labels))})
        onnx.save(model, folder / f"{name}.onnx")


def _write_samples(folder: Path, world: World) -> None:
    """Write labelled inputs of the final layer, good ones and wrong ones."""
    features, labels = world.samples()
    np.savez(folder / "test.npz", features=features, labels=np.array(NAMES)[labels])
    np.savez(folder / "test-rows.npz", features=features, labels=labels)
    np.save(folder / "features.npy", features)
    np.save(folder / "labels.npy", labels)
    _write_lines(folder / "labels.txt", [NAMES[label] for label in labels])
    bad = folder / "bad"
    np.savez(bad / "wide.npz", features=features[:, :5], labels=labels)
    np.savez(bad / "unlabelled.npz", features=features)
    np.savez(bad / "short.npz", features=features, labels=labels[:-1])
    np.savez(bad / "nan.npz", features=np.where(features > 2, np.nan, features), labels=labels)
    np.savez(bad / "unknown.npz", features=features[:1], labels=np.array(["unicorn"]))


def _write_images(folder: Path) -> None:
    """Write a network for images, and two pictures each of some known and new classes."""
    import torchvision
    from PIL import Image

    network = getattr(torchvision.models, NETWORK)(num_classes=KNOWN)
    state = filled(network.state_dict()) | World(network.fc.in_features).head()
    torch.save(state, folder / f"{NETWORK}.pt")
    generator = np.random.default_rng(12)
    for name in ("ant", "bear", "newt", "polar bear", "zebra"):
        place = folder / "images" / name
        place.mkdir(parents=True)
        for number in range(2):
            pixels = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels.repeat(8, axis=0).repeat(8, axis=1)).save(
                place / f"{number}.png"
            )
    (folder / "bad" / "images" / "ant").mkdir(parents=True)
    (folder / "bad" / "images" / "ant" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    lines = ("ant, ant", "bear, bat", "newt, okapi", "polar bear, polar bear", "zebra, zebra")
    _write_lines(folder / "folders.txt", lines)


def _write_data_set(folder: Path) -> None:
    """Write a data set in the form of the paper's."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(13)
    classes, each = 8, 6
    labels = np.repeat(np.arange(classes), each)
    features = generator.integers(0, 64, (len(labels), WIDTH)) / 64 + 4 * np.eye(WIDTH)[labels]
    rows = np.arange(len(labels)).reshape(classes, each)
    names = np.empty((classes, 1), dtype=object)
    names[:, 0] = [np.array([name]) for name in NAMES[:classes]]
    splits = {
        "trainval_loc": rows[:6, :4],
        "test_seen_loc": rows[:6, 4:],
        "test_unseen_loc": rows[6:],
    }
    samples = {"features": features.T, "labels": labels[:, None] + 1.0}
    _write_matlab(folder / "res101.mat", samples)
    attributes = {"att": generator.integers(1, 65, (7, classes)) / 64, "allclasses_names": names}
    one_based = {key: value.reshape(-1, 1) + 1 for key, value in splits.items()}
    _write_matlab(folder / "att_splits.mat", {**attributes, **one_based})

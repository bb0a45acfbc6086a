"""ONNX models: exported networks get new classes, and what cannot get any is refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision
from onnx import TensorProto, helper
from PIL import Image

from icis_cli import find_head, open_checkpoint, remove
from tests.conftest import run

from .onnx_models import (
    BIAS,
    SEEN,
    TURNED,
    UNSEEN,
    WIDTH,
    expanded,
    graph,
    linear,
    node,
    run_all,
    weights,
)


class Tokens(torch.nn.Module):
    """A classifier of every token, whose answers are probabilities."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.head = torch.nn.Linear(64, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.head(images.flatten(2)[:, :, :64]), dim=-1)


def vit(classes: int) -> torch.nn.Module:
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16,
        num_classes=classes,
    )  # fmt: skip


def without_bias(classes: int) -> torch.nn.Module:
    """Build the end of MaxViT: a head without bias."""
    return torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(4),
        torch.nn.Flatten(),
        torch.nn.LayerNorm(48),
        torch.nn.Linear(48, 24),
        torch.nn.Tanh(),
        torch.nn.Linear(24, classes, bias=False),
    )


NETWORKS: dict[str, Callable[[int], torch.nn.Module]] = {
    "resnet18": lambda classes: torchvision.models.resnet18(num_classes=classes),
    "mobilenet_v3_small": lambda n: torchvision.models.mobilenet_v3_small(num_classes=n),
    "vit": vit,
    "without bias": without_bias,
    "tokens, softmax": Tokens,
}


def build(name: str, classes: int = SEEN) -> torch.nn.Module:
    torch.manual_seed(0)
    model = NETWORKS[name](classes).eval()
    layer = [part for part in model.modules() if isinstance(part, torch.nn.Linear)][-1]
    torch.nn.init.normal_(layer.weight, std=0.2)  # zeros in a new ViT
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)  # the exporter leaves zeros out
    return model


def some_images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def export(model: torch.nn.Module, path: Path, exporter: str, **options: Any) -> Path:
    """Export a network for any number of images."""
    images = some_images(2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are using the legacy", DeprecationWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning)
        warnings.filterwarnings("ignore", "Converting a tensor to a Python (number|boolean)")
        if exporter == "dynamo":
            count = torch.export.Dim("count")
            torch.onnx.export(
                model, (images,), path, dynamo=True, dynamic_shapes=({0: count},), verbose=False,
                input_names=["images"], **options,
            )  # fmt: skip
        else:
            axes = {"images": {0: "count"}, "answers": {0: "count"}}
            torch.onnx.export(
                model, (images,), path, dynamo=False, input_names=["images"],
                output_names=["answers"], dynamic_axes=axes, **options,
            )  # fmt: skip
    return path


def answers(path: Path, images: np.ndarray | None = None) -> np.ndarray:
    """Let the usual runtime answer images."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = some_images().numpy() if images is None else images
    return session.run(None, {session.get_inputs()[0].name: given})[0]


@pytest.fixture(scope="module")
def attributes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("descriptors") / "attrs.npy"
    np.save(path, np.random.default_rng(0).standard_normal((SEEN + UNSEEN, 5)))
    return path


@pytest.mark.parametrize(
    ("name", "exporter", "options"),
    [
        pytest.param("resnet18", "TorchScript", {"opset_version": 13}, marks=pytest.mark.family),
        pytest.param("resnet18", "dynamo", {}, marks=pytest.mark.family),
        ("mobilenet_v3_small", "TorchScript", {"opset_version": 17}),
        ("vit", "TorchScript", {}),
        pytest.param("vit", "dynamo", {"external_data": False}, marks=pytest.mark.family),
        ("without bias", "TorchScript", {"do_constant_folding": False}),
        ("without bias", "dynamo", {"opset_version": 18}),
        ("tokens, softmax", "TorchScript", {"opset_version": 11}),
        ("tokens, softmax", "TorchScript", {"do_constant_folding": False}),
        ("tokens, softmax", "dynamo", {}),
        pytest.param("tokens, softmax", "dynamo", {"optimize": False}, marks=pytest.mark.family),
    ],
)
def test_an_exported_network_gets_new_classes(
    tmp_path, attributes, compatibility, name, exporter, options
):
    model = build(name)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    path = export(model, tmp_path / "model.onnx", exporter, **options)
    expansion = expanded(path, attributes)
    *_, out = expansion.write(tmp_path / "new.onnx")
    key = "5" if name == "without bias" else None
    expanded(tmp_path / "model.pt", attributes, key).write(tmp_path / "new.pt")

    new = onnx.load(out)
    onnx.checker.check_model(new, full_check=True)
    shape = new.graph.output[0].type.tensor_type.shape.dim
    assert shape[-1].dim_value == SEEN + UNSEEN
    assert shape[0].dim_param  # still any number of images
    wider = build(name, SEEN + UNSEEN)
    wider.load_state_dict(torch.load(tmp_path / "new.pt", weights_only=True), strict=True)
    with torch.no_grad():
        expected = wider(some_images()).numpy()
    found, before = answers(out), answers(path)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-4)
    if "softmax" in name:
        logits = np.log(found[..., :SEEN]), np.log(before)
        found, before = (values - values[..., :1] for values in logits)
    np.testing.assert_allclose(found[..., :SEEN], before, atol=1e-5)

    back = remove(open_checkpoint(out)).write(tmp_path / "back.onnx")[-1]
    old, again = open_checkpoint(path), open_checkpoint(back)
    assert list(again.tensors) == list(old.tensors)
    assert again.tensors == old.tensors
    assert all(again.raw(key) == old.raw(key) for key in old.tensors)
    restored, original = onnx.load(back), onnx.load(path)
    for tensor in (*restored.graph.initializer, *original.graph.initializer):
        tensor.ClearField("data_location")
    assert restored == original
    family = f"torchvision {name}" if hasattr(torchvision.models, name) else name
    container = f"onnx ({exporter} exporter)"
    compatibility.add("ONNX", family, container, found=expansion.head.key, loads=True, agrees=True)


def test_the_head_has_the_name_it_has_in_the_network_where_the_graph_tells(tmp_path):
    model = build("tokens, softmax")
    assert isinstance(model, Tokens)
    path = export(model, tmp_path / "model.onnx", "TorchScript")
    stored = {part.name: tuple(part.dims) for part in onnx.load(path).graph.initializer}
    assert (64, SEEN) in stored.values()  # the exporter keeps the weight as (D, K), without a name
    assert "head.weight" not in stored
    head = find_head(open_checkpoint(path))
    assert (head.key, head.found) == ("head", "as the checkpoint says")
    np.testing.assert_array_equal(head.weight, model.head.weight.detach().numpy())
    np.testing.assert_array_equal(head.bias, model.head.bias.detach().numpy())


def test_a_head_of_half_precision_stays_so(tmp_path, attributes):
    model = build("without bias").half()
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are using the legacy", DeprecationWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning)
        torch.onnx.export(model, (some_images(2).half(),), path, dynamo=False)
    expansion = expanded(path, attributes)
    assert expansion.head.dtype == "F16"
    *_, out = expansion.write(tmp_path / "new.onnx")
    onnx.checker.check_model(onnx.load(out), full_check=True)
    images = some_images(2).half().numpy()
    found, before = answers(out, images), answers(path, images)
    assert found.dtype == np.float16
    assert found.shape == (2, SEEN + UNSEEN)
    np.testing.assert_allclose(found[:, :SEEN], before, atol=2e-3)


def test_the_same_input_gives_the_same_bytes_and_metadata_holds_the_record(tmp_path, attributes):
    path = linear(tmp_path / "model.onnx", metadata={"author": "A", "icis-like": "B"})
    for name in ("a.onnx", "b.onnx"):
        expanded(path, attributes).write(tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    entries = [(entry.key, entry.value) for entry in onnx.load(tmp_path / "a.onnx").metadata_props]
    assert entries[:2] == [("author", "A"), ("icis-like", "B")]
    assert entries[2][0] == "icis"
    record = json.loads(entries[2][1])
    assert record["head"] == "fc"
    assert record == json.loads((tmp_path / "a.onnx.icis.json").read_text())
    more = tmp_path / "more.npy"
    np.save(more, np.random.default_rng(7).standard_normal((SEEN + UNSEEN + 2, 5)))
    twice = expanded(tmp_path / "a.onnx", more)
    assert list(twice.checkpoint.metadata) == ["author", "icis-like", "icis"]
    assert twice.record is not None
    assert [part.classes for part in twice.record.rounds] == [UNSEEN, 2]


@pytest.mark.parametrize(
    ("nodes", "stored", "key", "options"),
    [
        ([node("Gemm", "x W b", "y")], {"W": TURNED, "b": BIAS}, "W", {}),
        ([node("Gemm", "x W b", "y")], {"W": TURNED, "b": BIAS[None]}, "W", {}),
        ([node("Gemm", "x W", "m"), node("Add", "b m", "y")], {"W": TURNED, "b": BIAS}, "W", {}),
        (
            [node("MatMul", "x W", "m"), node("Add", "m b", "a"), node("Identity", "a", "y")],
            {"W": TURNED, "b": BIAS},
            "W",
            {},
        ),
        (
            [
                node("Identity", "b", "c"),
                node("Transpose", "W", "t", perm=[1, 0]),
                node("MatMul", "x t", "m"),
                node("Add", "m c", "a"),
                node("Reshape", "a shape", "r"),
                node("Cast", "r", "y", to=TensorProto.FLOAT),
            ],
            {"W": weights(), "b": BIAS, "shape": np.array([0, -1])},
            "W",
            {},
        ),
        (
            [node("Gemm", "x W b", "l", transB=1), node("Softmax", "l", "y", axis=1)],
            {"W": weights(), "b": BIAS},
            "W",
            {"outputs": {"l": ["count", SEEN], "y": ["count", SEEN]}},
        ),
        (
            [node("Gemm", "x W b", "y", transB=1), node("Relu", "x", "z")],
            {"W": weights(), "b": BIAS},
            "W",
            {"outputs": {"z": ["count", WIDTH], "y": ["count", SEEN]}},
        ),
        (  # before version 4 of the format, all that is stored is an input, too
            [node("Gemm", "x W b", "y", transB=1)],
            {"W": weights(), "b": BIAS},
            "W",
            {"inputs": {"W": [SEEN, WIDTH], "b": [SEEN]}},
        ),
        (  # two names that would be one
            [node("Identity", "x", "h"), node("Gemm", "h W.weight c", "y", transB=1)],
            {"W.weight": weights(), "W.bias": np.ones(3, np.float32), "c": BIAS},
            "W.weight.final",
            {},
        ),
        (
            [node("Gemm", "x W b", "y", transB=1)],
            {
                "W": helper.make_tensor("W", TensorProto.FLOAT, (SEEN, WIDTH), weights().ravel()),
                "b": helper.make_tensor("b", TensorProto.FLOAT, (SEEN,), BIAS),
            },
            "W",
            {},
        ),
    ],
)
def test_whatever_form_the_layer_has(tmp_path, attributes, nodes, stored, key, options):
    path = graph(tmp_path / "model.onnx", nodes, stored, **options)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    expansion = expanded(path, attributes)
    assert expansion.head.key == key
    np.testing.assert_array_equal(expansion.head.weight, weights())
    *_, out = expansion.write(tmp_path / "new.onnx")
    new = onnx.load(out)
    onnx.checker.check_model(new, full_check=True)
    x = np.random.default_rng(3).standard_normal((4, WIDTH)).astype(np.float32)
    rows = np.asarray(expansion.rows[:])
    logits = np.hstack([x @ weights().T + BIAS, x @ rows[:, :-1].T + rows[:, -1]])
    kinds = {node.op_type for node in new.graph.node}
    by_name = {
        output.name: value for output, value in zip(new.graph.output, run_all(out, x), strict=True)
    }
    if "Softmax" in kinds:
        np.testing.assert_allclose(by_name["l"], logits, atol=1e-5)
        logits = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(by_name["y"], logits, atol=1e-5)


def test_the_commands(tmp_path, monkeypatch, capsys, attributes):
    monkeypatch.chdir(tmp_path)
    linear(Path("model.onnx"))
    table = np.load(attributes)
    rows = [f"class{n},{','.join(map(str, row))}" for n, row in enumerate(table)]
    Path("a.csv").write_text("\n".join(["class,a,b,c,d,e", *rows]) + "\n")
    assert run(["fit", "--weights", "model.onnx", "--attrs", "a.csv", "--method", "ridge"]) == 0
    assert "model.onnx (onnx)" in capsys.readouterr().err
    assert run(["inject"]) == 0
    assert "wrote model.injected.onnx: fc with 12 -> 15 rows" in capsys.readouterr().out
    assert run(["inspect", "model.injected.onnx", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("classes 15 width 8 dtype F32 bias yes injected 3")
    folder = Path("images", "class0")
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    for arch in ((), ("--arch", "resnet18")):
        given = ["--weights", "model.injected.onnx", "--images", "images", *arch]
        assert run(["eval", *given]) == 2
        told = capsys.readouterr().err
        assert "is an ONNX model: icis reads its weights, but does not run it" in told
        assert "--features" in told
    x = np.ones((2, WIDTH), np.float32)
    (found,) = run_all(Path("model.injected.onnx"), x)
    assert found.shape == (2, SEEN + UNSEEN)
    assert run(["inject", "--remove", "--weights", "model.injected.onnx", "--out", "o.onnx"]) == 0
    assert onnx.load("o.onnx") == onnx.load("model.onnx")
    assert run(["inject", "--out", "model.pt"]) == 1
    assert "no state dict that a network loads" in capsys.readouterr().err

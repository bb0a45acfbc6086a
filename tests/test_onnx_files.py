"""ONNX files that are refused: graphs that cannot get rows, and damaged or hostile ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from icis_cli import (
    IcisError,
    Ridge,
    align,
    expand,
    find_head,
    fit,
    open_checkpoint,
    read_descriptors,
)
from icis_cli.errors import CheckpointError, InstallationError, OutputError

from .onnx_models import BIAS, FC, GEMM, SEEN, UNSEEN, WIDTH, expanded, graph, linear, node, weights


@pytest.fixture(scope="module")
def attributes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("descriptors") / "attrs.npy"
    np.save(path, np.random.default_rng(0).standard_normal((SEEN + UNSEEN, 5)))
    return path


BRANCH = helper.make_graph(
    [node("Identity", "y", "inside")],
    "branch",
    [],
    [helper.make_tensor_value_info("inside", TensorProto.FLOAT, None)],
)


@pytest.mark.parametrize(
    ("nodes", "stored", "options", "reason"),
    [
        ([node("Conv", "x W", "y")], FC, {}, "is a convolution"),
        ([node("Relu", "x", "y")], FC, {}, "its final layer is Relu"),
        ([node("Gemm", "x W b", "y", transB=1, alpha=2.0)], FC, {}, "factors"),
        ([node("Gemm", "x W b", "y", transB=1, beta=0.5)], FC, {}, "factors"),
        ([node("Gemm", "W x", "y", transB=1)], FC, {}, "are an input, 'x', not in the file"),
        ([node("Gemm", "x W b", "y", transA=1, transB=1)], FC, {}, "transposes what goes into"),
        ([node("MatMul", "x V", "y")], FC, {}, "are an input, 'V'"),
        ([GEMM, node("Relu", "W", "z")], FC, {}, "'W' of its final layer is used elsewhere"),
        ([GEMM, node("ReduceSum", "y", "s")], FC, {}, "goes into ReduceSum, which may not"),
        (
            [GEMM, node("Less", "x x", "l"),
             helper.make_node("If", ["l"], ["z"], then_branch=BRANCH, else_branch=BRANCH)],
            FC, {}, "goes into If",
        ),
        (
            [node("QLinearMatMul", "x a b c d e f g", "q"), node("DequantizeLinear", "q a", "y")],
            FC, {}, r"is quantised \(DequantizeLinear\)",
        ),
        (
            [node("DequantizeLinear", "W s", "V"), node("MatMul", "x V", "y")],
            {"W": weights().T.astype(np.int8), "s": np.ones(1, np.float32)},
            {}, "is quantised",
        ),
        (
            [GEMM, node("Gemm", "x V", "z", transB=1)],
            {**FC, "V": weights()},
            {"outputs": {"y": ["n", SEEN], "z": ["n", SEEN]}},
            "come from several final layers: 'W', 'V'",
        ),
        (
            [node("Gemm", "x W b", "r", transB=1), node("Reshape", "r shape", "y")],
            {**FC, "shape": np.array([-1, SEEN])},
            {}, "its final layer is Reshape",
        ),
        (
            [node("MatMulInteger", "x W", "i"), node("Cast", "i", "f"), node("Mul", "f s", "m"),
             node("Add", "m b", "y")],
            {**FC, "s": np.ones(1, np.float32)}, {}, r"is quantised \(MatMulInteger\)",
        ),
        ([GEMM], FC, {"outputs": {"y": ["n", 7]}}, "have 7 entries, expected one for each of 12"),
        ([node("Gemm", "x W s", "y", transB=1)], {"W": weights(), "s": BIAS[:1]}, {}, "bias 's'"),
        ([node("MatMul", "x W", "y")], {"W": weights().astype(np.int32)}, {}, "not of floats"),
        ([node("MatMul", "x W", "y")], {"W": weights()[None]}, {}, "is no matrix"),
        ([node("Identity", "z", "y"), node("Identity", "y", "z")], FC, {}, "is Identity"),
        ([], FC, {"outputs": {"x": ["n", 8]}}, "its output 'x' is an input"),
        ([helper.make_node("Gemm", ["x", "W"], ["y"], domain="mine")], FC, {}, "is mine.Gemm"),
    ],
)  # fmt: skip
def test_a_graph_that_cannot_get_rows_is_refused(tmp_path, nodes, stored, options, reason):
    path = graph(tmp_path / "model.onnx", nodes, stored, **options)
    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(path)


def test_what_is_no_model_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    for content in (b"", b"hello " * 9, b"\x08\x08", np.random.default_rng(0).bytes(500)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="is no ONNX model"):
            open_checkpoint(path)


STATE = {"fc.weight": torch.ones(SEEN, WIDTH), "fc.bias": torch.ones(SEEN)}


@pytest.mark.parametrize(
    ("name", "write", "kind", "true"),
    [
        ("m.onnx", lambda path: torch.save(STATE, path), "a PyTorch file", "m.pt"),
        (
            "m.onnx",
            lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
            "a PyTorch file",
            "m.pt",
        ),
        ("m.onnx", lambda path: save_file(STATE, path), "a safetensors file", "m.safetensors"),
        ("m.pt", lambda path: graph(path, [GEMM], FC), "an ONNX model", "m.onnx"),
        ("m.safetensors", lambda path: graph(path, [GEMM], FC), "an ONNX model", "m.onnx"),
    ],
)
def test_what_it_is_in_truth_is_told(tmp_path, name, write, kind, true):
    write(tmp_path / name)
    with pytest.raises(CheckpointError, match=f"is {kind}, whatever its name says") as caught:
        open_checkpoint(tmp_path / name)
    assert caught.value.hint == f"rename it to {true}"
    (tmp_path / name).rename(tmp_path / true)
    assert find_head(open_checkpoint(tmp_path / true)).weight.shape == (SEEN, 8)


def test_a_web_page_in_place_of_a_model(tmp_path):
    (tmp_path / "m.onnx").write_text("<!DOCTYPE html><html>" + " " * 50)
    with pytest.raises(CheckpointError, match="is a web page"):
        open_checkpoint(tmp_path / "m.onnx")


def test_damaged_files_end_in_one_line(tmp_path):
    whole = linear(tmp_path / "model.onnx").read_bytes()
    generator = np.random.default_rng(4)
    path = tmp_path / "damaged.onnx"
    outcomes = set()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            open_checkpoint(path)
    for _ in range(400):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), 3):
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            find_head(open_checkpoint(path))
            outcomes.add("read")
        except IcisError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.dims.__setitem__(0, 10**15), "expected 32000000000000000 for"),
        (lambda t: t.dims.__setitem__(0, -1), "has the shape"),
        (lambda t: t.dims.extend([1] * 100), "has the shape"),
        (lambda t: t.__setattr__("name", "fc.bias"), "two tensors under one name"),
        (lambda t: t.__setattr__("name", ""), "holds a tensor of the name ''"),
        (lambda t: t.ClearField("raw_data"), "has 0 numbers, expected 96"),
    ],
)
def test_tensors_that_contradict_themselves_are_refused(tmp_path, change, reason):
    model = onnx.load(linear(tmp_path / "model.onnx"))
    change(model.graph.initializer[0])
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(tmp_path / "model.onnx")


def external(folder: Path, **entries: str) -> Path:
    """Write a model whose weight lies in ``w.bin``, in its middle, or where entries say."""
    path = linear(folder / "model.onnx")
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    (folder / "w.bin").write_bytes(bytes(16) + tensor.raw_data + bytes(3))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "w.bin", "offset": "16", "length": "384", **entries}.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_in_another_file_are_read_and_written_into_the_new_one(tmp_path, attributes):
    (tmp_path / "old").mkdir()
    path = external(tmp_path / "old")
    expansion = expanded(path, attributes)
    np.testing.assert_array_equal(expansion.head.weight, weights())
    assert [file.name for file in expansion.checkpoint.files] == ["model.onnx", "w.bin"]
    assert "a new file will hold them itself" in expansion.checkpoint.notes[0]
    digest = expansion.checkpoint.sha256()
    *_, out = expansion.write(tmp_path / "new.onnx")
    new = open_checkpoint(out)
    assert new.files == (out,)
    assert find_head(new).weight.shape == (SEEN + UNSEEN, WIDTH)
    onnx.checker.check_model(onnx.load(out), full_check=True)
    assert json.loads(new.metadata["icis"])["original_sha256"] == digest
    (tmp_path / "old" / "w.bin").write_bytes(bytes(500))
    assert open_checkpoint(path).sha256() != digest
    with pytest.raises(CheckpointError, match=r"w\.bin: (changed|became)"):
        expansion.checkpoint.require_unchanged()


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"location": "/etc/hostname"}, "expected a file in the folder"),
        ({"location": "../w.bin"}, "expected a file in the folder"),
        ({"location": "a/../../w.bin"}, "expected a file in the folder"),
        ({"location": "C:w.bin"}, "expected a file in the folder"),
        ({"location": "link.bin"}, "expected a file in the folder"),
        ({"location": ""}, "expected a file in the folder"),
        ({"location": "none.bin"}, "there is no such file"),
        ({"location": "."}, "there is no such file"),
        ({"location": "n" * 300}, "cannot be read|no such file"),
        ({"offset": "20"}, "beyond the end of its 403 bytes"),
        ({"offset": "-1"}, "beyond the end"),
        ({"offset": "9" * 5000}, "at no number of bytes"),
        ({"offset": "x"}, "at no number of bytes"),
        ({"length": "380"}, "with 380 bytes, expected 384"),
    ],
)
def test_weights_elsewhere_are_refused(tmp_path, entries, reason):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(500))
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(external(folder, **entries))


def test_a_download_cache_may_keep_both_files_elsewhere(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    external(blobs)
    for name in ("model.onnx", "w.bin"):
        (snapshot / name).symlink_to(Path("..") / "blobs" / name)
    np.testing.assert_array_equal(
        find_head(open_checkpoint(snapshot / "model.onnx")).weight, weights()
    )


def test_constants_in_other_files_are_refused(tmp_path):
    constant = numpy_helper.from_array(np.ones(3, np.float32), "c")
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="/etc/hostname")
    nodes = [helper.make_node("Constant", [], ["c"], value=constant), GEMM]
    path = graph(tmp_path / "model.onnx", nodes, FC)
    with pytest.raises(CheckpointError, match="constants of its graph in another file"):
        open_checkpoint(path)


def test_endless_small_messages_are_refused_before_they_are_parsed(tmp_path):
    nodes = bytes([1 << 3 | 2, 0]) * 1_000_001  # empty ones: two bytes in a file, 600 in memory
    size = bytes([len(nodes) >> 7 * n & 0x7F | (0x80 if n < 3 else 0) for n in range(4)])
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes([7 << 3 | 2]) + size + nodes)
    with pytest.raises(CheckpointError, match="has more than 1000000 fields"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        (TensorProto.FLOAT16, np.float16),
        (TensorProto.DOUBLE, np.float64),
        (TensorProto.INT8, np.int8),
        (TensorProto.BOOL, np.bool_),
        (TensorProto.INT16, np.int16),
        (TensorProto.UINT32, np.uint32),
        (TensorProto.INT64, np.int64),
        (TensorProto.COMPLEX64, np.complex64),
    ],
)
def test_numbers_in_fields_of_their_own_have_the_bytes_of_raw_ones(tmp_path, kind, numbers):
    values = np.array([0, 1, 1, 127, 5, 6]).astype(numbers)
    if np.issubdtype(numbers, np.signedinteger):
        values = -values
    tensor = helper.make_tensor("v", kind, (2, 3), values)
    assert not tensor.HasField("raw_data")
    checkpoint = open_checkpoint(graph(tmp_path / "model.onnx", [GEMM], {**FC, "v": tensor}))
    assert checkpoint.tensors["v"].shape == (2, 3)
    assert checkpoint.raw("v") == values.tobytes()


def test_more_than_two_gigabytes_are_refused_before_they_are_read(tmp_path, monkeypatch):
    path = linear(tmp_path / "model.onnx")
    with path.open("r+b") as stream:
        stream.truncate(1 << 31)
    with pytest.raises(CheckpointError, match="is larger than 2 GB") as caught:
        open_checkpoint(path)
    assert "export the new one" in caught.value.hint


def test_too_many_new_rows_are_refused_and_leave_nothing(tmp_path, attributes, monkeypatch):
    expansion = expanded(linear(tmp_path / "model.onnx"), attributes)
    monkeypatch.setattr("icis_cli.checkpoint.onnx.LARGEST", 1000)
    with pytest.raises(CheckpointError, match="would have more than 2 GB"):
        expansion.write(tmp_path / "new.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_tensors_of_unknown_types_stay(tmp_path, attributes):
    small = helper.make_tensor("four", TensorProto.INT4, (4,), b"\x12\x34", raw=True)
    path = graph(tmp_path / "model.onnx", [GEMM], {**FC, "four": small})
    checkpoint = open_checkpoint(path)
    assert list(checkpoint.tensors) == ["W.weight", "W.bias"]
    *_, out = expanded(path, attributes).write(tmp_path / "new.onnx")
    assert onnx.load(out).graph.initializer[2] == small


@pytest.mark.parametrize(("old", "new"), [("model.onnx", "new.pt"), ("model.pt", "new.onnx"),
                                          ("model.onnx", "new.safetensors")])  # fmt: skip
def test_other_containers_are_no_way_out(tmp_path, attributes, old, new):
    onnx_file = open_checkpoint(linear(tmp_path / "model.onnx"))
    state = {"fc.weight": torch.from_numpy(weights()), "fc.bias": torch.from_numpy(BIAS)}
    torch.save(state, tmp_path / "model.pt")
    expansion = expanded(tmp_path / old, attributes)
    with pytest.raises(OutputError) as caught:
        expansion.write(tmp_path / new)
    assert ("torch.onnx.export" if new == "new.onnx" else "--out NAME.onnx") in caught.value.hint
    with (tmp_path / "x").open("wb") as stream, pytest.raises(OutputError, match="has no graph"):
        type(onnx_file).write_converted(stream, expansion.checkpoint, {}, None)  # type: ignore[arg-type]


def test_another_head_is_refused(tmp_path, attributes):
    nodes = [node("Gemm", "x V", "h"), node("Gemm", "h W b", "y", transB=1)]
    hidden = np.eye(WIDTH, dtype=np.float32)
    path = graph(tmp_path / "model.onnx", nodes, {**FC, "V.weight": hidden, "V": hidden})
    checkpoint = open_checkpoint(path)
    assert find_head(checkpoint).key == "W"
    descriptors = tmp_path / "attrs.npy"
    np.save(descriptors, np.load(attributes)[: WIDTH + 2])
    head = find_head(checkpoint, "V")
    classes = align(head.rows, read_descriptors(descriptors))
    injector = fit(checkpoint, head, classes, Ridge())
    with pytest.raises(CheckpointError, match=r"can get rows in 'W' alone"):
        expand(checkpoint, injector, calibration="none").write(tmp_path / "new.onnx")


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    path = linear(tmp_path / "model.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(InstallationError, match="ONNX model needs the package onnx") as caught:
        open_checkpoint(path)
    assert caught.value.hint == "pip install 'icis-cli[onnx]'"

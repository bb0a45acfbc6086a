"""Checkpoints are told by their content, read without running anything, and refused in one line."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from icis_cli import find_head, open_checkpoint
from icis_cli.checkpoint.torch_pickle import state_dict_of
from icis_cli.errors import CheckpointError, OutputError
from tests.test_expansion import plan

DTYPES = (
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int16,
    torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool,
    torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu,
)  # fmt: skip


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().clone().contiguous().untyped_storage().tolist())


def of_every_dtype() -> dict[str, torch.Tensor]:
    """A tensor of each dtype (with odd bits), an empty one, a scalar and a head."""
    pattern = torch.arange(48, dtype=torch.uint8) * 37
    state = {
        f"z{number}": pattern % 2 == 0 if dtype == torch.bool else pattern.clone().view(dtype)
        for number, dtype in enumerate(DTYPES)
    }
    state["none"] = torch.empty(0, 3)
    state["scalar"] = torch.tensor(3)
    state["fc.weight"] = torch.randn(4, 3)
    return state


@pytest.mark.parametrize("save", ["zip", "legacy", "safetensors"])
def test_every_tensor_is_read_bit_by_bit(tmp_path, save):
    state = of_every_dtype()
    if save == "legacy":  # torch itself cannot read the others back from there
        state = {k: v for k, v in state.items() if v.dtype not in DTYPES[9:12] + DTYPES[14:]}
    path = tmp_path / "model"  # what it is, is told by its content
    if save == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=save == "zip")
    checkpoint = open_checkpoint(path)
    assert checkpoint.container == ("safetensors" if save == "safetensors" else "torch")
    assert set(checkpoint.tensors) == set(state)
    if save != "safetensors":
        assert list(checkpoint.tensors) == list(state)
    for key, tensor in state.items():
        assert checkpoint.tensors[key].shape == tuple(tensor.shape)
        assert bytes(checkpoint.raw(key)) == bits(tensor), key
    for key, tensor in state_dict_of(checkpoint).items():
        assert (tensor.dtype, tensor.shape) == (state[key].dtype, state[key].shape)
        assert bits(tensor) == bits(state[key]), key


def test_safetensors_header_lengths_that_look_like_a_pickle(tmp_path):
    """One length in 32 starts with the byte 0x80, as a pickle does."""
    found = set()
    for words in range(0, 700, 8):
        path = tmp_path / f"{words}.safetensors"
        save_file({"fc.weight": torch.ones(2, 2)}, path, {"text": "x" * words})
        found.add(path.read_bytes()[:2])
        checkpoint = open_checkpoint(path)
        assert checkpoint.container == "safetensors"
        assert checkpoint.metadata == {"text": "x" * words}
    assert {b"\x80\x00", b"\x80\x01", b"\x80\x02"} <= found


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_under_a_safetensors_name(folder, world, legacy):
    path = folder / "model.safetensors"
    torch.save(world.state(), path, _use_new_zipfile_serialization=not legacy)
    assert open_checkpoint(path).container == "torch"
    expansion = plan(path, folder)
    for name in ("new.safetensors", "new", "new.pth"):
        out = expansion.write(folder / name)[-1]
        assert open_checkpoint(out).container == "torch"
    with pytest.raises(OutputError, match=r"'\.gguf' names no container"):
        expansion.write(folder / "new.gguf")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict", "net"])
def test_wrapped_and_prefixed_state_dicts(tmp_path, wrapper, prefix, legacy):
    state = {f"{prefix}fc.weight": torch.randn(3, 2), f"{prefix}fc.bias": torch.randn(3)}
    root = state if wrapper is None else {"epoch": 3, wrapper: state, "best": 0.5}
    torch.save(root, tmp_path / "m.pth", _use_new_zipfile_serialization=not legacy)
    checkpoint = open_checkpoint(tmp_path / "m.pth")
    head = find_head(checkpoint)
    assert head.key == f"{prefix}fc"
    assert head.weight.tolist() == state[f"{prefix}fc.weight"].tolist()
    assert head.rows.shape == (3, 3)
    assert [f"{wrapper!r}" in note for note in checkpoint.notes if "found under" in note] == (
        [] if wrapper is None else [True]
    )
    assert any("before PyTorch 1.6" in note for note in checkpoint.notes) == legacy


def test_the_averaged_copy_comes_first(tmp_path):
    plain, averaged = torch.zeros(2, 2), torch.ones(2, 2)
    root = {
        "model": {"fc.weight": plain},
        "model_ema": {"n_averaged": torch.tensor(9), "module.fc.weight": averaged},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2, 2)}}},
    }
    torch.save(root, tmp_path / "m.pth")
    checkpoint = open_checkpoint(tmp_path / "m.pth")
    assert find_head(checkpoint).weight.tolist() == averaged.tolist()
    found, left = checkpoint.notes
    assert found.endswith("under 'model_ema' (there is 'model', too: --state model takes that)")
    assert left.startswith("'model', 'optimizer' belong to the old head and will be left out of")


def test_a_layer_called_model_is_no_wrapper(tmp_path):
    torch.save({"model.weight": torch.ones(2, 3), "net": torch.ones(3)}, tmp_path / "m.pt")
    checkpoint = open_checkpoint(tmp_path / "m.pt")
    assert list(checkpoint.tensors) == ["model.weight", "net"]
    assert checkpoint.notes == ()


@pytest.mark.parametrize(
    ("beside", "names"),
    [
        ({"classes": ["a", "b"]}, ("a", "b")),
        ({"class_names": ("a", "b")}, ("a", "b")),
        ({"class_to_idx": {"b": 1, "a": 0}}, ("a", "b")),
        ({"class_to_idx": {"b": 2, "a": 0}}, None),
        ({"class_to_idx": {"b": 1, "a": None}}, None),
        ({"class_to_idx": {"b": "1", "a": 0}}, None),
        ({"classes": [1, 2]}, None),
        ({}, None),
    ],
)
def test_class_names_and_architecture_beside_the_state_dict(tmp_path, beside, names):
    root = {"arch": "resnet18", "state_dict": {"fc.weight": torch.ones(2, 2)}, **beside}
    torch.save(root, tmp_path / "m.pt")
    labels = open_checkpoint(tmp_path / "m.pt").labels
    assert labels.class_names == names
    assert labels.arch == "resnet18"


def test_the_options_that_torchvision_keeps_as_a_namespace(tmp_path):
    root = {"model": {"fc.weight": torch.ones(2, 2)}, "args": argparse.Namespace(lr=0.1)}
    torch.save(root, tmp_path / "m.pth")
    assert list(open_checkpoint(tmp_path / "m.pth").tensors) == ["fc.weight"]


def test_keys_that_are_no_text_and_values_that_are_no_tensors_are_passed_over(tmp_path):
    state = OrderedDict([(0, torch.ones(1)), ("fc.weight", torch.ones(2, 2)), ("note", "text")])
    torch.save(state, tmp_path / "m.pt")
    assert list(open_checkpoint(tmp_path / "m.pt").tensors) == ["fc.weight"]


class Canary:
    """What a hostile pickle looks like: loading it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("where", ["zip", "legacy", "pickle 2", "pickle 4"])
def test_a_pickle_is_never_run(tmp_path, where):
    canary, path = tmp_path / "canary", tmp_path / "evil.pt"
    root = {"fc.weight": torch.ones(2, 2), "x": Canary(canary)}
    if where.startswith("pickle"):
        path.write_bytes(pickle.dumps(Canary(canary), protocol=int(where[-1])))
    else:
        torch.save(root, path, _use_new_zipfile_serialization=where == "zip")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert not canary.exists()
    assert caught.value.message.startswith(f"{path}: ")
    if not where.startswith("pickle"):
        assert f"({os.mkdir.__module__}.mkdir), expected a state dict" in caught.value.message
        assert caught.value.hint.startswith("where you trust the file, ")


def zip_bytes(tmp_path: Path) -> bytes:
    torch.save({"fc.weight": torch.ones(40, 3)}, tmp_path / "good.pt")
    return (tmp_path / "good.pt").read_bytes()


def legacy_bytes(tmp_path: Path) -> bytes:
    state = {"fc.weight": torch.ones(40, 3)}
    torch.save(state, tmp_path / "good.pt", _use_new_zipfile_serialization=False)
    return (tmp_path / "good.pt").read_bytes()


def safetensors_bytes(tmp_path: Path) -> bytes:
    save_file({"fc.weight": torch.ones(40, 3)}, tmp_path / "good.safetensors")
    return (tmp_path / "good.safetensors").read_bytes()


@pytest.mark.parametrize("make", [zip_bytes, legacy_bytes, safetensors_bytes])
@pytest.mark.parametrize("kept", [1, 8, 9, 16, 100, 0.5, 0.9, -1])
def test_a_truncated_file(tmp_path, make, kept):
    data = make(tmp_path)
    path = tmp_path / "cut"
    path.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    refused(path, "")


def test_whole_modules_and_torchscript(tmp_path):
    module = torch.nn.Linear(3, 4)
    for name, new in (("zip.pt", True), ("legacy.pt", False)):
        torch.save(module, tmp_path / name, _use_new_zipfile_serialization=new)
        refused(tmp_path / name, "torch.nn.modules.linear.Linear")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, its files are still about
        torch.jit.trace(module, torch.ones(1, 3)).save(str(tmp_path / "script.pt"))
    refused(tmp_path / "script.pt", "a TorchScript archive")


def test_other_things_than_a_state_dict(tmp_path):
    for number, (content, words) in enumerate(
        [
            (torch.ones(3), "expected a state dict, found a Tensor"),
            ([torch.ones(3)], "expected a state dict, found a list"),
            ({"epoch": 3}, "found no tensor in it"),
            ({"model": {}}, "found no tensor in it"),
            ({"a": torch.ones(2, 2).to_sparse()}, "expected a dense unquantised one"),
        ]
    ):
        torch.save(content, tmp_path / f"{number}.pt")
        refused(tmp_path / f"{number}.pt", words)
    for name, data, words in [
        ("empty.pt", b"", "(it is empty)"),
        ("text.pt", b"hello " * 50, "is neither a PyTorch file nor a safetensors file"),
        ("zeros.pt", b"\0" * 500, "is neither a PyTorch file nor a safetensors file"),
        ("magic.pt", b"\x80\x02garbage", "is no readable PyTorch file"),
        ("dict.pt", b"\x80\x02}q\x00.", "is no readable PyTorch file"),
        ("zip.pt", b"PK\x03\x04garbage" * 30, "is no readable PyTorch file"),
        ("long.safetensors", b"\xff" * 8 + b"{}", "is no valid safetensors file"),
        ("short.safetensors", b"\x02" + b"\0" * 7 + b"{", "is no valid safetensors file"),
        ("control\n\x1b[31m.pt", b"", "(it is empty)"),
    ]:
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, words)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a", "b")
    refused(tmp_path / "other.zip", "is no readable PyTorch file")
    refused(tmp_path, "is a folder, expected one checkpoint file")
    refused(tmp_path / "absent.pt", "no such file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "is no regular file")


def refused(path: Path, words: str) -> None:
    """Opening ``path`` fails in one printable line that starts with its name."""
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert caught.value.path == path
    assert words in caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.message.startswith("".join(c for c in str(path) if c.isprintable())[:20])
    assert len(caught.value.message) < len(str(path)) + 260


@pytest.mark.parametrize("metadata", [b"null", b"{}", b'{"format":"pt"}'])
def test_metadata_of_other_writers(tmp_path, metadata):
    entry = {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}
    header = b'{"__metadata__":%s,"fc.weight":%s}' % (metadata, json.dumps(entry).encode())
    data = np.array([1, 2], dtype="<f4").tobytes()
    (tmp_path / "m").write_bytes(len(header).to_bytes(8, "little") + header + data)
    checkpoint = open_checkpoint(tmp_path / "m")
    assert checkpoint.metadata == (json.loads(metadata) or {})
    assert checkpoint.array("fc.weight").tolist() == [[1.0], [2.0]]


def test_a_safetensors_dtype_below_a_byte(tmp_path):
    header = b'{"fc.weight":{"dtype":"F4","shape":[2,2],"data_offsets":[0,2]}}'
    (tmp_path / "m").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    refused(tmp_path / "m", "dtype F4, which is not supported")

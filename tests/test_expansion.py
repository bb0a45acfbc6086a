"""A new checkpoint is the old one, bit by bit, with rows appended to its head and nothing else."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from icis_cli import (
    Expansion,
    Injector,
    Ridge,
    align,
    expand,
    find_head,
    fit,
    open_checkpoint,
    read_descriptors,
    remove,
)
from tests.conftest import World
from tests.records import record_of, sha256

FORMATS = ("zip", "legacy", "safetensors")
METADATA = {"format": "pt", "note": 'umlaut "ü"\n\u2028 \x01'}


def save(state: Any, folder: Path, how: str) -> Path:
    path = folder / ("model.safetensors" if how == "safetensors" else "model.pt")
    if how == "safetensors":
        save_file(state, path, METADATA)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=how == "zip")
    return path


def load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, weights_only=True)


def full_state(
    world: World, dtype: torch.dtype = torch.float32, *, bias: bool = True
) -> dict[str, Any]:
    """The head between tensors of many kinds, among them NaN with a payload."""
    return {
        "z.count": torch.tensor(7),
        **world.state(dtype, bias=bias),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False, True]),
        "odd": torch.tensor([0x7FC12345, -1, 1], dtype=torch.int32).view(torch.float32),
        "a.half": torch.randn(5).to(torch.bfloat16),
        "a.index": torch.arange(3, dtype=torch.int16),
    }


def injector_for(path: Path, folder: Path, descriptors: str = "attrs.csv") -> Injector:
    """Return one whose rows no 16-bit float holds exactly."""
    checkpoint = open_checkpoint(path)
    head = find_head(checkpoint)
    names = checkpoint.labels.class_names
    classes = align(head.rows, read_descriptors(folder / descriptors), head_names=names)
    return fit(checkpoint, head, classes, Ridge("linear", penalty=0.1))


def plan(path: Path, folder: Path) -> Expansion:
    return expand(open_checkpoint(path), injector_for(path, folder), calibration="none")


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    plain = tensor.detach().clone(memory_format=torch.contiguous_format)
    return tensor.dtype, tuple(tensor.shape), bytes(plain.untyped_storage().tolist())


def others(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {key: bits(tensor) for key, tensor in state.items() if not key.startswith("fc.")}


def second_table(folder: Path, world: World) -> Path:
    """Descriptors of three classes that nobody has seen before."""
    lines = [
        f"later {n},{','.join(f'{v:.6f}' for v in row)}"
        for n, row in enumerate(world.descriptors[:3] * 0.5 + 0.1)
    ]
    header = "class," + ",".join(f"attribute {n}" for n in range(8))
    (folder / "later.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder / "later.csv"


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("how", FORMATS)
def test_everything_old_is_kept_bit_by_bit(folder, world, how, dtype, bias):
    state = full_state(world, dtype, bias=bias)
    path = save(state, folder, how)
    before = path.read_bytes()
    injector = injector_for(path, folder)
    expansion = expand(open_checkpoint(path), injector, calibration="none")
    out = expansion.write(folder / f"new{path.suffix}")[-1]
    new, old = load(out), load(path)

    assert path.read_bytes() == before
    assert list(new) == list(old)
    assert others(new) == others(state)
    rows = torch.from_numpy(injector.predict(injector.unseen_descriptors))
    assert rows.shape == (6, 25 if bias else 24)
    assert new["fc.weight"].shape == (46, 24)
    assert bits(new["fc.weight"][:40]) == bits(state["fc.weight"])
    assert bits(new["fc.weight"][40:]) == bits(rows[:, :24].to(dtype))
    assert ("fc.bias" in new) == bias
    if bias:
        assert new["fc.bias"].shape == (46,)
        assert bits(new["fc.bias"][:40]) == bits(state["fc.bias"])
        assert bits(new["fc.bias"][40:]) == bits(rows[:, 24].to(dtype))
    assert not any(tensor.requires_grad for tensor in new.values())


def header_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header


def test_a_safetensors_header_keeps_its_order_and_metadata(folder, world):
    path = save(full_state(world), folder, "safetensors")
    out = plan(path, folder).write(folder / "n.safetensors")
    old, new = header_of(path), header_of(out[-1])
    assert list(new) == list(old)
    assert set(new["__metadata__"]) == {*METADATA, "icis"}
    assert {k: v for k, v in new["__metadata__"].items() if k != "icis"} == METADATA


@pytest.mark.parametrize("how", FORMATS)
def test_same_input_same_bytes(folder, world, how):
    path = save(full_state(world), folder, how)
    written = []
    for name in ("one", "two"):
        (folder / name).mkdir()
        expansion = plan(path, folder)
        files = expansion.write(folder / name / f"new{path.suffix}")
        written.append({file.name: file.read_bytes() for file in files})
    assert written[0] == written[1]
    assert list(written[0]) == [f"new{path.suffix}.icis.json", f"new{path.suffix}"]


@pytest.mark.parametrize("how", FORMATS)
def test_the_record_beside_and_inside(folder, world, how):
    path = save(full_state(world), folder, how)
    injector = injector_for(path, folder)
    out = expand(open_checkpoint(path), injector, calibration=0.25).write(
        folder / f"new{path.suffix}"
    )
    text = out[0].read_text(encoding="utf-8")
    content = json.loads(text)
    assert text == json.dumps(content, sort_keys=True, ensure_ascii=False) + "\n"
    assert str(folder) not in text
    if how == "safetensors":
        with safe_open(out[1], framework="pt") as opened:
            assert opened.metadata()["icis"] + "\n" == text
    assert content["class_names"] == list(world.names)
    assert (content["head"], content["seen"]) == ("fc", 40)
    assert content["original_sha256"] == sha256(path)
    (only,) = content["rounds"]
    assert (only["classes"], only["method"], only["calibration"]) == (6, "ridge", 0.25)
    assert only["descriptors"] == [["attrs.csv", sha256(folder / "attrs.csv")]]
    assert only["descriptor_rows"] == list(range(40, 46))


@pytest.mark.parametrize("how", FORMATS)
def test_twice_and_back(folder, world, how):
    path = save(full_state(world), folder, how)
    injector = injector_for(path, folder)
    first = expand(open_checkpoint(path), injector).write(folder / f"first{path.suffix}")[-1]
    table = read_descriptors(second_table(folder, world))
    expansion = expand(open_checkpoint(first), injector, table, calibration="none")
    second = expansion.write(folder / f"second{path.suffix}")[-1]

    record = record_of(second)
    assert record["class_names"] == [*world.names, "later 0", "later 1", "later 2"]
    assert [part["classes"] for part in record["rounds"]] == [6, 3]
    assert [part["weights_sha256"] for part in record["rounds"]] == [sha256(path), sha256(first)]
    assert record["original_sha256"] == sha256(path)
    new, between = load(second), load(first)
    assert bits(new["fc.weight"][:46]) == bits(between["fc.weight"])
    rows = torch.from_numpy(injector.predict(table.values))
    assert bits(new["fc.weight"][46:]) == bits(rows[:, :24])

    for expanded in (first, second):
        back = remove(open_checkpoint(expanded)).write(folder / f"back{path.suffix}", force=True)
        assert back == (folder / f"back{path.suffix}",)
        assert {k: bits(t) for k, t in load(back[0]).items()} == {
            k: bits(t) for k, t in load(path).items()
        }
        if how == "safetensors":
            assert back[0].read_bytes() == path.read_bytes()


@pytest.mark.parametrize("save_as", ["zip", "legacy"])
def test_conversion_there_and_back(folder, world, save_as):
    state = full_state(world)
    path = save({"state_dict": state, "epoch": 3}, folder, save_as)
    injector = injector_for(path, folder)
    plain = expand(open_checkpoint(path), injector).write(folder / "plain.pt")[-1]
    there = expand(open_checkpoint(path), injector).write(folder / "new.safetensors")[-1]
    expected = {key: bits(tensor) for key, tensor in load(plain)["state_dict"].items()}
    assert {key: bits(tensor) for key, tensor in load(there).items()} == expected
    assert set(header_of(there)["__metadata__"]) == {"icis"}
    for key, entry in header_of(there).items():  # readers may map tensors where they lie
        if key != "__metadata__":
            assert entry["data_offsets"][0] % state[key].element_size() == 0

    back = remove(open_checkpoint(there)).write(folder / "back.pt")[-1]
    assert {k: bits(t) for k, t in load(back).items()} == {k: bits(t) for k, t in state.items()}


def test_safetensors_to_torch(folder, world):
    path = save(full_state(world), folder, "safetensors")
    files = plan(path, folder).write(folder / "new.pth")
    assert [file.name for file in files] == ["new.pth.icis.json", "new.pth"]
    assert list(load(files[1])) == list(open_checkpoint(path).tensors)
    assert load(files[1])["fc.weight"].shape == (46, 24)
    assert others(load(files[1])) == others(load(path))


def test_module_versions_types_and_gradients_are_kept(folder, world):
    model = torch.nn.Sequential(
        OrderedDict(norm=torch.nn.BatchNorm1d(24), fc=torch.nn.Linear(24, 40))
    )
    state = model.state_dict(keep_vars=True)
    torch.save(state, folder / "model.pt")
    expansion = plan(folder / "model.pt", folder)
    new: Any = load(expansion.write(folder / "new.pt")[-1])
    assert type(new) is OrderedDict
    versions = vars(new)["_metadata"]
    assert versions == vars(state)["_metadata"]
    assert versions["norm"]["version"] == 2
    assert [t.requires_grad for t in new.values()] == [t.requires_grad for t in state.values()]


@pytest.mark.parametrize("how", ["zip", "legacy"])
def test_a_head_that_lies_across_its_storage(folder, world, how):
    state = world.state()
    base = state["fc.weight"].t().contiguous()
    state["fc.weight"] = base.t()
    state["first column"] = base[0]  # shares memory with the head
    assert not state["fc.weight"].is_contiguous()
    path = save(state, folder, how)
    new = load(plan(path, folder).write(folder / "n.pt")[-1])
    assert bits(new["fc.weight"][:40]) == bits(world.state()["fc.weight"])
    assert bits(new["first column"]) == bits(base[0])


def with_alias(world: World, *, bias: bool) -> dict[str, torch.Tensor]:
    """A head that is the embedding, too, or a module under two names, and others like it."""
    state = world.state()
    state["embed.weight"] = state["fc.weight"]
    if bias:
        state["embed.bias"] = state["fc.bias"]
    state["norm.weight"] = state["norm.bias"] = torch.zeros(46)
    state["other.bias"] = torch.zeros(46, 24)
    return state


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("between", [".pt", ".safetensors"])
@pytest.mark.parametrize("end", [".pt", ".safetensors"])
def test_what_was_one_with_the_head_loses_its_rows_in_any_format(folder, world, bias, between, end):
    state = with_alias(world, bias=bias)
    old = folder / "tied.pt"
    torch.save(state, old)
    head = find_head(open_checkpoint(old), "fc")
    classes = align(head.rows, read_descriptors(folder / "attrs.csv"))
    injector = fit(open_checkpoint(old), head, classes, Ridge(), folds=0)
    one, two = folder / "one.pt", folder / f"two{between}"
    expand(open_checkpoint(old), injector, unseen=world.names[40:44]).write(one)
    assert open_checkpoint(one).tensors["embed.weight"].shape == (44, 24)
    expand(open_checkpoint(one), injector, unseen=world.names[44:46]).write(two)
    for source in (one, two):
        expansion = remove(open_checkpoint(source))
        out = folder / f"back{end}"
        notes = str(expansion.losses(out))
        assert "'embed.weight' shares its values with 'fc.weight', and loses the new" in notes
        assert "'norm.weight'" not in str(expansion.ties)
        back = load(expansion.write(out, force=True)[-1])
        assert {key: bits(value) for key, value in back.items()} == {
            key: bits(value) for key, value in state.items()
        }
    kept = remove(open_checkpoint(one)).write(folder / "kept.pt")[-1]
    back = load(kept)
    assert back["embed.weight"].data_ptr() == back["fc.weight"].data_ptr()


@pytest.mark.parametrize("listed", [list, tuple])
def test_class_lists_grow_and_training_state_goes(folder, world, listed):
    seen = world.names[:40]
    root = {
        "epoch": 3,
        "classes": listed(seen),
        "model": world.state(),
        "class_to_idx": {name: row for row, name in enumerate(seen)},
        "optimizer": {"state": {0: torch.ones(40, 24)}, "param_groups": [{"lr": 0.1}]},
        "model_ema": {**world.state(), "n_averaged": torch.tensor(2)},
        "lr_scheduler": {"last_epoch": 3},
    }
    torch.save(root, folder / "model.pt")
    checkpoint = open_checkpoint(folder / "model.pt")
    assert "'model', 'optimizer', 'lr_scheduler' belong to the old head" in checkpoint.notes[-1]
    out = expand(checkpoint, injector_for(folder / "model.pt", folder)).write(folder / "new.pt")[-1]
    new = load(out)
    assert list(new) == ["epoch", "classes", "class_to_idx", "model_ema"]
    assert new["classes"] == listed(world.names)
    assert new["class_to_idx"] == {name: row for row, name in enumerate(world.names)}
    assert list(new["model_ema"]) == list(root["model_ema"])
    assert open_checkpoint(out).labels.class_names == world.names
    back = load(remove(open_checkpoint(out)).write(folder / "back.pt")[-1])
    assert back["classes"] == listed(seen)
    assert back["class_to_idx"] == root["class_to_idx"]

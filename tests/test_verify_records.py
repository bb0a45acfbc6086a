"""``icis verify`` does not believe a record: each field that two checkpoints can contradict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from icis_cli import expand, open_checkpoint, verify
from tests.conftest import run

from .conftest import World
from .test_verify import failed, injected, injector_for, save

Record = dict[str, Any]
NO_DIGEST = "0" * 63


@pytest.fixture
def descriptors(tmp_path: Path, world: World) -> Path:
    np.savez(tmp_path / "attrs.npz", values=world.descriptors, names=np.array(world.names))
    return tmp_path / "attrs.npz"


@pytest.fixture
def pair(tmp_path: Path, world: World, descriptors: Path) -> tuple[Path, Path]:
    old = save(tmp_path / "old.pt", world.state())
    return old, injected(old, tmp_path / "new.pt", descriptors)


def rewrite(new: Path, change: Callable[[Record], object]) -> None:
    """Change the record beside a checkpoint."""
    beside = Path(f"{new}.icis.json")
    record = json.loads(beside.read_text())
    change(record)
    beside.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("kind", "injector", "its record calls itself 'injector', expected 'expanded checkpoint'"),
        ("note", "trained on images", "its record has 'note', which no record has"),
        ("seen", "40", "its record has seen '40', which is not of the type"),
        ("seen_descriptor_rows", [0] * 40, "the descriptor row 0 of the trained classes twice"),
        ("seen_descriptor_rows", [-1, *range(1, 40)], "the descriptor row -1 of the trained"),
        ("seen_descriptor_rows", [*"x" * 40], "the descriptor row 'x' of the trained classes"),
        ("seen_descriptors", [], "its record has no descriptor file of the trained classes"),
        ("seen_descriptors", [["a.csv", NO_DIGEST]], "the descriptor file 'a.csv' of the trained"),
    ],
)
def test_a_field_of_the_record(pair, field, value, reason):
    old, new = pair
    assert verify(old, new).passed
    rewrite(new, lambda record: record.update({field: value}))
    found = verify(old, new)
    assert failed(found) == ["record fields"]
    assert reason in str(found.difference)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("descriptor_rows", [1] * 6, "the descriptor row 1 of injection 1 twice"),
        ("method", "magic", "has the method 'magic', which there is not"),
        ("settings", {"images": 100}, "has a setting 'images' of ridge, which has none"),
        ("seed", "0", "has seed '0' in injection 1, expected a whole number"),
        ("calibration", "4", "has calibration '4' in injection 1, expected a finite number"),
        ("calibration", float("nan"), "has calibration nan in injection 1, expected a finite"),
        ("calibration_kind", "best", "'best' in injection 1, expected auto, fixed or none"),
        ("calibration_kind", "none", "though it says 'none'"),
        ("calibration_kind", "fixed", "with calibration 'fixed', which do not go together"),
        ("evening", 0.3, "has evening 0.3, expected 0 or 0.4"),
        ("evening", 0, "has evening 0 and reach"),
        ("reach", 0, "and reach 0 with calibration 'auto', which do not go together"),
        ("standing", [2] * 6, "expected shares from 0 to 1"),
        ("injector_sha256", "abc", "injector_sha256 'abc' in injection 1, expected 64 hexadecimal"),
        ("descriptors", [], "its record has no descriptor file of injection 1"),
        ("descriptors", [["a.csv", NO_DIGEST]], "the descriptor file 'a.csv' of injection 1"),
        ("version", " ", "has version ' ' in injection 1, expected a version"),
        ("libraries", {"numpy": 2}, "has libraries {'numpy': 2} in injection 1"),
        ("libraries", [["numpy", "2"]], "which is not of the type it must be"),
    ],
)
def test_a_field_of_an_injection(pair, field, value, reason):
    old, new = pair
    rewrite(new, lambda record: record["rounds"][0].update({field: value}))
    found = verify(old, new)
    assert failed(found) == ["record fields"]
    assert reason in str(found.difference)


def test_a_field_twice_of_which_readers_may_take_either(pair):
    old, new = pair
    beside = Path(f"{new}.icis.json")
    beside.write_text(beside.read_text().replace('"seen": 40', '"seen": 46, "seen": 40'))
    assert verify(old, new).difference == "its record has 'seen' twice"


@pytest.mark.parametrize("gamma", [0.0, 40.0, -40.0])
def test_another_offset_than_that_on_the_biases(pair, gamma):
    old, new = pair
    rewrite(new, lambda record: record["rounds"][0].update(calibration=gamma + 4))
    found = verify(old, new)
    if gamma == 0:  # not far from the true one: the injector alone could tell
        assert found.passed
        return
    assert failed(found) == ["offsets"]
    assert f"an offset of {gamma + 4:+.2f} in injection 1, but the new biases" in str(
        found.difference
    )


@pytest.mark.parametrize("gamma", [-500.0, 0.5, 500.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_offset_that_was_asked_for_is_right(tmp_path, world, descriptors, gamma, dtype):
    old = save(tmp_path / "old.safetensors", world.state(dtype))
    new = injected(old, tmp_path / "new.safetensors", descriptors, calibration=gamma)
    assert verify(old, new).difference is None
    with safe_open(new, "pt") as content:
        metadata = content.metadata()
        state = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118
    state["fc.bias"][40:] += 100
    save_file(state, new, metadata)
    assert failed(verify(old, new)) == ["offsets"]


def test_an_offset_for_a_head_without_bias(tmp_path, world, descriptors):
    old = save(tmp_path / "old.pt", world.state(bias=False))
    new = injected(old, tmp_path / "new.pt", descriptors)
    assert verify(old, new).passed
    rewrite(new, lambda record: record["rounds"][0].update(calibration=1.0))
    assert "but the head has no bias for it" in str(verify(old, new).difference)


def inception(world: World) -> dict[str, torch.Tensor]:
    head = {key: value for key, value in world.state().items() if key.startswith("fc")}
    return {
        "AuxLogits.conv.weight": torch.ones(3),
        "AuxLogits.fc.weight": torch.randn(40, 5),
        "AuxLogits.fc.bias": torch.randn(40),
        "Conv2d_1a_3x3.conv.weight": torch.ones(2, 3, 3, 3),
        "Mixed_5b.branch1x1.conv.weight": torch.ones(2, 2, 1, 1),
        **head,
    }


@pytest.mark.parametrize("dropped", [["aux1"], ["body"], ["AuxLogits"] * 2, ["AuxLogits", "x"]])
@pytest.mark.parametrize("kind", ["widen", "drop"])
def test_modules_that_were_not_left_out(tmp_path, world, descriptors, dropped, kind):
    old = save(tmp_path / "old.pt", inception(world))
    new = injected(old, tmp_path / "new.pt", descriptors, auxiliary=kind)
    assert verify(old, new).passed
    rewrite(new, lambda record: record.update(dropped=dropped))
    found = verify(old, new)
    assert failed(found) == ["tensors"]
    assert f"leaves out {dropped[-1]!r}, which has no auxiliary head" in str(found.difference)


def test_what_was_left_out_before_cannot_be_made_up_later(tmp_path, world, descriptors):
    old = save(tmp_path / "old.pt", inception(world))
    injector = injector_for(old, descriptors)
    one, two = tmp_path / "one.pt", tmp_path / "two.pt"
    expand(open_checkpoint(old), injector, unseen=("kind a20",), auxiliary="drop").write(one)
    expand(open_checkpoint(one), injector, unseen=("kind b20",)).write(two)
    assert verify(old, two).passed
    assert verify(one, two).passed
    rewrite(two, lambda record: record.update(dropped=["AuxLogits", "AuxLogits"]))
    assert "leaves out 'AuxLogits'" in str(verify(one, two).difference)


def test_neutral_rows_are_the_mean_of_the_old_ones(tmp_path, world, descriptors):
    old = save(tmp_path / "old.pt", inception(world))
    new = injected(old, tmp_path / "new.pt", descriptors)
    state = torch.load(new, weights_only=True)
    state["AuxLogits.fc.weight"][44, 2] += 0.5
    torch.save(state, new)
    found = verify(old, new)
    assert failed(found) == ["new rows"]
    assert found.difference == "'AuxLogits.fc.weight' has in row 44 not the mean of the old ones"


def test_a_lost_side_file(tmp_path, world, descriptors, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("old.pt", "old.safetensors"):
        save(tmp_path / name, world.state())
    injected(Path("old.pt"), Path("new.pt"), descriptors)
    injected(Path("old.safetensors"), Path("new.safetensors"), descriptors)
    for name in ("new.pt", "new.safetensors"):
        Path(f"{name}.icis.json").unlink()
    assert run(["verify", "old.safetensors", "new.safetensors"]) == 0
    line = "new.safetensors.icis.json is missing; the record in the checkpoint serves"
    assert line in " ".join(capsys.readouterr().out.split())
    assert "icis" in open_checkpoint("new.safetensors").metadata
    assert run(["verify", "old.pt", "new.pt"]) == 1
    assert capsys.readouterr().err == (
        "icis: error: new.pt: is not old.pt plus new rows: the record of its rows is missing: "
        "there is no new.pt.icis.json - put back the new.pt.icis.json that icis inject wrote with "
        "it: a PyTorch file has no room for a record\n"
    )
    assert run(["verify", "new.pt", "old.pt"]) == 1  # swapped, and no record at all
    assert capsys.readouterr().err.endswith("- the order is icis verify OLD NEW\n")
    assert run(["verify", "old.pt", "old.pt"]) == 1
    assert "name two checkpoints" in capsys.readouterr().err


@pytest.mark.parametrize("columns", ["80", "66", "200"])
def test_a_digest_stays_whole_and_has_a_subject(pair, capsys, monkeypatch, columns):
    monkeypatch.chdir(pair[0].parent)
    monkeypatch.setenv("COLUMNS", columns)
    digest = open_checkpoint("old.pt").sha256()
    assert run(["verify", "old.pt", "new.pt"]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[-2:] == ["sha256 of old.pt:", f"  {digest}"]
    assert any(f"old.pt: {digest[:16]}..." in line for line in lines[:-2])
    assert sum(digest in line for line in lines) == 1
    rewrite(Path("new.pt"), lambda record: record.update(original_sha256="ab" * 32))
    assert run(["verify", "old.pt", "new.pt"]) == 1
    out, err = capsys.readouterr()
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[-4:] == [
        "sha256 of old.pt:", f"  {digest}", "sha256 in the record:", f"  {'ab' * 32}",
    ]  # fmt: skip
    assert f"the sha256 of old.pt is {digest}, but the record says {'ab' * 32}" in err

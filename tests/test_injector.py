"""The injector file, what it may be applied to, and expansions that are refused or fail."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file as save_tensors

from icis_cli import (
    DEFAULT,
    Icis,
    Injector,
    Mean,
    Mlp,
    Nearest,
    Ridge,
    align,
    expand,
    find_head,
    fit,
    open_checkpoint,
    read_descriptors,
    remove,
)
from icis_cli.errors import (
    CheckpointError,
    DescriptorError,
    HeadError,
    InjectorError,
    OutputError,
    TrainingError,
)
from tests.records import sha256, side_file
from tests.test_expansion import bits, injector_for, load, plan, save

Method = Icis | Mean | Nearest | Ridge

METHODS: tuple[Method, ...] = (
    Icis(replace(DEFAULT, hidden=16, epochs=2, min_steps=0)),
    Mlp(replace(DEFAULT, hidden=16, epochs=2, min_steps=0, terms=("a-w",))),
    Nearest(),
    Mean(),
)


@pytest.fixture
def saved(folder: Path) -> Path:
    injector = fitted(folder, Nearest())
    injector.save(folder / "injector.safetensors")
    return folder / "injector.safetensors"


def fitted(folder: Path, method: Method) -> Injector:
    checkpoint = open_checkpoint(folder / "model.pt")
    head = find_head(checkpoint)
    return fit(checkpoint, head, align(head.rows, read_descriptors(folder / "attrs.csv")), method)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_an_injector_predicts_the_same_after_a_round_trip(folder, world, method):
    injector = fitted(folder, method)
    injector.save(folder / "injector.safetensors")
    loaded = Injector.load(folder / "injector.safetensors")
    assert loaded.predict(world.descriptors).tobytes() == (
        injector.predict(world.descriptors).tobytes()
    )
    assert loaded.predict(world.descriptors).shape == (46, 25)
    assert loaded.digest == sha256(folder / "injector.safetensors")
    arrays = ("predictor", "seen_descriptors", "unseen_descriptors", "held", "digest")
    for field in dataclasses.fields(Injector):
        if field.name not in arrays:
            assert getattr(loaded, field.name) == getattr(injector, field.name), field.name
    np.testing.assert_array_equal(loaded.unseen_descriptors, injector.unseen_descriptors)
    loaded.save(folder / "again.safetensors")
    assert (folder / "again.safetensors").read_bytes() == (
        folder / "injector.safetensors"
    ).read_bytes()


def test_the_file_is_plain_safetensors_with_sorted_json(saved):
    with safe_open(saved, framework="np") as content:
        (key,) = content.metadata()
        text = content.metadata()[key]
        assert {"descriptors.seen", "descriptors.unseen"} < set(content.keys())
    assert key == "icis"
    record = json.loads(text)
    assert text == json.dumps(record, sort_keys=True, ensure_ascii=False)
    assert record["source"]["path"] == "model.pt"
    assert record["source"]["sha256"] == sha256(saved.parent / "model.pt")
    assert record["descriptors"] == [["attrs.csv", sha256(saved.parent / "attrs.csv")]]
    assert str(saved.parent) not in text


def test_the_checkpoint_is_found_again_after_both_moved(folder):
    (folder / "deep" / "er").mkdir(parents=True)
    fitted(folder, Mean()).save(folder / "deep" / "er" / "i.safetensors")
    moved = folder.rename(folder.with_name("elsewhere"))
    loaded = Injector.load(moved / "deep" / "er" / "i.safetensors")
    assert loaded.source.path == str(moved / "model.pt")


@pytest.mark.parametrize("where", ["absolute", "relative"])
def test_the_checkpoint_is_found_through_links(folder, monkeypatch, where):
    """A folder that is a link, and a checkpoint that is one (as in a download cache)."""
    (folder / "a" / "b" / "real").mkdir(parents=True)
    (folder / "link").symlink_to(folder / "a" / "b" / "real")
    (folder / "model.pt").rename(folder / "a" / "0f3c")
    (folder / "model.pt").symlink_to(folder / "a" / "0f3c")
    monkeypatch.chdir(folder)
    path = Path("link", "i.safetensors")
    fitted(Path(), Mean()).save(folder / path if where == "absolute" else path)
    for name in (path, folder / path, folder / "a" / "b" / "real" / "i.safetensors"):
        assert Injector.load(name).source.path == str(folder / "model.pt")


def test_an_existing_output_is_refused_without_force(saved):
    injector = Injector.load(saved)
    before = saved.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        replace(injector, seed=9).save(saved)
    assert saved.read_bytes() == before
    replace(injector, seed=9).save(saved, force=True)
    assert Injector.load(saved).seed == 9


def always(row: np.ndarray) -> Any:
    """Return a predictor of one row, whatever the class."""
    return Mean.predictor.restore({"row": row.astype(np.float32)}, {})


def rewritten(saved: Path, **changes: object) -> None:
    """Save the injector again with other entries in its record; ``None`` takes one out."""
    with safe_open(saved, framework="np") as content:
        record = {**json.loads(content.metadata()["icis"]), **changes}
    text = json.dumps({key: value for key, value in record.items() if value is not None})
    save_arrays(load_file(saved), saved, {"icis": text})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "expanded checkpoint"}, "is a expanded checkpoint, not an injector"),
        ({"schema_version": 99}, "was written by a newer icis"),
        ({"schema_version": "x"}, "is damaged or no injector"),
        ({"method": "magic"}, "is damaged or no injector"),
        ({"method": "icis"}, "is damaged or no injector"),
        ({"source": {"path": "x"}}, "is damaged or no injector"),
        ({"source": None}, "is damaged or no injector"),
        ({"unseen_names": 3}, "is damaged or no injector"),
        ({"descriptors": [["one"]]}, "is damaged or no injector"),
    ],
)
def test_a_record_that_is_wrong(saved, changes, words):
    rewritten(saved, **changes)
    with pytest.raises(InjectorError, match=words) as caught:
        Injector.load(saved)
    assert caught.value.path == saved


def with_tensors(saved: Path, changes: dict[str, object]) -> None:
    """Save the injector again with other tensors."""
    with safe_open(saved, framework="np") as content:
        metadata = content.metadata()
    changed = {key: np.ascontiguousarray(value) for key, value in changes.items()}
    save_arrays({**load_file(saved), **changed}, saved, metadata)


@pytest.mark.parametrize(
    "changes",
    [
        {"seen_names": list(range(40))},
        {"seen_names": ["one"]},
        {"unseen_names": ["one"]},
        {"unseen_names": [None] * 6},
        {"seen_rows": [0, 1]},
        {"seen_rows": ["x"] * 40},
        {"unseen_rows": [0.5] * 6},
        {"unseen_rows": list(range(7))},
        {"descriptors": []},
        {"descriptors": [[1, 2]]},
        {"losses": ["much"]},
        {"source": {"path": "model.pt", "sha256": 0, "head": 3, "head_sha256": ""}},
    ],
)
def test_a_record_whose_parts_do_not_fit(saved, changes):
    record_before = saved.read_bytes()
    assert Injector.load(saved)
    rewritten(saved, **changes)
    assert saved.read_bytes() != record_before
    with pytest.raises(InjectorError, match="is damaged or no injector"):
        Injector.load(saved)


ONES = np.ones((40, 25), np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        {"descriptors.seen": np.full((40, 8), np.nan, np.float32)},
        {"descriptors.unseen": np.full((6, 8), np.inf, np.float32)},
        {"descriptors.unseen": np.ones((6, 7), np.float32)},
        {"descriptors.unseen": np.ones((5, 8), np.float32)},
        {"descriptors.unseen": np.ones((6, 8, 1), np.float32)},
        {"descriptors.seen": np.ones((39, 8), np.float32)},
        {"descriptors.seen": np.ones((40, 8), np.int64)},
        {"heldout.rows": ONES * np.float32(np.nan)},
        {"heldout.rows": ONES.astype(np.float64)},
        {"heldout.rows": ONES[:, :24]},
        {"heldout.fold": np.arange(40) % 2 + 0.5},
        {"heldout.fold": np.arange(40) < 20},
        {"method.descriptors": np.ones((40, 7), np.float32)},
        {"method.descriptors": np.ones((60, 8), np.float32) * np.arange(60)[:, None]},
        {"method.rows": np.ones(40, np.float32)},
        {"method.rows": np.ones((0, 25), np.float32)},
    ],
)
def test_tensors_that_are_damaged_or_do_not_fit(saved, changes):
    with_tensors(saved, changes)
    with pytest.raises(InjectorError, match="is damaged or no injector"):
        Injector.load(saved)


@pytest.mark.parametrize("method", [Ridge(), METHODS[0]], ids=lambda method: method.name)
def test_a_method_without_its_numbers(folder, method):
    path = folder / "injector.safetensors"
    fitted(folder, method).save(path)
    name = "method.median" if method.name == "ridge" else "method.rows.scale"
    with_tensors(path, {name: np.empty(0, np.float32)})
    with pytest.raises(InjectorError, match="is damaged or no injector"):
        Injector.load(path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_tensors_of_a_kind_that_numpy_has_not(saved, dtype):
    with safe_open(saved, framework="np") as content:
        metadata = content.metadata()
    tensors = {key: torch.from_numpy(value) for key, value in load_file(saved).items()}
    save_tensors({**tensors, "descriptors.seen": torch.ones(40, 8).to(dtype)}, saved, metadata)
    # Where a library has taught numpy the kind, the values are read, and refused then.
    with pytest.raises(InjectorError, match=r"is no readable injector|is damaged or no injector"):
        Injector.load(saved)


def test_files_that_are_no_injector(saved, world):
    folder = saved.parent
    whole = saved.read_bytes()
    for name, data, words in (
        ("cut", whole[:-1], "is no readable injector"),
        ("header", whole[:100], "is no readable injector"),
        ("empty", b"", "is no readable injector"),
        ("text", b"hello", "is no readable injector"),
        ("pickle", (folder / "model.pt").read_bytes(), "is no readable injector"),
    ):
        (folder / name).write_bytes(data)
        with pytest.raises(InjectorError, match=f"{name}: {words}"):
            Injector.load(folder / name)
    save(world.state(), folder, "safetensors")
    with pytest.raises(InjectorError, match="is a safetensors file, but no injector"):
        Injector.load(folder / "model.safetensors")
    for text, words in (("[]", "is no injector"), ("{", "is no readable injector")):
        save_arrays({}, folder / "odd", {"icis": text})
        with pytest.raises(InjectorError, match=words):
            Injector.load(folder / "odd")
    with pytest.raises(InjectorError, match="no such file") as caught:
        Injector.load(folder / "absent.safetensors")
    assert "icis fit" in caught.value.hint


def test_another_head_is_refused(folder, world):
    injector = injector_for(folder / "model.pt", folder)
    state = world.state()
    state["fc.weight"][3, 5] += 1e-3
    torch.save(state, folder / "other.pt")
    with pytest.raises(InjectorError, match="is not the one that the injector was fitted on"):
        expand(open_checkpoint(folder / "other.pt"), injector)
    state = world.state()
    state["body.weight"] += 1  # another body under the same head is the user's business
    torch.save(state, folder / "body.pt")
    assert expand(open_checkpoint(folder / "body.pt"), injector).rows.shape == (6, 25)
    torch.save(world.state(bias=False), folder / "unbiased.pt")
    with pytest.raises(InjectorError, match="is not the one"):
        expand(open_checkpoint(folder / "unbiased.pt"), injector)


def test_an_injector_that_predicts_rows_of_another_width_is_refused(folder):
    injector = injector_for(folder / "model.pt", folder)
    for held in (None, injector.held):
        odd = replace(injector, predictor=always(np.ones(24)), held=held)
        with pytest.raises(InjectorError, match=r"rows have 25 numbers, .* predicts 24"):
            expand(open_checkpoint(folder / "model.pt"), odd)


@pytest.mark.parametrize("gamma", [0.5, -3.0])
def test_calibration_moves_the_biases_of_new_rows_only(folder, gamma):
    injector = injector_for(folder / "model.pt", folder)
    checkpoint = open_checkpoint(folder / "model.pt")
    none = expand(checkpoint, injector, calibration="none")
    plain = load(none.write(folder / "plain.pt")[-1])
    moved = load(expand(checkpoint, injector, calibration=gamma).write(folder / "moved.pt")[-1])
    assert bits(moved["fc.weight"]) == bits(plain["fc.weight"])
    assert bits(moved["fc.bias"][:40]) == bits(plain["fc.bias"][:40])
    assert bits(moved["fc.bias"][40:]) == bits(plain["fc.bias"][40:] + gamma)


def test_calibration_needs_a_bias(folder, world):
    torch.save(world.state(bias=False), folder / "model.pt")
    injector = injector_for(folder / "model.pt", folder)
    with pytest.raises(HeadError, match="has no bias, which an offset needs") as caught:
        expand(open_checkpoint(folder / "model.pt"), injector, calibration=0.5)
    assert caught.value.hint.startswith("pass --calibration none, or auto")
    assert expand(open_checkpoint(folder / "model.pt"), injector).rows.shape == (6, 24)


def test_classes_that_are_there_already_are_refused(folder):
    injector = injector_for(folder / "model.pt", folder)
    out = plan(folder / "model.pt", folder).write(folder / "new.pt")[-1]
    with pytest.raises(HeadError, match="6 of the 6 new classes are in the checkpoint already"):
        expand(open_checkpoint(out), injector)
    table = read_descriptors(folder / "attrs.csv")
    with pytest.raises(HeadError, match=r"1 of the 1 new .* first 'kind a0'"):
        expand(open_checkpoint(folder / "model.pt"), injector, table, unseen=("kind a0",))
    names = ("kind b22", "kind a21")
    checkpoint = open_checkpoint(folder / "model.pt")
    two = expand(checkpoint, injector, unseen=names, calibration="none")
    assert two.class_names[40:] == ("kind b22", "kind a21")
    np.testing.assert_array_equal(two.rows, injector.predict(table.values[[45, 42]]))


@pytest.mark.parametrize(
    ("dtype", "value", "words"),
    [
        (torch.float16, 7e4, "fc.weight: a predicted value is too large for F16"),
        (torch.bfloat16, 3.4e38, "the predicted row of 'kind a20' is not finite or far too long"),
        (torch.float32, np.inf, "the predicted row of 'kind a20' is not finite"),
        (torch.float16, np.nan, "the predicted row of 'kind a20' is not finite"),
    ],
)
def test_predictions_that_cannot_be_stored(folder, world, dtype, value, words):
    torch.save(world.state(dtype), folder / "model.pt")
    injector = injector_for(folder / "model.pt", folder)
    injector = replace(injector, predictor=always(np.full(25, value)))
    with pytest.raises(TrainingError, match=words):
        expand(open_checkpoint(folder / "model.pt"), injector, calibration="none")


def test_descriptors_of_another_width(folder):
    injector = injector_for(folder / "model.pt", folder)
    np.save(folder / "narrow.npy", np.arange(10.0).reshape(5, 2))
    table = read_descriptors(folder / "narrow.npy")
    with pytest.raises(DescriptorError, match="has 2 columns, but the injector was fitted on 8"):
        expand(open_checkpoint(folder / "model.pt"), injector, table)
    with pytest.raises(ValueError, match="2 columns, expected 8"):
        injector.predict(table.values)


def test_records_that_are_missing_foreign_or_damaged(folder):
    with pytest.raises(CheckpointError, match="has no record of injected rows"):
        remove(open_checkpoint(folder / "model.pt"))
    out = plan(folder / "model.pt", folder).write(folder / "new.pt")[-1]
    text = side_file(out).read_text()
    side_file(folder / "model.pt").write_text(text)
    for refuse in (remove, lambda c: expand(c, injector_for(folder / "model.pt", folder))):
        with pytest.raises(CheckpointError, match="40 rows, but its record lists 46 classes"):
            refuse(open_checkpoint(folder / "model.pt"))
    for damaged in (text[:-10], "[]", "{}", text.replace('"seen": 40', '"seen": 39')):
        side_file(out).write_text(damaged)
        with pytest.raises(CheckpointError, match=r"holds a.* icis record"):
            remove(open_checkpoint(out))


def test_outputs_that_are_refused(folder, world):
    expansion = plan(folder / "model.pt", folder)
    for force in (False, True):
        with pytest.raises(OutputError, match="the output is the input itself"):
            expansion.write(folder / "model.pt", force=force)
    for taken in ("new.pt", "new.pt.icis.json"):
        (folder / taken).write_bytes(b"old")
        with pytest.raises(OutputError, match="exists already"):
            expansion.write(folder / "new.pt")
        assert (folder / taken).read_bytes() == b"old"
        (folder / taken).unlink()
    (folder / "new.pt").write_bytes(b"old")
    expansion.write(folder / "new.pt", force=True)
    assert load(folder / "new.pt")["fc.weight"].shape == (46, 24)


def test_a_write_that_fails_half_way_leaves_nothing(folder, world, monkeypatch):
    expansion = plan(folder / "model.pt", folder)
    there = {path.name for path in folder.iterdir()}

    def full(_, stream):
        stream.write(b"half")
        try:
            raise OSError(28, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos 704 vs 598")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"new.pt: cannot be written: No space left on device"):
        expansion.write(folder / "new.pt")
    assert {path.name for path in folder.iterdir()} == there


def test_an_input_that_shrinks_meanwhile(folder, world):
    path = save({**world.state(), "z": torch.ones(3, dtype=torch.uint8)}, folder, "safetensors")
    expansion = plan(path, folder)
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - 1)
    with pytest.raises(CheckpointError, match="became shorter while it was read"):
        expansion.write(folder / "new.safetensors")
    assert not (folder / "new.safetensors.icis.json").exists()

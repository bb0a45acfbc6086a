"""Columns by name, and orders and names of classes that contradict each other."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import icis_cli as icis
from icis_cli import Descriptors
from icis_cli.descriptors.columns import in_columns
from icis_cli.errors import AlignmentError, InjectorError
from tests.conftest import run

COLUMNS = tuple(f"attribute {letter}" for letter in "abcdefgh")
ORDER = [3, 0, 7, 1, 6, 2, 5, 4]
FIT = ["fit", "--weights", "model.pt", "--method", "nearest", "--cv", "0"]
INJECT = ["inject", "--calibration", "none", "--out", "new.pt", "--attrs"]


def write_csv(path: str, world, rows, columns, values=None) -> None:
    values = world.descriptors[rows] if values is None else values
    with Path(path).open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["class", *columns])
        writer.writerows(
            [world.names[row], *map(float, line)] for row, line in zip(rows, values, strict=True)
        )


def permuted(world, path: str, rows) -> None:
    columns = [COLUMNS[place] for place in ORDER]
    write_csv(path, world, rows, columns, world.descriptors[rows][:, ORDER])


@pytest.fixture
def here(folder, world, monkeypatch):
    monkeypatch.chdir(folder)
    write_csv("named.csv", world, range(46), COLUMNS)
    write_csv("seen.csv", world, range(40), COLUMNS)
    return folder


def added() -> np.ndarray:
    return torch.load("new.pt", weights_only=True)["fc.weight"][40:].numpy()


def injected(table: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return what ``icis inject`` tells of the classes of a table."""
    capsys.readouterr()
    assert run([*INJECT, table, "--force", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_columns_in_another_order_than_fit_had_give_the_same_rows(here, world, capsys):
    assert run([*FIT, "--attrs", "named.csv"]) == 0
    assert run([*INJECT, "named.csv"]) == 0
    rows = added()
    permuted(world, "moved.csv", range(40, 46))
    capsys.readouterr()
    assert run([*INJECT, "moved.csv", "--force"]) == 0
    np.testing.assert_allclose(added(), rows, rtol=1e-4, atol=1e-6)
    said = " ".join(capsys.readouterr().err.split())
    assert "the columns of moved.csv are put in the order of named.csv at icis fit" in said


def test_new_classes_of_a_second_file_may_have_their_columns_in_another_order(here, world):
    assert run([*FIT, "--attrs", "named.csv"]) == 0
    whole = icis.Injector.load("injector.safetensors")
    permuted(world, "moved.csv", range(40, 46))
    assert run([*FIT, "--attrs", "seen.csv", "--unseen-attrs", "moved.csv", "--force"]) == 0
    apart = icis.Injector.load("injector.safetensors")
    np.testing.assert_array_equal(apart.unseen_descriptors, whole.unseen_descriptors)
    assert apart.columns == whole.columns == (COLUMNS,)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            (*COLUMNS[:7], "attribute_h"),
            "named.csv at icis fit has not: 'attribute_h' (did you mean 'attribute h'?), and lacks",
        ),
        (COLUMNS[:7], "x.csv lacks 1 column(s) that named.csv at icis fit has: 'attribute h'"),
        ((*COLUMNS, "more"), "x.csv has 1 column(s) that named.csv at icis fit has not: 'more'"),
    ],
)
def test_other_columns_than_fit_had_are_refused(here, world, capsys, columns, words):
    assert run([*FIT, "--attrs", "named.csv"]) == 0
    values = np.random.default_rng(0).standard_normal((6, len(columns)))
    write_csv("x.csv", world, range(40, 46), columns, values)
    capsys.readouterr()
    assert run([*INJECT, "x.csv"]) == 1
    assert words in capsys.readouterr().err
    assert not Path("new.pt").exists()


def test_what_a_json_file_does_not_list_is_filled_in_place(here, world, capsys):
    content = {
        name: {c: float(v) for c, v in zip(COLUMNS, values, strict=True)}
        for name, values in zip(world.names, world.descriptors, strict=True)
    }
    Path("all.json").write_text(json.dumps(content))
    late = {c: v for c, v in content[world.names[45]].items() if c not in COLUMNS[:2]}
    Path("late.json").write_text(json.dumps({"late": late}))
    Path("filled.json").write_text(json.dumps({"late": {**dict.fromkeys(COLUMNS[:2], 0), **late}}))
    assert run([*FIT, "--attrs", "all.json"]) == 0
    assert run([*INJECT, "filled.json"]) == 0
    rows = added()
    capsys.readouterr()
    assert run([*INJECT, "late.json", "--force"]) == 0
    np.testing.assert_allclose(added(), rows, rtol=1e-4, atol=1e-6)
    assert "does not list 2 of 8 attributes, which are taken as 0" in capsys.readouterr().err
    Path("odd.json").write_text(json.dumps({"late": {**late, "attribut h": 1}}))
    assert run([*INJECT, "odd.json", "--force"]) == 1
    assert "'attribut h' (did you mean" in capsys.readouterr().err


def test_columns_without_names_stay_where_they_are(here, world, capsys):
    assert run([*FIT, "--attrs", "named.csv"]) == 0
    np.savez("late.npz", descriptors=world.descriptors[40:], names=np.array(world.names[40:]))
    assert run([*INJECT, "named.csv"]) == 0
    rows = added()
    capsys.readouterr()
    assert run([*INJECT, "late.npz", "--force"]) == 0
    np.testing.assert_allclose(added(), rows, rtol=1e-4, atol=1e-6)
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "late.npz does not name its columns: they are taken to be in the order of named.csv" in said
    )


def test_views_are_put_in_order_one_by_one():
    values = np.arange(10, dtype=np.float32).reshape(2, 5)
    one = Descriptors(values[:, :2], ("x", "y"), Path("one.csv"), ("b", "a"))
    two = Descriptors(values[:, 2:], ("x", "y"), Path("two.csv"), ("p", "r", "q"))
    table = icis.join_views([one, two])
    found = in_columns(table, [("a", "b"), ("p", "q", "r")], ["one", "two"])
    assert found.values.tolist() == [[1, 0, 2, 4, 3], [6, 5, 7, 9, 8]]
    assert [view.columns for view in found.views] == [("a", "b"), ("p", "q", "r")]
    same = in_columns(table, [None, ("p", "r", "q")], ["one", "two"])
    assert same.values is table.values
    assert same.notes == (
        "one does not name its columns: they are taken to be in the order of one.csv",
    )
    assert in_columns(table, [("b", "a"), ("p", "r", "q")], ["one", "two"]) is table
    assert in_columns(table, [None], ["one"]) is table
    twice = Descriptors(values, ("x", "y"), Path("t.csv"), ("a", "b", "c", "a", "d"))
    wanted = ("b", "a", "c", "d", "a")
    with pytest.raises(AlignmentError, match=r"another order than one, and 'a' occurs more"):
        in_columns(twice, [wanted], ["one"])


def test_an_injector_keeps_columns_and_reads_those_without(here, world):
    assert run([*FIT, "--attrs", "named.csv"]) == 0
    name = "injector.safetensors"
    with safe_open(name, framework="np") as content:
        record = json.loads(content.metadata()["icis"])
    tensors = load_file(name)
    assert record["columns"] == [list(COLUMNS)]
    for wrong in ([COLUMNS, None], [COLUMNS[:7]], [[1] * 8], "x", 3):
        save_file(tensors, name, {"icis": json.dumps({**record, "columns": wrong})})
        with pytest.raises(InjectorError, match="is damaged or no injector"):
            icis.Injector.load(name)
    del record["columns"]
    save_file(tensors, name, {"icis": json.dumps(record)})
    assert icis.Injector.load(name).columns == ()
    assert run([*INJECT, "named.csv"]) == 0


def test_a_seen_list_that_contradicts_the_checkpoint_is_refused(here, world, capsys):
    names = [name.replace(" ", "_").upper() for name in world.names[:40]]
    torch.save({"state_dict": world.state(), "class_names": names}, "known.pt")
    fit = ["fit", "--weights", "known.pt", "--attrs", "named.csv", "--dry-run"]
    swapped = [1, 0, *range(2, 40)]
    Path("swapped.txt").write_text("\n".join(world.names[row] for row in swapped))
    Path("right.txt").write_text("\n".join(world.names[:40]))
    assert run([*fit, "--seen", "swapped.txt"]) == 1
    said = capsys.readouterr().err
    assert (
        "--seen contradicts the checkpoint's own class names in 2 of 40 rows, first in row 0: "
        f"{names[0]!r} there, {world.names[1]!r} by --seen" in said
    )
    assert run([*fit, "--seen", "right.txt"]) == 0
    # Names that no descriptor has, e.g. numbers of synsets, say nothing about the order.
    torch.save(
        {"state_dict": world.state(), "class_names": [f"n{row}" for row in range(40)]}, "known.pt"
    )
    assert run([*fit, "--seen", "swapped.txt"]) == 0


def test_names_that_differ_only_in_case_are_doubted(here, world, capsys):
    names = [*world.names[:45], world.names[3].upper()]
    np.savez("attrs.npz", descriptors=world.descriptors, names=np.array(names))
    assert run([*FIT, "--attrs", "attrs.npz"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert (
        f"1 new class is spelt almost like another class: {names[45]!r} and {names[3]!r}; are "
        "they the same?" in said
    )


def test_a_class_that_only_looks_like_a_known_one_is_none(here, world, capsys):
    """Numbering is left out where names are matched: 02.door and 04.door are two classes."""
    names = ["02.door", *world.names[1:40], "04.door", *world.names[41:]]
    np.savez("doors.npz", descriptors=world.descriptors, names=np.array(names))
    assert run([*FIT, "--attrs", "doors.npz"]) == 0
    found = injected("doors.npz", capsys)
    assert found["classes"] == names[40:]
    assert not any("taken for" in note for note in found["notes"])
    late = [names[1].upper(), "new"]
    np.savez("late.npz", descriptors=world.descriptors[:2], names=np.array(late))
    found = injected("late.npz", capsys)
    assert found["classes"] == ["new"]
    note = f"1 classes are taken for classes of the head: {late[0]!r} = {names[1]!r}"
    assert note in found["notes"]


def test_columns_that_only_the_new_file_names_are_noted(here, world, capsys):
    np.save("plain.npy", world.descriptors)
    assert run([*FIT, "--attrs", "plain.npy"]) == 0
    write_csv("late.csv", world, range(40, 46), COLUMNS)
    capsys.readouterr()
    assert run([*INJECT, "late.csv"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "plain.npy at icis fit does not name its columns" in said
    assert "in the order of late.csv" in said


def test_columns_of_a_json_file_are_in_the_order_of_the_file(here):
    Path("order.json").write_text(
        json.dumps({"x": {"b": 1, "a": 2, "10": 3}, "y": {"c": 4, "a": 5, "b": 6}})
    )
    found = icis.read_descriptors("order.json")
    assert found.columns == ("b", "a", "10", "c")
    assert found.values.tolist() == [[1, 2, 3, 0], [6, 5, 0, 4]]


@pytest.mark.parametrize("named", ["fit", "inject", "neither"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_what_the_classifier_knows_is_recognised_without_names(
    here, world, capsys, named, shuffled
):
    """A table with all classes and some more, where not both files have names."""
    more = np.random.default_rng(1).standard_normal((2, 8)).astype(np.float32)
    names = [*world.names, "late one", "late two"]
    np.save("fit.npy", world.descriptors)
    np.savez("fit.npz", descriptors=world.descriptors, names=np.array(world.names))
    order = np.random.default_rng(2).permutation(48) if shuffled else np.arange(48)
    values = np.concatenate([world.descriptors, more])[order]
    np.save("grown.npy", values)
    np.savez("grown.npz", descriptors=values, names=np.array(names)[order])
    assert run([*FIT, "--attrs", "fit.npz" if named == "fit" else "fit.npy"]) == 0
    assert run(["inject", "--calibration", "none", "--out", "first.pt"]) == 0
    capsys.readouterr()
    grown = "grown.npz" if named == "inject" else "grown.npy"
    inject = ["inject", "--calibration", "none", "--weights", "first.pt", "--attrs", grown]
    assert run([*inject, "--out", "second.pt", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["classes"]) == 2
    assert any("6 of 8 classes are in the checkpoint already" in note for note in told["notes"])
    weight = torch.load("second.pt", weights_only=True)["fc.weight"]
    assert weight.shape[0] == 48
    if named == "inject":
        assert set(told["classes"]) == {"late one", "late two"}


def test_classes_that_get_names_later_are_injected_under_them(here, world, capsys):
    np.save("fit.npy", world.descriptors)
    np.savez("named.npz", descriptors=world.descriptors, names=np.array(world.names))
    assert run([*FIT, "--attrs", "fit.npy"]) == 0
    capsys.readouterr()
    assert run([*INJECT, "named.npz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == list(world.names[40:])


def test_a_new_class_described_like_a_known_one_is_new(here, world, capsys):
    np.save("fit.npy", world.descriptors)
    assert run([*FIT, "--attrs", "fit.npy"]) == 0
    np.save("late.npy", world.descriptors[[3, 4]])
    capsys.readouterr()
    assert run([*INJECT, "late.npy", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["classes"]) == 2

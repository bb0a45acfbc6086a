"""Several descriptor files of the same classes: how they are matched, weighed and stored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import icis_cli as icis
from icis_cli import Descriptors
from icis_cli.descriptors.views import candidate_weights
from icis_cli.errors import AlignmentError, DescriptorError, InjectorError, UsageError
from tests.conftest import run
from tests.records import sha256

A = Descriptors(
    np.array([[1, 2], [3, 4], [5, 6]], np.float32),
    ("cat", "wolf", "red fox"),
    Path("a.csv"),
    ("x", "y"),
    ("a is odd",),
)
B = Descriptors(
    np.array([[30, 31, 32], [10, 11, 12], [20, 21, 22]], np.float32),
    ("Red_Fox", "cat", "wolf"),
    Path("b.csv"),
    ("p", "q", "r"),
    ("b is odd",),
)
SIDE_BY_SIDE = [[1, 2, 10, 11, 12], [3, 4, 20, 21, 22], [5, 6, 30, 31, 32]]
FIT = ["fit", "--weights", "model.pt", "--method", "nearest"]


def unit_rows(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_classes_are_matched_by_name_in_the_order_of_the_first_file():
    joined = icis.join_views([A, B])
    np.testing.assert_array_equal(joined.values, SIDE_BY_SIDE)
    assert joined.values.dtype == np.float32
    assert (joined.names, joined.path) == (A.names, A.path)
    assert joined.columns == ("x", "y", "p", "q", "r")
    assert joined.warnings == ("a is odd", "b is odd")
    assert joined.views == (*A.views, *B.views)
    assert [(view.path, view.width, view.columns) for view in joined.views] == [
        (A.path, 2, A.columns), (B.path, 3, B.columns),
    ]  # fmt: skip
    assert [view.name for view in joined.views] == ["a.csv", "b.csv"]
    (note,) = joined.notes
    assert note == (
        "b.csv: 1 names were matched though not spelt alike: 'red fox' = 'Red_Fox'"
    )  # fmt: skip


def test_one_view_is_the_file_itself():
    assert icis.join_views([A]) is A
    for table, width in ((A, 2), (replace(A, values=B.values, columns=None), 3)):
        (view,) = table.views
        assert (view.path, view.width, view.columns) == (A.path, width, table.columns)
    with pytest.raises(ValueError, match="no table"):
        icis.join_views([])


@pytest.mark.parametrize("nameless", ["first", "second", "both"])
def test_a_file_without_names_is_matched_by_position(nameless):
    first = replace(A, names=None) if nameless != "second" else A
    second = replace(B, names=None, columns=None) if nameless != "first" else B
    joined = icis.join_views([first, second])
    np.testing.assert_array_equal(joined.values, np.concatenate([A.values, B.values], axis=1))
    assert joined.names == {"first": B.names, "second": A.names, "both": None}[nameless]
    assert (joined.columns is None) == (nameless != "first")
    assert "a.csv and b.csv are matched by position" in joined.notes[0]
    more = Descriptors(B.values[::-1], ("wolf", "cat", "red fox"), Path("c.csv"))
    if nameless == "first":  # what the second file calls the classes holds for the third, too
        third = icis.join_views([first, second, more]).values[:, 5:]
        np.testing.assert_array_equal(third, B.values)
    cut = None if second.names is None else second.names[:2]
    short = replace(second, values=B.values[:2], names=cut)
    with pytest.raises(AlignmentError, match=r"b\.csv describes 2 classes, but a\.csv describes 3"):
        icis.join_views([first, short])


def test_a_class_that_a_view_lacks_is_an_error_and_one_more_is_left_out():
    lacking = replace(B, values=B.values[1:], names=("cat", "wolf"))
    with pytest.raises(AlignmentError, match=r"1 of 3 class names are not in b.csv, first 'red f"):
        icis.join_views([A, lacking])
    more = replace(B, values=np.repeat(B.values, 2, axis=0), names=(*"uv", "cat", *"wxy"))
    with pytest.raises(AlignmentError, match="2 of 3 class names"):
        icis.join_views([A, more])
    names = ("elk", "cat", "gnu", "wolf", "red fox", "eel")
    joined = icis.join_views([A, replace(more, names=names)])
    np.testing.assert_array_equal(joined.values[:, 2:], more.values[[1, 3, 4]])
    assert joined.notes == (
        "b.csv: 3 classes that a.csv lacks are left out: 'elk', 'gnu', 'eel'",
    )  # fmt: skip


def test_one_view_enters_as_it_is():
    values = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    assert icis.ViewSpace.equal((7,)).enter(values) is values


@pytest.mark.parametrize("weights", candidate_weights(2))
def test_dot_products_are_weighted_means_of_the_cosines(weights):
    generator = np.random.default_rng(1)
    values = generator.standard_normal((9, 8)).astype(np.float32)
    values[:, 3:] *= 1e4
    entered = icis.ViewSpace((3, 5), weights).enter(values)
    first, second = unit_rows(values[:, :3]), unit_rows(values[:, 3:])
    expected = weights[0] * first @ first.T + weights[1] * second @ second.T
    np.testing.assert_allclose(entered @ entered.T, expected, atol=1e-6)
    assert entered.shape == values.shape
    assert entered.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(entered, axis=1), 1, atol=1e-6)


def test_a_block_of_zeros_stays_zero():
    values = np.array([[0, 0, 3, 4], [1, 0, 0, 0]], np.float32)
    entered = icis.ViewSpace((2, 2), (0.36, 0.64)).enter(values)
    np.testing.assert_allclose(entered, [[0, 0, 0.48, 0.64], [0.6, 0, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("widths", "weights"),
    [
        ((), ()),
        ((0, 2), (0.5, 0.5)),
        ((2, 2), (1.0,)),
        ((2, 2), (0.5, 0.6)),
        ((2, 2), (1.5, -0.5)),
        ((2, 2), (float("nan"), 1.0)),
    ],
)
def test_spaces_that_are_refused(widths, weights):
    with pytest.raises(ValueError, match="view"):
        icis.ViewSpace(widths, weights)


def test_a_space_survives_json_and_takes_its_columns_only():
    space = icis.ViewSpace.equal((2, 3, 4))
    assert icis.ViewSpace.restore(json.loads(json.dumps(space.settings()))) == space
    assert icis.ViewSpace.of(icis.join_views([A, B]).views, (0.25, 0.75)).widths == (2, 3)
    with pytest.raises(ValueError, match="8 columns, expected 9"):
        space.enter(np.ones((1, 8), np.float32))


def test_candidate_weights_are_a_small_simplex_that_starts_with_equal_weights():
    assert candidate_weights(1) == ((1.0,),)
    assert candidate_weights(2) == (
        (0.5, 0.5), (1.0, 0.0), (0.75, 0.25), (0.25, 0.75), (0.0, 1.0)
    )  # fmt: skip
    assert candidate_weights(3) == (
        (1 / 3,) * 3, (1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)
    )  # fmt: skip
    for count in range(1, 8):
        found = candidate_weights(count)
        assert len(set(found)) == len(found)
        assert found[0] == (1 / count,) * count
        for weights in found:
            icis.ViewSpace((2,) * count, weights)  # takes them
    with pytest.raises(ValueError, match="0 views"):
        candidate_weights(0)


def test_views_are_checked_and_doubted_one_by_one(world):
    rows = world.rows[:40]
    first = Descriptors(world.descriptors, None, Path("a.npy"))
    shifted = Descriptors(1e-3 * np.roll(world.descriptors, 1, axis=0), None, Path("b.npy"))
    (warning,) = icis.align(rows, icis.join_views([first, shifted])).warnings
    assert warning.startswith("b.npy: the classes may be in the wrong order")

    def table(name, width, columns=None, part=slice(0, 40)):
        return Descriptors(world.descriptors[part, :width], None, Path(name), columns)

    seen = icis.join_views([table("a.csv", 5, tuple("abcde")), table("b.csv", 3)])
    rest = slice(40, 46)
    for views, message in (
        ([table("c.csv", 5, None, rest)], r"c\.csv have 1 view\(s\), those of a\.csv 2"),
        (
            [table("c.csv", 3, None, rest), table("d.csv", 5, None, rest)],
            r"c\.csv has 3 columns, but a\.csv has 5",
        ),
        (
            [table("c.csv", 5, None, rest), table("d.csv", 4, None, rest)],
            r"d\.csv has 4 columns, but b\.csv has 3",
        ),
        (
            [table("c.csv", 5, tuple("abcdx"), rest), table("d.csv", 3, None, rest)],
            r"c\.csv has 1 column\(s\) that a\.csv has not: 'x', and lacks 1: 'e'",
        ),
    ):
        with pytest.raises(AlignmentError, match=message):
            icis.align(rows, seen, icis.join_views(views))
    new = icis.join_views([table("c.csv", 5, None, rest), table("d.csv", 3, None, rest)])
    classes = icis.align(rows, seen, new)
    assert [path.name for path in classes.sources] == ["a.csv", "b.csv", "c.csv", "d.csv"]
    assert [(view.name, view.width) for view in classes.views] == [("a.csv", 5), ("b.csv", 3)]
    both = world.descriptors[:, [0, 1, 2, 3, 4, 0, 1, 2]]
    np.testing.assert_array_equal(classes.seen, both[:40])  # as they were read
    np.testing.assert_array_equal(classes.unseen, both[40:])
    assert classes.unseen_rows == tuple(range(40, 46))


@pytest.fixture
def here(folder, world, monkeypatch):
    """Beside ``attrs.csv``, the second view ``words.npz`` in another order with a class more."""
    monkeypatch.chdir(folder)
    words, order = second_view(world)
    names = np.array([*world.names, "aardvark"])
    np.savez("words.npz", descriptors=words[order], names=names[order])
    np.save("words.npy", words[:46])
    Path("names.txt").write_text("\n".join(world.names))
    return folder


def second_view(world):
    """(47, 5) values in the order of the world, and the order in which the file has them."""
    generator = np.random.default_rng(3)
    mix = generator.standard_normal((8, 5))
    words = np.concatenate([world.descriptors @ mix, np.full((1, 5), 2.0)]) * 50
    return words.astype(np.float32), generator.permutation(47)


BOTH = ["--attrs", "attrs.csv", "--attrs", "words.npz"]


def injected(name):
    return torch.load(name, weights_only=True)["fc.weight"][40:].numpy()


def test_fit_and_inject_with_two_views(here, world, capsys):
    assert run([*FIT, *BOTH, "--cv", "0"]) == 0  # equal weights
    said = " ".join(capsys.readouterr().err.split())
    assert "descriptors attrs.csv: d = 8 words.npz: d = 5 aligned" in said
    assert "words.npz: 1 classes that attrs.csv lacks are left out: 'aardvark'" in said
    assert "warning" not in said
    injector = icis.Injector.load("injector.safetensors")
    assert injector.views == icis.ViewSpace((8, 5), (0.5, 0.5))
    table = icis.read_views(["attrs.csv", "words.npz"])
    np.testing.assert_array_equal(table.values[:, 8:], second_view(world)[0][:46])
    np.testing.assert_array_equal(injector.seen_descriptors, table.values[:40])  # as read
    digests = tuple((name, sha256(Path(name))) for name in ("attrs.csv", "words.npz"))
    assert injector.descriptors == digests
    entered = [
        np.hstack([unit_rows(table.values[:, :8]), unit_rows(table.values[:, 8:])])[part]
        for part in (slice(0, 40), slice(40, 46))
    ]
    nearest = (entered[1] @ entered[0].T).argmax(axis=1)
    none = ["--calibration", "none"]
    assert run(["inject", "--out", "one.pt", *none]) == 0
    np.testing.assert_array_equal(injected("one.pt"), world.rows[nearest, :-1])
    assert run(["inject", *BOTH, "--out", "two.pt", *none]) == 0
    np.testing.assert_array_equal(injected("one.pt"), injected("two.pt"))
    first, second = (
        json.loads(Path(f"{name}.pt.icis.json").read_text()) for name in ("one", "two")
    )
    assert first == second
    assert first["seen_descriptors"] == [list(pair) for pair in digests]
    known = icis.known_head(icis.open_checkpoint("two.pt"))
    assert known.descriptor_rows == tuple(range(46))  # rows of the first file


def test_new_classes_in_files_of_their_own_and_more_of_them_later(here, world, capsys):
    words = second_view(world)[0]
    for name, part in (("seen", slice(0, 40)), ("new", slice(40, 46)), ("late", slice(43, 46))):
        np.savez(f"{name}.npz", descriptors=world.descriptors[part], names=world.names[part])
        np.save(f"{name}.npy", words[:46][part])
    parts = ["--attrs", "seen.npz", "--attrs", "seen.npy"]
    parts += ["--unseen-attrs", "new.npz", "--unseen-attrs", "new.npy"]
    assert run([*FIT, *parts, "--out", "parts.safetensors", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["descriptors"] == {
        "files": ["seen.npz", "seen.npy", "new.npz", "new.npy"],
        "width": 13,
        "views": [
            {"files": ["seen.npz", "new.npz"], "width": 8},
            {"files": ["seen.npy", "new.npy"], "width": 5},
        ],
    }
    whole = ["--attrs", "attrs.csv", "--attrs", "words.npy", "--out", "whole.safetensors"]
    assert run([*FIT, *whole]) == 0
    one, other = (icis.Injector.load(f"{name}.safetensors") for name in ("parts", "whole"))
    np.testing.assert_allclose(one.unseen_descriptors, other.unseen_descriptors, atol=1e-6)
    assert (one.unseen_names, one.unseen_rows) == (other.unseen_names, other.unseen_rows)
    inject = ["inject", "--injector", "parts.safetensors"]
    assert run([*inject, "--out", "all.pt"]) == 0
    assert run([*inject, "--attrs", "late.npz", "--attrs", "late.npy", "--out", "late.pt"]) == 0
    np.testing.assert_allclose(injected("late.pt"), injected("all.pt")[3:], rtol=1e-5)
    record = json.loads(Path("late.pt.icis.json").read_text())
    (part,) = record["rounds"]
    assert [name for name, _ in part["descriptors"]] == ["late.npz", "late.npy"]
    assert icis.known_head(icis.open_checkpoint("late.pt")).descriptor_rows is None


def test_classes_names_every_file_that_has_no_names(here, world):
    np.save("plain.npy", world.descriptors)
    table = icis.read_views(["plain.npy", "words.npz", "words.npy"], "names.txt")
    assert table.names == world.names
    np.testing.assert_array_equal(table.values[:, 8:13], table.values[:, 13:])
    assert not any("position" in note for note in table.notes)
    assert icis.read_views(["attrs.csv"], "names.txt").names == world.names
    with pytest.raises(DescriptorError, match=r"names\.txt: names the classes of words\.npz other"):
        icis.read_views(["attrs.csv", "words.npz"], "names.txt")
    with pytest.raises(UsageError, match="given twice"):
        icis.read_views(["words.npy", here / "words.npy"])


def test_weights_of_views_are_stored_and_used(here, world):
    checkpoint = icis.open_checkpoint("model.pt")
    head = icis.find_head(checkpoint)
    table = icis.read_views(["attrs.csv", "words.npz"])
    classes = icis.align(head.rows, table)
    space = icis.ViewSpace((8, 5), (0.25, 0.75))
    injector = icis.fit(checkpoint, head, classes, icis.Nearest(), views=space)
    injector.save("i.safetensors")
    loaded = icis.Injector.load("i.safetensors")
    assert loaded.views == space
    only = icis.fit(
        checkpoint, head, classes, icis.Nearest(), views=replace(space, weights=(0.0, 1.0))
    )
    alone = icis.align(head.rows, icis.read_views(["words.npy"]))
    single = icis.fit(checkpoint, head, alone, icis.Nearest())
    np.testing.assert_array_equal(
        only.predict(classes.unseen), single.predict(table.values[40:, 8:])
    )
    for found in (injector, loaded):
        pairs = space.enter(classes.unseen) @ space.enter(classes.seen).T
        np.testing.assert_array_equal(
            found.predict(classes.unseen), head.rows[pairs.argmax(axis=1)]
        )
    with pytest.raises(ValueError, match=r"views of widths \(5, 8\)"):
        icis.fit(checkpoint, head, classes, icis.Nearest(), views=icis.ViewSpace.equal((5, 8)))


def rewritten(path: str, views: object) -> None:
    """Save an injector again with other views in its record; ``None`` takes the entry out."""
    with safe_open(path, framework="np") as content:
        record = json.loads(content.metadata()["icis"])
    record["views"] = views
    text = json.dumps({key: value for key, value in record.items() if value is not None})
    save_file(load_file(path), path, {"icis": text})


def test_injectors_from_before_there_were_views(here, world):
    assert run([*FIT, "--attrs", "attrs.csv"]) == 0
    before = icis.Injector.load("injector.safetensors")
    assert before.views == icis.ViewSpace((8,), (1.0,))
    rewritten("injector.safetensors", None)
    old = icis.Injector.load("injector.safetensors")
    assert old.views == before.views
    values = world.descriptors
    assert old.predict(values).tobytes() == before.predict(values).tobytes()
    damaged: tuple[object, ...] = (
        {}, [], "x", {"widths": [8]}, {"widths": [7], "weights": [1]},
        {"widths": [4, 4], "weights": [1, 1]}, {"widths": ["x"], "weights": [1]},
        {"widths": [1e999], "weights": [1]},
    )  # fmt: skip
    for wrong in damaged:
        rewritten("injector.safetensors", wrong)
        with pytest.raises(InjectorError, match="is damaged or no injector"):
            icis.Injector.load("injector.safetensors")


BAD_FIT = {
    "the same file": ("--attrs attrs.csv --attrs ./attrs.csv", 2, "attrs.csv is given twice"),
    "seen as new": ("--attrs attrs.csv --unseen-attrs attrs.csv", 2, "attrs.csv is given twice"),
    "fewer new": (
        "--attrs attrs.csv --attrs words.npz --unseen-attrs x.csv", 2,
        "--attrs is given 2 time(s), --unseen-attrs 1",
    ),
    "more new": (
        "--attrs attrs.csv --unseen-attrs x.csv --unseen-attrs y.csv", 2,
        "--attrs is given 1 time(s), --unseen-attrs 2",
    ),
    "absent": ("--attrs attrs.csv --attrs no.npy", 1, "no.npy: no such file"),
    "other classes": (
        "--attrs words.npz --attrs attrs.csv", 1,
        "1 of 47 class names are not in attrs.csv, first 'aardvark'",
    ),
    "other count": (
        "--attrs attrs.csv --attrs short.npy", 1, "short.npy describes 45 classes, but attrs.csv",
    ),
    "names of other count": (
        "--attrs attrs.csv --attrs short.npy --classes names.txt", 1,
        "names.txt: 46 class names for 45 descriptor rows of short.npy",
    ),
}  # fmt: skip
BAD_INJECT = {
    "one view of two": (
        "--attrs attrs.csv", 2,
        "fit had 2 descriptor file(s) for the same classes (attrs.csv, words.npz), found 1",
    ),
    "three": ("--attrs attrs.csv --attrs words.npy --attrs words.npz", 2, "found 3"),
    "other order": (
        "--attrs words46.npz/words.npz --attrs attrs.csv", 2,
        "in the order words.npz, attrs.csv, but fit had attrs.csv, words.npz",
    ),
    "the same file": ("--attrs attrs.csv --attrs attrs.csv", 2, "attrs.csv is given twice"),
    "other columns": (
        "--attrs attrs.csv --attrs wide.npy", 1,
        "wide.npy: has 6 columns, but the injector was fitted on 5",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "options", "code", "words"),
    [
        *(pytest.param("fit", *row, id=f"fit: {name}") for name, row in BAD_FIT.items()),
        *(pytest.param("inject", *row, id=f"inject: {name}") for name, row in BAD_INJECT.items()),
    ],
)
def test_views_that_are_refused(here, world, capsys, command, options, code, words):
    assert run([*FIT, *BOTH]) == 0
    np.save("short.npy", world.descriptors[:45])
    np.save("wide.npy", np.random.default_rng(0).standard_normal((46, 6)))
    Path("words46.npz").mkdir()
    np.savez("words46.npz/words.npz", x=np.load("words.npy"), names=np.array(world.names))
    capsys.readouterr()
    start = [*FIT, "--out", "new.safetensors"] if command == "fit" else ["inject", "--out", "n.pt"]
    assert run([*start, *options.split()]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert said.err.count("\n") == 1
    assert not Path("new.safetensors").exists()
    assert not Path("n.pt").exists()


def test_the_comparison_with_true_rows_takes_views_too(here, world, capsys):
    whole = replace(world, seen=46).state()
    torch.save(whole, "whole.pt")
    assert run([*FIT, *BOTH]) == 0
    assert run(["inject", "--out", "new.pt", "--calibration", "none"]) == 0
    capsys.readouterr()
    evaluate = ["eval", "--weights", "new.pt", "--reference", "whole.pt", "--json"]
    evaluate += ["--reference-classes", "names.txt", "--injector", "injector.safetensors"]
    assert run(evaluate) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == pytest.approx(found["controls"]["control: nearest"], abs=1e-6)

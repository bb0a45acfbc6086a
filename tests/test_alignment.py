"""Which descriptor belongs to which row of the head: names, lists, positions, plausibility."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import icis_cli as icis
from icis_cli import Descriptors
from icis_cli.descriptors.names import match_names, simplified
from icis_cli.descriptors.plausibility import agreement, agreement_warning
from icis_cli.descriptors.slips import looks_like_table, slips
from icis_cli.errors import AlignmentError
from tests.conftest import run

ATTRS = Path("attrs.csv")


@pytest.fixture
def table(world) -> Descriptors:
    return Descriptors(world.descriptors, world.names, ATTRS)


@pytest.fixture
def head_rows(world) -> np.ndarray:
    return world.rows[: world.seen]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Red_Fox", "red fox"),
        ("grizzly+bear", "Grizzly-Bear"),
        ("001.Black_footed_Albatross", "black footed albatross"),
        ("12) owl", "owl"),
        ("3 - hen", "hen"),
        ("  a   b ", "a-_b"),
        ("STRASSE", "straße"),
        ("caf\u00e9", "cafe\u0301"),
        ("Grevy\u2019s zebra", "grevy's zebra"),
        ("003-hen", "hen"),
        ("01_hen", "hen"),
    ],
)
def test_spellings_of_one_name(one, other):
    assert simplified(one) == simplified(other)
    match = match_names([one], [other, "something else"], "there")
    assert match.rows == (0,)
    assert match.inexact == ((one, other),)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("fox", "foxes"),
        ("n02084071", "n02121808"),
        ("747", "737"),
        ("a.b", "ab"),
        ("9-spined", "3-spined"),
        ("14-spot ladybird", "22-spot ladybird"),
    ],
)
def test_other_names_do_not_match(one, other):
    with pytest.raises(AlignmentError, match=r"1 of 1 class names are not in there, first"):
        match_names([one], [other], "there")


def test_an_exact_name_wins_over_another_spelling():
    match = match_names(["red fox", "Red_Fox"], ["Red_Fox", "red fox"], "there")
    assert match.rows == (1, 0)
    assert match.inexact == ()


@pytest.mark.parametrize(
    ("wanted", "available", "message"),
    [
        (["RED FOX"], ["red fox", "red_fox"], "matches several names in there: 'red fox', 'red_f"),
        (
            ["red-fox", "Red_Fox"],
            ["red fox", "cat"],
            "'red-fox' and 'Red_Fox' both match 'red fox'",
        ),
        (["red fix", "owl"], ["red fox"], r"2 of 2 .*'red fix' \(did you mean 'red fox'\?\)"),
        (["zzz"], ["red fox", "owl"], "names there are like 'red fox', 'owl'$"),
    ],
)
def test_names_that_match_nothing_or_twice_are_refused(wanted, available, message):
    with pytest.raises(AlignmentError, match=message):
        match_names(wanted, available, "there")


def test_by_position_the_first_rows_are_the_heads(head_rows, table, world):
    found = icis.align(head_rows, table)
    assert found.how == "by position"
    assert found.seen_rows == tuple(range(40))
    assert found.unseen_names == world.names[40:]
    assert found.seen.tolist() == world.descriptors[:40].tolist()
    assert found.unseen.tolist() == world.descriptors[40:].tolist()
    assert "the first 40 descriptors" in found.notes[0]
    assert "--seen" in found.notes[0]
    assert found.warnings == ()


def test_by_name_the_order_of_the_file_does_not_matter(head_rows, table, world):
    order = np.random.default_rng(0).permutation(46)
    shuffled = Descriptors(
        world.descriptors[order], tuple(world.names[row] for row in order), ATTRS
    )
    found = icis.align(head_rows, shuffled, head_names=world.names[:40])
    assert found.how == "by name"
    assert found.seen.tolist() == world.descriptors[:40].tolist()
    assert [order[row] for row in found.seen_rows] == list(range(40))
    assert [order[row] for row in found.unseen_rows] == [row for row in order if row >= 40]
    assert set(found.unseen_names) == set(world.names[40:])
    assert found.notes == ()


def test_names_spelt_otherwise_are_matched_and_told(head_rows, table, world):
    spelt = [f"{row:03}.{name.upper().replace(' ', '_')}" for row, name in enumerate(world.names)]
    found = icis.align(head_rows, table, head_names=spelt[:40])
    assert found.seen_rows == tuple(range(40))
    assert found.seen_names == tuple(spelt[:40])  # the checkpoint's own names stay
    (note,) = found.notes
    assert note.startswith(
        "40 names were matched though not spelt alike: '000.KIND_A0' = 'kind a0'"
    )
    assert note.count(" = ") == 40


def test_seen_as_names_and_as_numbers_are_the_same(head_rows, table, world):
    order = np.random.default_rng(1).permutation(46)
    shuffled = Descriptors(
        world.descriptors[order], tuple(world.names[row] for row in order), ATTRS
    )
    rows = [int(np.flatnonzero(order == row)[0]) for row in range(40)]
    by_name = icis.align(head_rows, shuffled, seen=world.names[:40])
    by_number = icis.align(head_rows, shuffled, seen=[str(row) for row in rows])
    assert by_name.seen_rows == by_number.seen_rows == tuple(rows)
    assert by_name.unseen_names == by_number.unseen_names
    assert by_name.how == "by --seen"
    assert by_name.seen.tolist() == world.descriptors[:40].tolist()


def test_numbers_that_are_class_names_are_names():
    generator = np.random.default_rng(0)
    table = Descriptors(
        generator.standard_normal((4, 3)).astype(np.float32), ("3", "2", "1", "0"), ATTRS
    )
    found = icis.align(np.eye(2, 5, dtype=np.float32), table, seen=["3", "2"])
    assert found.seen_rows == (0, 1)


def test_the_classes_to_add_can_be_chosen(head_rows, table, world):
    chosen = [world.names[44], world.names[41].upper()]
    found = icis.align(head_rows, table, unseen=chosen)
    assert found.unseen_names == (world.names[44], world.names[41])
    assert any(repr(chosen[1]) in note for note in found.notes)
    assert icis.align(head_rows, table, unseen=["44", "41"]).unseen_rows == (44, 41)


def test_new_classes_in_a_file_of_their_own_count_on(head_rows, world):
    seen = Descriptors(world.descriptors[:40], world.names[:40], Path("seen.csv"))
    new = Descriptors(world.descriptors[40:], world.names[40:], Path("new.csv"))
    found = icis.align(head_rows, seen, new)
    whole = icis.align(head_rows, Descriptors(world.descriptors, world.names, ATTRS))
    assert found.seen_rows + found.unseen_rows == tuple(range(46))
    assert found.unseen.tolist() == whole.unseen.tolist()
    assert found.unseen_names == whole.unseen_names
    assert found.sources == (Path("seen.csv"), Path("new.csv"))
    spare = Descriptors(world.descriptors[:43], world.names[:43], Path("seen.csv"))
    last = Descriptors(world.descriptors[43:], world.names[43:], Path("new.csv"))
    assert icis.align(head_rows, spare, last).unseen_rows == (43, 44, 45)  # not 40 to 42
    unnamed = icis.align(head_rows, seen, replace(new, names=None))
    assert unnamed.unseen_names == tuple(f"class_{row}" for row in range(40, 46))
    assert unnamed.seen_names == world.names[:40]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.ones((2, 7), np.float32)}, r"new\.csv has 7 columns, but seen\.csv has 8"),
        ({"names": ("kind a0", "b")}, r"'kind a0' is in both seen\.csv and new\.csv"),
        ({"columns": tuple("abcdefgi")}, r"new\.csv has 1 column\(s\) that seen\.csv has not: 'i'"),
        ({"columns": tuple("hbcdefgh")}, r"new\.csv lacks 1 column\(s\) that seen\.csv has: 'a'"),
    ],
)
def test_two_files_that_do_not_fit_are_refused(head_rows, world, change, message):
    seen = Descriptors(
        world.descriptors[:40], world.names[:40], Path("seen.csv"), tuple("abcdefgh")
    )
    new = Descriptors(world.descriptors[40:42], ("x", "y"), Path("new.csv"))
    with pytest.raises(AlignmentError, match=message):
        icis.align(head_rows, seen, replace(new, **change))


@pytest.mark.parametrize(
    ("seen", "unseen", "message"),
    [
        (["0", "1"], None, "--seen lists 2 classes, but the head has 40 rows"),
        ([*map(str, range(39)), "46"], None, "no descriptor row 46, only 0 to 45"),
        ([*map(str, range(39)), "07"], None, "--seen lists descriptor row 7 twice"),
        (None, ["kind a20", "kind a20"], "--unseen lists 'kind a20' twice"),
        (None, ["kind a20", "44"], "1 of 2 class names are not in"),
        (None, ["kind a0"], "kind a0 is both a class of the head and a new class"),
        (None, [], "--unseen lists no class"),
    ],
)
def test_lists_that_do_not_fit_are_refused(head_rows, table, seen, unseen, message):
    with pytest.raises(AlignmentError, match=message):
        icis.align(head_rows, table, seen=seen, unseen=unseen)


def test_too_few_descriptors_and_heads_too_small_are_refused(head_rows, table, world):
    few = Descriptors(world.descriptors[:39], None, ATTRS)
    with pytest.raises(AlignmentError, match="describes 39 classes, but the head has 40 rows"):
        icis.align(head_rows, few)
    with pytest.raises(AlignmentError, match="no class is new"):
        icis.align(head_rows, Descriptors(world.descriptors[:40], None, ATTRS))
    with pytest.raises(AlignmentError, match="the head has 1 row, expected at least 2"):
        icis.align(head_rows[:1], table)
    with pytest.raises(AlignmentError, match=r"lists names \(first 'x'\), but attrs\.csv has no"):
        icis.align(head_rows, Descriptors(world.descriptors, None, ATTRS), unseen=["x"])


def test_a_wrong_order_is_warned_about_and_a_right_one_is_not(head_rows, table, world):
    assert icis.align(head_rows, table).warnings == ()
    shift = [*range(1, 46), 0]
    (warning,) = icis.align(head_rows, Descriptors(world.descriptors[shift], None, ATTRS)).warnings
    assert "similar descriptors do not go with similar rows" in warning
    assert "wrong order" in warning
    score = re.search(r"\(fit of the order: (-?\d\.\d); good: above 3, random: 0\)$", warning)
    assert score is not None
    assert float(score[1]) < 3


@pytest.mark.parametrize("seed", range(5))
def test_agreement_tells_right_orders_from_wrong_ones(seed):
    generator = np.random.default_rng(seed)
    descriptors = generator.standard_normal((60, 10)).astype(np.float32)
    mix = generator.standard_normal((10, 30)).astype(np.float32)
    noise = generator.standard_normal((60, 30)).astype(np.float32)
    rows = descriptors @ mix + 0.5 * noise
    assert agreement(descriptors, rows) > 10
    assert agreement(descriptors + 5, 7 * rows + 2) > 10  # offset and scale say nothing
    assert abs(agreement(descriptors[generator.permutation(60)], rows)) < 5
    assert agreement_warning(descriptors, rows) is None


def test_agreement_says_nothing_about_few_or_equal_classes():
    generator = np.random.default_rng(0)
    few = generator.standard_normal((11, 4)).astype(np.float32)
    assert agreement(few, few[::-1].copy()) == np.inf
    equal = np.ones((20, 4), np.float32)
    assert agreement_warning(equal, few[:, :3].repeat(2, axis=0)[:20]) is None


def test_fit_shows_three_pairs_and_what_was_understood(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    command = ["fit", "--weights", "model.pt", "--attrs", "attrs.csv", "--dry-run"]
    assert run(command) == 0
    said = " ".join(capsys.readouterr().err.split())
    for part in (
        "head row 0 = descriptor row 0: kind a0",
        "head row 20 = descriptor row 20: kind a10",
        "head row 39 = descriptor row 39: kind b19",
        "fc: K = 40 classes, D = 24 inputs, with bias",
        "attrs.csv: d = 8",
        "by position",
        "new 6 classes: kind a20, kind b20, kind a21, kind b21, kind a22, kind b22",
    ):
        assert part in said


def test_a_checkpoint_that_knows_its_classes_is_matched_by_name(folder, world, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    order = [*range(20, 40), *range(20)]
    state = world.state()
    for key in ("fc.weight", "fc.bias"):
        state[key] = state[key][order].clone()
    names = [world.names[row].title().replace(" ", "_") for row in order]
    torch.save({"state_dict": state, "class_names": names}, folder / "named.pt")
    command = ["fit", "--weights", "named.pt", "--attrs", "attrs.csv", "--dry-run"]
    assert run(command) == 0
    said = capsys.readouterr().err
    assert "head row 0 = descriptor row 20: Kind_A10" in said
    assert "by name" in said
    assert "note: 40 names were matched though not spelt alike: 'Kind_A10' = 'kind a10'" in said
    assert ", ... (all: --json)\n" in said
    assert "warning" not in said
    assert run([*command, "--json"]) == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert note.count(" = ") == 40


def test_examples_of_a_small_head_are_not_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    np.save("attrs.npy", generator.standard_normal((3, 3)))
    torch.save({"fc.weight": torch.randn(2, 4)}, "model.pt")
    assert run(["fit", "--weights", "model.pt", "--attrs", "attrs.npy", "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert re.findall(r"head row \d+ = descriptor row \d+: \w+", said) == [
        "head row 0 = descriptor row 0: class_0",
        "head row 1 = descriptor row 1: class_1",
    ]


def test_names_that_are_not_there_may_be_listed(world, head_rows, table):
    with pytest.raises(AlignmentError, match="1 of 40 class names are not in") as caught:
        icis.align(head_rows, table, head_names=("unicorn", *world.names[1:40]))
    assert caught.value.hint.endswith("; or list the head's classes with --seen")


def yes_and_no(count: int = 30) -> Descriptors:
    """Make a table of 0 and 1 as people type it, with a share here and there."""
    values = np.random.default_rng(3).integers(0, 2, (count, 5)).astype(np.float32)
    values[4, 1], values[7, 1] = 0.5, 0.25
    names = tuple(f"kind {row}" for row in range(count))
    return Descriptors(values, names, ATTRS, tuple("abcde"))


def changed(table: Descriptors, cells: dict[tuple[int, int], float]) -> Descriptors:
    values = table.values.copy()
    for place, value in cells.items():
        values[place] = value
    return replace(table, values=values)


def test_a_number_that_is_alone_in_its_column_is_asked_about():
    table = yes_and_no()
    assert slips(table) == []
    (warning,) = slips(changed(table, {(9, 2): 11}))
    assert warning == (
        "attrs.csv: kind 9 has 11 in column 'c', where all others have 0 to 1: is that a slip?"
    )
    (warning,) = slips(changed(table, {(9, 2): -1}))
    assert "kind 9 has -1 in column 'c'" in warning


def test_a_line_of_sums_is_asked_about_once():
    table = changed(yes_and_no(), {(29, column): 17 + column for column in range(5)})
    (warning,) = slips(table)
    assert "kind 29 has 17 in column 'a', and the like in 4 more" in warning
    assert warning.endswith("is it a class?")


def test_a_slip_in_a_file_of_new_classes_is_seen_by_the_others():
    known = yes_and_no()
    new = replace(known, values=known.values[:2] * 0 + 1, names=("x", "y"), path=Path("new.csv"))
    assert slips(known, new) == []
    (warning,) = slips(known, changed(new, {(1, 3): 10}))
    assert warning.startswith("new.csv: y has 10 in column 'd'")


@pytest.mark.parametrize(
    "table",
    [
        changed(yes_and_no(), {(9, 2): 11, (8, 2): 3}),  # a column of counts
        changed(yes_and_no(11), {(9, 2): 11}),  # too few to tell
        replace(changed(yes_and_no(), {(9, 2): 11}), columns=None),  # nobody typed it
        replace(yes_and_no(), values=np.linspace(0, 1.02, 150, dtype=np.float32).reshape(30, 5)),
    ],
)
def test_other_numbers_are_not_asked_about(table):
    assert slips(table) == []


def test_align_tells_of_slips(head_rows, world):
    plain = (world.descriptors > 0).astype(np.float32)
    plain[:, 0] = 1 - plain[:, 1]  # no line of zeros
    table = Descriptors(plain, world.names, ATTRS, tuple("abcdefgh"))
    assert not any("slip" in one for one in icis.align(head_rows, table).warnings)
    warnings = icis.align(head_rows, changed(table, {(45, 2): 11})).warnings
    assert [one for one in warnings if "has 11 in column 'c'" in one]


def test_a_list_with_commas_in_its_names_is_no_table():
    table = Descriptors(np.eye(2, dtype=np.float32), ("tench, Tinca tinca", "hen"), ATTRS)
    assert not looks_like_table(["tench, Tinca tinca", "hen"], table)
    assert not looks_like_table(["0", "1"], table)
    assert looks_like_table(["class;a", "hen;1"], table)


@pytest.mark.parametrize("count", [1, 20, 22])
def test_up_to_twenty_new_classes_are_named(folder, world, monkeypatch, capsys, count):
    monkeypatch.chdir(folder)
    names = [f"n{number}" for number in range(count)]
    generator = np.random.default_rng(0)
    values = np.concatenate([world.descriptors[:40], generator.standard_normal((count, 8))])
    np.savez("attrs.npz", descriptors=values, names=np.array([*world.names[:40], *names]))
    assert run(["fit", "--weights", "model.pt", "--attrs", "attrs.npz", "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    more = " and 2 more" if count == 22 else ""
    classes = "class" if count == 1 else "classes"
    assert f" new {count} {classes}: {', '.join(names[:20])}{more} method " in said

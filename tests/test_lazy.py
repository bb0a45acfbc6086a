"""A large catalogue is worked through in blocks, and comes out as if it had been done at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import icis_cli as icis
from icis_cli import DEFAULT, PAPER, Icis, Ridge, hold_out, lazy
from icis_cli.descriptors import numpy_files
from icis_cli.descriptors.base import checked
from icis_cli.errors import DescriptorError, TrainingError
from icis_cli.injection import injector_file
from icis_cli.injection.appending import appended
from icis_cli.injection.tuning import Tuned
from icis_cli.lazy import LazyMatrix, blocks, forget, kept_if_small, rows_at
from icis_cli.methods.base import SeenPairs, few_unseen
from icis_cli.methods.icis import RowNetwork, taking_part
from icis_cli.validation import fairness
from tests.synthetic import images_of

NEW = 9000  # more than two blocks, and no multiple of one

#: As by default, but trained for a moment.
QUICK = Icis(replace(DEFAULT, hidden=16, min_steps=20))


def numbered(count=NEW, width=3):
    values = np.arange(count * width, dtype=np.float32).reshape(count, width)
    return values, LazyMatrix(count, width, lambda rows: values[rows])


def test_blocks_are_all_rows_in_order_each_once():
    values, matrix = numbered()
    for one in (values, matrix):
        parts = list(blocks(one))
        assert [part.start for part, _ in parts] == [0, 4096, 8192]
        assert parts[-1][0].stop == NEW
        np.testing.assert_array_equal(np.concatenate([block for _, block in parts]), values)
    assert list(blocks(values[:0])) == []


def test_a_small_lazy_matrix_is_kept_and_a_large_one_is_not(monkeypatch):
    values, matrix = numbered()
    np.testing.assert_array_equal(kept_if_small(matrix), values)
    assert kept_if_small(LazyMatrix(0, 3, matrix.make)).shape == (0, 3)
    monkeypatch.setattr(lazy, "_KEPT", values.size - 1)
    assert kept_if_small(matrix) is matrix


@pytest.mark.parametrize("rows", [[], [4], [4, 5, 6], [6, 5, 4], [1, 3], [2, 2]])
def test_rows_are_taken_by_number_and_a_run_without_a_copy(rows):
    values, _ = numbered(9)
    taken = rows_at(values, rows)
    np.testing.assert_array_equal(taken, values[np.array(rows, dtype=int)])
    is_run = bool(rows) and rows == list(range(rows[0], rows[0] + len(rows)))
    assert np.shares_memory(taken, values) == is_run


def test_a_map_that_is_let_go_of_is_read_again_and_what_is_writable_keeps_its_values(tmp_path):
    values, _ = numbered()
    np.save(tmp_path / "a.npy", values)
    mapped = np.asarray(np.load(tmp_path / "a.npy", mmap_mode="r"))
    forget(mapped[10:20])
    np.testing.assert_array_equal(mapped, values)
    writable = np.load(tmp_path / "a.npy", mmap_mode="c")
    writable[0, 0] = 7
    forget(writable)
    assert writable[0, 0] == 7


@pytest.fixture
def catalogue(world, tmp_path):
    """A classifier, and descriptors of many new classes in a file."""
    save_file(world.state(), tmp_path / "model.safetensors")
    new = np.random.default_rng(3).standard_normal((NEW, 8)).astype(np.float32)
    np.save(tmp_path / "seen.npy", world.descriptors[: world.seen])
    np.save(tmp_path / "new.npy", new)
    return tmp_path


def injected(folder, method, name, calibration="auto", folds=None):
    checkpoint = icis.open_checkpoint(folder / "model.safetensors")
    head = icis.find_head(checkpoint)
    table = icis.read_descriptors(folder / "new.npy")
    classes = icis.align(head.rows, icis.read_descriptors(folder / "seen.npy"), table)
    injector = icis.fit(checkpoint, head, classes, method, folds=folds)
    (folder / name).mkdir()
    injector.save(folder / name / "injector.safetensors")
    loaded = icis.Injector.load(folder / name / "injector.safetensors")
    plan = icis.expand(checkpoint, loaded, calibration=calibration)
    plan.write(folder / name / "new.safetensors")
    return plan


@pytest.mark.parametrize(
    ("method", "calibration", "folds"),
    [(Ridge(), "auto", None), (QUICK, 2.5, 3), (Ridge(), "auto", 0)],
)
def test_files_are_byte_for_byte_those_of_rows_made_at_once(
    catalogue, monkeypatch, method, calibration, folds
):
    whole = injected(catalogue, method, "whole", calibration, folds)
    assert isinstance(whole.rows, np.ndarray)
    monkeypatch.setattr(lazy, "_KEPT", 1000)
    monkeypatch.setattr(injector_file, "_MAPPED", 1000)
    monkeypatch.setattr(numpy_files, "_MAPPED", 1000)
    parts = injected(catalogue, method, "parts", calibration, folds)
    assert isinstance(parts.rows, LazyMatrix)
    for name in ("injector.safetensors", "new.safetensors", "new.safetensors.icis.json"):
        assert (catalogue / "whole" / name).read_bytes() == (
            catalogue / "parts" / name
        ).read_bytes()
    assert (whole.certainty is None) == (parts.certainty is None)
    with safe_open(catalogue / "parts" / "new.safetensors", framework="np") as content:
        np.testing.assert_array_equal(content.get_tensor("fc.weight")[40:], whole.rows[:, :-1])
        np.testing.assert_array_equal(content.get_tensor("fc.bias")[40:], whole.rows[:, -1])


def test_a_row_that_is_not_finite_names_its_class_also_in_a_later_block(catalogue, monkeypatch):
    monkeypatch.setattr(lazy, "_KEPT", 1000)
    new = np.load(catalogue / "new.npy")
    plan_before = injected(catalogue, Ridge("linear", penalty=1.0), "good")
    assert len(plan_before.rows) == NEW
    checkpoint = icis.open_checkpoint(catalogue / "model.safetensors")
    loaded = icis.Injector.load(catalogue / "good" / "injector.safetensors")
    odd = new.copy()
    odd[8500] = np.nan  # no file can hold it, but an array from elsewhere can
    table = icis.Descriptors(odd, None, catalogue / "odd.npy")
    np.save(catalogue / "odd.npy", odd)
    with pytest.raises(TrainingError, match="class_8540"):
        icis.expand(checkpoint, loaded, table)


def test_a_value_beyond_the_dtype_of_the_head_leaves_no_file(world, tmp_path, monkeypatch):
    monkeypatch.setattr(lazy, "_KEPT", 1000)
    save_file(world.state(torch.float16), tmp_path / "model.safetensors")
    new = np.random.default_rng(3).standard_normal((NEW, 8)).astype(np.float32)
    np.save(tmp_path / "seen.npy", world.descriptors[: world.seen])
    np.save(tmp_path / "new.npy", new)
    checkpoint = icis.open_checkpoint(tmp_path / "model.safetensors")
    head = icis.find_head(checkpoint)
    classes = icis.align(
        head.rows,
        icis.read_descriptors(tmp_path / "seen.npy"),
        icis.read_descriptors(tmp_path / "new.npy"),
    )
    injector = icis.fit(checkpoint, head, classes, Ridge())
    large = LazyMatrix(NEW, 25, lambda rows: np.full((NEW, 25), 1e6, np.float32)[rows])
    plan = icis.expand(checkpoint, injector)
    edits = appended(checkpoint, head, Tuned(large, None, plan.calibration, None))
    with pytest.raises(TrainingError, match="too large for F16"):
        replace(plan, edits=edits).write(tmp_path / "out.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "model.safetensors",
        "new.npy",
        "seen.npy",
    ]


def test_contests_in_blocks_are_the_whole_contest(world, monkeypatch):
    pairs = SeenPairs(world.descriptors[:40], world.rows[:40], world.descriptors[40:])
    images, held = images_of(pairs.rows, 24), hold_out(Ridge(), pairs, 4)
    arena = fairness.Arena(
        images.labels,
        held,
        images.on(pairs.rows),
        images.on(world.rows[40:]),
        images.on(held.rows),
    )
    whole, share = arena.contest(10), arena.right_without_noise([10, 20])
    monkeypatch.setattr(fairness, "_LOGITS", 1)
    assert arena.right_without_noise([10, 20]) == share
    offsets = np.linspace(-20, 20, 200)
    np.testing.assert_allclose(
        arena.contest(10).accuracies(offsets), whole.accuracies(offsets), atol=1e-3
    )


def test_large_files_are_checked_as_small_ones_are(tmp_path, monkeypatch):
    monkeypatch.setattr(numpy_files, "_MAPPED", 1000)
    values = np.random.default_rng(0).standard_normal((NEW, 4)).astype(np.float32)
    values[:, 2] = 1
    values[8999] = values[17]
    values[4100] = values[17]
    values[5000] = values[4999]
    np.save(tmp_path / "d.npy", values)
    found = icis.read_descriptors(tmp_path / "d.npy")
    assert found.warnings == checked(tmp_path / "d.npy", values).warnings
    assert "1 of 4 columns are constant and tell no classes apart: 2" in found.warnings[0]
    assert found.notes[0].endswith("row 17 = row 4100 = row 8999; row 4999 = row 5000")
    for row, value, message in (
        (8200, np.nan, "row 8200, column 1: NaN or infinite, expected finite"),
        (8200, np.float32(3e38), r"does not fit into float32: row 8200"),
    ):
        odd = values.copy()
        odd[row, 1] = value
        np.save(tmp_path / "d.npy", odd)
        with pytest.raises(DescriptorError, match=message):
            icis.read_descriptors(tmp_path / "d.npy")
    values[[3, 8200]] = 0
    np.save(tmp_path / "d.npy", values)
    with pytest.raises(DescriptorError, match=r"2 descriptor row.s. are all zero: row 3, row 8200"):
        icis.read_descriptors(tmp_path / "d.npy")
    np.save(tmp_path / "d.npy", np.ones((NEW, 4), np.float32))
    with pytest.raises(DescriptorError, match="all 9000 descriptors are equal"):
        icis.read_descriptors(tmp_path / "d.npy")


def test_of_very_many_new_classes_a_sample_takes_part_in_training():
    generator = np.random.default_rng(0)
    descriptors = generator.standard_normal((5000, 6)).astype(np.float32)
    pairs = SeenPairs(descriptors[:1200], descriptors[:1200], descriptors)
    few = few_unseen(pairs)
    assert few.unseen.shape == (1200, 6)
    assert len(np.unique(few.unseen, axis=0)) == 1200
    small = SeenPairs(descriptors[:40], descriptors[:40], descriptors[:1000])
    assert few_unseen(small) is small
    assert taking_part(Icis().recipe, pairs).unseen.shape == (1200, 6)
    assert taking_part(PAPER, pairs) is pairs  # exactly as published


def test_the_short_way_through_a_network_gives_the_same_rows(world):
    """Where the span of the rows is wide, the decoder and its basis become one matrix."""
    wide = SeenPairs(world.descriptors[:40], world.rows[:40], world.descriptors[40:])
    network = QUICK.fit(wide, seed=0).predictor
    assert isinstance(network, RowNetwork)
    assert network._direct is not None
    slow = network.rows.leave(network.coordinates(wide.unseen))
    np.testing.assert_allclose(network.predict(wide.unseen), slow, rtol=1e-5, atol=1e-5)
    narrow = SeenPairs(world.descriptors[:8], world.rows[:8], world.descriptors[40:])
    other = QUICK.fit(narrow, seed=0).predictor
    assert isinstance(other, RowNetwork)
    assert other._direct is None

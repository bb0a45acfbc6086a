"""One check-suite that every method of the registry must pass."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from icis_cli import Recipe
from icis_cli.methods.base import SeenPairs, rests_of
from icis_cli.methods.registry import METHODS

#: Methods that draw random numbers; all others are closed forms.
STOCHASTIC = {"icis", "mlp", "subreg", "wdae"}
CLOSED = sorted(METHODS.keys() - STOCHASTIC)
NAMES = list(METHODS)


def quick(name):
    """A method that trains for a moment only, where it trains at all."""
    kind = METHODS[name]
    recipe = getattr(kind(), "recipe", None)
    options: dict[str, Any] = {}
    if isinstance(recipe, Recipe):
        options["recipe"] = replace(recipe, hidden=16, min_steps=8)
    if name == "wdae":
        options.update(width=8, steps=5)
    return kind(**options)


def fit(name, pairs, seed=0):
    return quick(name).fit(pairs, seed=seed).predictor


def close(first, second):
    np.testing.assert_allclose(first, second, rtol=2e-4, atol=2e-4)


@pytest.fixture
def pairs(world):
    seen = slice(0, world.seen)
    return SeenPairs(world.descriptors[seen], world.rows[seen], world.descriptors[world.seen :])


def first_of(pairs, count):
    return SeenPairs(pairs.descriptors[:count], pairs.rows[:count], pairs.unseen)


def five_folds(count):
    return np.array_split(np.random.default_rng(1).permutation(count), 5)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_finite_float32_of_the_right_shape(name, pairs):
    rows = fit(name, pairs).predict(pairs.unseen)
    assert rows.shape == (len(pairs.unseen), pairs.rows.shape[1])
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_fixes_the_rows_and_only_chance_depends_on_it(name, pairs):
    first, again, other = (fit(name, pairs, seed).predict(pairs.unseen) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) is (name not in STOCHASTIC)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_depends_on_its_own_descriptor_alone(name, pairs):
    predictor = fit(name, pairs)
    many = np.tile(pairs.unseen, (400, 1))  # more than a block
    rows = predictor.predict(many)
    close(rows[:6], rows[-6:])
    close(predictor.predict(many[::-1])[::-1], rows)
    for k, descriptor in enumerate(pairs.unseen):
        close(predictor.predict(descriptor[None]), rows[k : k + 1])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_predicts_the_same_bits(name, pairs):
    method = quick(name)
    predictor = method.fit(pairs, seed=0).predictor
    tensors = {key: np.array(value) for key, value in predictor.tensors().items()}
    assert {str(value.dtype) for value in tensors.values()} == {"float32"}
    restored = method.predictor.restore(tensors, dict(method.settings()))
    np.testing.assert_array_equal(restored.predict(pairs.unseen), predictor.predict(pairs.unseen))
    assert restored.tensors().keys() == tensors.keys()


WITHOUT_TORCH = """
import json, sys
import numpy as np
from icis_cli.methods.registry import METHODS
folder = sys.argv[1]
for name, settings in json.loads(sys.argv[2]).items():
    content = np.load(f"{folder}/{name}.npz")
    tensors = {key: content[key] for key in content.files}
    rows = METHODS[name].predictor.restore(tensors, settings).predict(tensors.pop("_unseen"))
    np.testing.assert_allclose(rows, tensors.pop("_rows"), rtol=1e-5, atol=1e-5)
assert "torch" not in sys.modules
"""


def test_prediction_never_imports_torch(pairs, tmp_path):
    settings = {}
    for name in NAMES:
        predictor = fit(name, pairs)
        expected = {"_unseen": pairs.unseen, "_rows": predictor.predict(pairs.unseen)}
        np.savez(tmp_path / f"{name}.npz", **predictor.tensors(), **expected)
        settings[name] = dict(quick(name).settings())
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path), json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_tensor_is_noticed(name, pairs):
    method = quick(name)
    tensors = dict(method.fit(pairs, seed=0).predictor.tensors())
    for key in tensors.keys() - {"rows.basis"}:
        rest = {other: value for other, value in tensors.items() if other != key}
        with pytest.raises((KeyError, ValueError)):
            method.predictor.restore(rest, method.settings())


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_plain_and_complete(name):
    method = METHODS[name]()
    settings = method.settings()
    assert all(isinstance(value, str | int | float | bool | None) for value in settings.values())
    assert method.name == name


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_as_they_were(name, pairs):
    parts = (pairs.descriptors, pairs.rows, pairs.unseen)
    before = [part.copy() for part in parts]
    method = quick(name)
    method.fit(pairs, seed=0).predictor.predict(pairs.unseen)
    method.held_out(pairs, five_folds(40), seed=0)
    for part, copy in zip(parts, before, strict=True):
        np.testing.assert_array_equal(part, copy)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_seen_classes_and_one_or_no_unseen_class_are_enough(name, count, pairs):
    few = first_of(pairs, count)
    for unseen in (pairs.unseen[:1], pairs.unseen[:0]):
        rows = fit(name, replace(few, unseen=unseen)).predict(pairs.unseen[:1])
        assert rows.shape == (1, pairs.rows.shape[1])
        assert np.isfinite(rows).all()
    if count > 1:
        held = quick(name).held_out(few, np.array_split(np.arange(count), count), seed=0)
        assert np.isfinite(held).all()


@pytest.mark.parametrize("name", NAMES)
def test_equal_descriptors_equal_rows_and_zeros_break_nothing(name, pairs):
    descriptors, rows = pairs.descriptors.copy(), pairs.rows.copy()
    descriptors[1] = descriptors[0]  # with another row
    descriptors[2] = 0
    constant = np.repeat(rows[:1], len(rows), axis=0)
    same = np.repeat(descriptors[:1], len(rows), axis=0)
    unseen = np.concatenate([pairs.unseen, descriptors[3:4], descriptors[:1] * 0])
    for odd in (
        SeenPairs(descriptors, rows, unseen),
        SeenPairs(descriptors, constant, unseen),
        SeenPairs(same, rows, unseen),
        SeenPairs(descriptors, rows * 0, unseen),
        SeenPairs(descriptors * 0, rows, unseen),
    ):
        assert np.isfinite(fit(name, odd).predict(unseen)).all()
        assert np.isfinite(quick(name).held_out(odd, five_folds(40), seed=0)).all()


@pytest.mark.parametrize("name", CLOSED)
def test_equal_rows_are_predicted_as_they_are(name, pairs):
    constant = np.repeat(pairs.rows[:1], len(pairs.rows), axis=0)
    rows = fit(name, replace(pairs, rows=constant)).predict(pairs.unseen)
    close(rows, np.repeat(pairs.rows[:1], len(rows), axis=0))


@pytest.mark.parametrize("name", CLOSED)
def test_the_order_of_seen_classes_does_not_matter(name, pairs):
    order = np.random.default_rng(0).permutation(len(pairs.rows))
    other = SeenPairs(pairs.descriptors[order], pairs.rows[order], pairs.unseen)
    close(fit(name, other).predict(pairs.unseen), fit(name, pairs).predict(pairs.unseen))


@pytest.mark.parametrize("name", CLOSED)
def test_the_length_of_descriptors_does_not_matter(name, pairs):
    longer = SeenPairs(pairs.descriptors * 7, pairs.rows, pairs.unseen * 3)
    close(fit(name, longer).predict(longer.unseen), fit(name, pairs).predict(pairs.unseen))


@pytest.mark.parametrize("name", NAMES)
def test_held_out_rows_never_come_from_the_rows_of_their_fold(name, pairs):
    folds = five_folds(len(pairs.rows))
    method = quick(name)
    held = method.held_out(pairs, folds, seed=0)
    assert held.shape == pairs.rows.shape
    assert held.dtype == np.float32
    for fold in folds[:2]:
        rows = pairs.rows.copy()
        rows[fold] *= -100
        corrupted = method.held_out(replace(pairs, rows=rows), folds, seed=0)
        np.testing.assert_array_equal(corrupted[fold], held[fold])
        assert not np.allclose(np.delete(corrupted, fold, axis=0), np.delete(held, fold, axis=0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "folds", [[], [[0, 1]], [[0, 1, 2, 3], [3, 4]], [[0, 1, 2, 3, 4]], [[0, 1, 2], [3, 5]]]
)
def test_folds_that_are_no_partition_are_refused(name, folds, pairs):
    arrays = [np.array(fold) for fold in folds]
    with pytest.raises(ValueError, match="fold"):
        quick(name).held_out(first_of(pairs, 5), arrays, seed=0)


def test_every_fold_comes_with_the_rest():
    parts = rests_of([np.array([2, 0]), np.array([1, 3])], 4)
    assert [(f.tolist(), r.tolist()) for f, r in parts] == [([2, 0], [1, 3]), ([1, 3], [0, 2])]

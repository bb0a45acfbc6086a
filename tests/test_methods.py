"""What the networks learn, and the spaces in which they work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from icis_cli import DEFAULT, PAPER, Icis, Mlp, Nearest
from icis_cli.methods.base import SeenPairs, Step
from icis_cli.methods.spaces import RowSpace, enter_inputs


@pytest.fixture
def pairs(world) -> SeenPairs:
    seen = slice(0, world.seen)
    return SeenPairs(world.descriptors[seen], world.rows[seen], world.descriptors[world.seen :])


def centred_cosine(predicted, true, middle):
    a, b = predicted - middle, true - middle
    return np.mean((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))


@pytest.mark.parametrize("method", [Icis(), Mlp()], ids=lambda method: method.name)
def test_networks_learn_rows_that_follow_from_descriptors_and_beat_the_controls(
    method, pairs, world
):
    true, middle = world.rows[world.seen :], pairs.rows.mean(axis=0)

    def score(method):
        return centred_cosine(
            method.fit(pairs, seed=0).predictor.predict(pairs.unseen), true, middle
        )

    learned = score(method)
    assert learned > 0.8
    assert learned > score(Nearest()) + 0.1


def test_rows_without_bias_are_learned_as_well(pairs, world):
    bare = SeenPairs(pairs.descriptors, pairs.rows[:, :-1], pairs.unseen)
    predicted = Icis().fit(bare, seed=0).predictor.predict(bare.unseen)
    true = world.rows[world.seen :, :-1]
    assert predicted.shape == true.shape
    assert centred_cosine(predicted, true, bare.rows.mean(axis=0)) > 0.8


def test_unseen_descriptors_matter_only_where_they_are_used(pairs):
    other = SeenPairs(pairs.descriptors, pairs.rows, pairs.unseen[::-1] * 2)
    for recipe, same in ((PAPER, False), (replace(PAPER, unseen="ignored"), True)):
        method = Icis(replace(recipe, epochs=2, hidden=16))
        rows = [method.fit(p, seed=0).predictor.predict(pairs.unseen) for p in (pairs, other)]
        assert np.array_equal(rows[0], rows[1]) is same


def test_every_epoch_is_reported(pairs):
    steps: list[Step] = []
    fitted = Icis(replace(DEFAULT, hidden=16, epochs=4, min_steps=0)).fit(
        pairs, seed=0, watch=steps.append
    )
    assert [step.epoch for step in steps] == [1, 2, 3, 4]
    assert tuple(step.loss for step in steps) == fitted.training.losses


def test_mlp_is_icis_with_one_reconstruction():
    assert Mlp().recipe.terms == ("a-w",)
    assert Icis().recipe.terms == ("a-a", "w-w", "w-a", "a-w")


@pytest.mark.parametrize(("count", "width"), [(5, 40), (40, 5), (7, 7)])
def test_the_span_holds_every_row_exactly(count, width):
    generator = np.random.default_rng(0)
    rows = (generator.standard_normal((count, width)) * 0.02 + 3).astype(np.float32)
    space = RowSpace.span_of(rows, generator)
    assert space.basis is not None
    np.testing.assert_allclose(space.basis @ space.basis.T, np.eye(min(count, width)), atol=1e-5)
    coordinates = space.enter(rows)
    assert coordinates.shape == (count, min(count, width))
    assert np.sqrt((coordinates**2).sum(axis=1).mean()) == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(space.leave(coordinates), rows, atol=1e-5)


def test_equal_rows_span_nothing_and_break_nothing():
    rows = np.ones((4, 6), dtype=np.float32)
    space = RowSpace.span_of(rows, np.random.default_rng(0))
    np.testing.assert_allclose(space.leave(space.enter(rows)), rows)


def test_unit_inputs_are_of_length_one_and_others_as_given():
    descriptors = np.random.default_rng(0).random((30, 6)).astype(np.float32)
    unit = enter_inputs("unit", descriptors)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(enter_inputs("unit", descriptors * 7), unit, atol=1e-6)
    np.testing.assert_array_equal(enter_inputs("as-given", descriptors), descriptors)
    with pytest.raises(ValueError, match="centred"):
        enter_inputs("centred", descriptors)

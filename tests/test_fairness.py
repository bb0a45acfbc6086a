"""The contest of seen and new classes on stand-ins, against loops over every single one."""

from __future__ import annotations

import numpy as np
import pytest

from icis_cli import HeldOut, Ridge, hold_out
from icis_cli.methods.base import SeenPairs
from icis_cli.validation.fairness import Arena, Contest, unseen_accuracy
from tests.synthetic import images_of


@pytest.fixture
def pairs(world):
    """A narrow classifier with biases: 11 seen classes and 4 new ones."""
    rows = world.rows.copy()
    rows[:, :24] += 0.5 * np.random.default_rng(2).standard_normal((46, 24)).astype(np.float32)
    return SeenPairs(world.descriptors[:11], rows[:11], world.descriptors[11:15])


@pytest.fixture
def arena(pairs):
    images = images_of(pairs.rows, 24)
    held = hold_out(Ridge(), pairs, 3)
    new = Ridge().fit(pairs, seed=0).predictor.predict(pairs.unseen)
    return Arena(images.labels, held, images.on(pairs.rows), images.on(new), images.on(held.rows))


def random_contest(seed=0):
    generator = np.random.default_rng(seed)
    # Halves, so that many margins are equal to each other and to offsets.
    return Contest(
        (generator.integers(-6, 7, 80) / 2).astype(np.float32),
        generator.random(80) < 0.7,
        (generator.integers(-6, 7, 50) / 2).astype(np.float32),
        generator.random(50) < 0.4,
    )


def test_accuracies_are_those_of_loops_ties_included():
    contest = random_contest()
    offsets = np.array([-9, -3, -1.5, -0.25, 0, 0.5, 1, 2.75, 3, 9])
    seen, unseen = contest.accuracies(offsets)
    for n, gamma in enumerate(offsets):
        kept = won = 0
        for margin, right in zip(contest.seen_margin, contest.seen_right, strict=True):
            kept += bool(right and margin >= gamma)  # equal logits: seen rows come first
        for margin, right in zip(contest.unseen_margin, contest.unseen_right, strict=True):
            won += bool(right and margin < gamma)
        assert seen[n] == pytest.approx(kept / 80)
        assert unseen[n] == pytest.approx(won / 50)
        expected = 2 * seen[n] * unseen[n] / (seen[n] + unseen[n]) if kept + won else 0
        assert contest.harmonic(offsets)[n] == pytest.approx(expected)
    assert (seen[0], unseen[-1]) == (contest.seen_right.mean(), contest.unseen_right.mean())
    assert (seen[-1], unseen[0]) == (0, 0)


def test_accuracies_rise_and_fall_with_the_offset():
    offsets = np.linspace(-4, 4, 50)
    seen, unseen = random_contest(1).accuracies(offsets)
    assert (np.diff(seen) <= 0).all()
    assert (np.diff(unseen) >= 0).all()


def test_a_contest_that_nobody_ever_wins_has_no_harmonic_mean():
    never = Contest(*([np.zeros(3, np.float32), np.zeros(3, dtype=bool)] * 2))
    np.testing.assert_array_equal(never.harmonic(np.array([-1.0, 0.0, 1.0])), 0)


@pytest.mark.parametrize("size", [2.0, 10.0, 25.0])
def test_a_contest_is_that_of_a_loop_over_every_stand_in(arena, size):
    contest = arena.contest(size)
    seen, new, predicted = (r.at(size) for r in (arena.seen, arena.new, arena.predicted))
    for n, label in enumerate(arena.labels):
        others = max(range(11), key=lambda c: seen[n, c])
        assert contest.seen_right[n] == (others == label)
        assert contest.seen_margin[n] == pytest.approx(seen[n, others] - max(new[n]), abs=1e-4)
    margins, rights = [], []
    for number in range(3):
        inside = [c for c in range(11) if arena.held.fold[c] == number]
        outside = [c for c in range(11) if c not in inside]
        for n, label in enumerate(arena.labels):
            if label not in inside:
                continue
            best = max(inside, key=lambda c: predicted[n, c])
            margins.append(max(seen[n, c] for c in outside) - predicted[n, best])
            rights.append(best == label)
    assert len(margins) == len(arena.labels)
    np.testing.assert_allclose(contest.unseen_margin, margins, atol=1e-4)
    np.testing.assert_array_equal(contest.unseen_right, rights)


def test_an_offset_on_new_biases_is_what_moves_the_accuracies(arena, pairs):
    """``accuracies(gamma)`` is what comes out where gamma stands in the bias column."""
    gamma = 1.7
    images = images_of(pairs.rows, 24)
    up = np.where(np.arange(25) == 24, np.float32(gamma), np.float32(0))
    new = Ridge().fit(pairs, seed=0).predictor.predict(pairs.unseen) + up
    raised = HeldOut(arena.held.classes, arena.held.fold, arena.held.rows + up)
    moved = Arena(arena.labels, raised, arena.seen, images.on(new), images.on(raised.rows))
    for size in (3.0, 10.0):
        expected = arena.contest(size).accuracies(np.array([gamma]))
        np.testing.assert_allclose(
            moved.contest(size).accuracies(np.array([0.0])), expected, atol=2e-3
        )


def test_held_out_classes_may_be_some_of_the_seen_ones_only(pairs):
    """As above 2000 seen classes: the others compete, but have no held-out row."""
    images = images_of(pairs.rows, 24)
    whole = hold_out(Ridge(), pairs, 3)
    part = np.array([1, 4, 5, 7, 10])
    held = HeldOut(part, whole.fold[part], whole.rows[part])
    arena = Arena(
        images.labels, held, images.on(pairs.rows), images.on(whole.rows[:2]), images.on(held.rows)
    )
    contest = arena.contest(10)
    assert len(contest.seen_margin) == len(images.labels)
    assert len(contest.unseen_margin) == np.isin(images.labels, part).sum()
    accuracy = unseen_accuracy(images, held, 10)
    assert accuracy.shape == (5,)
    assert np.isfinite(accuracy).all()


def test_unseen_accuracy_is_that_of_a_loop(pairs):
    images = images_of(pairs.rows, 24)
    held = hold_out(Ridge(), pairs, 3)
    found = unseen_accuracy(images, held, 10.0)
    logits = images.on(held.rows).at(10.0)
    for c in range(11):
        inside = [k for k in range(11) if held.fold[k] == held.fold[c]]
        answers = [
            max(inside, key=lambda k: logits[n, k]) == c
            for n in range(len(logits))
            if images.labels[n] == c
        ]
        assert found[c] == pytest.approx(np.mean(answers))
    assert 1 / 4 < found.mean() < 1  # better than chance, and not trivial


def test_classes_without_stand_ins_have_no_accuracy():
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((1200, 5)).astype(np.float32)
    images = images_of(rows, 5)
    held = HeldOut(np.arange(1200), np.arange(1200) % 4, rows)
    accuracy = unseen_accuracy(images, held, 10.0)
    drawn = np.isin(np.arange(1200), images.labels)
    assert drawn.sum() == 1000
    np.testing.assert_array_equal(np.isfinite(accuracy), drawn)


def test_true_rows_are_told_apart_better_than_predicted_and_those_better_than_shuffled(pairs):
    images = images_of(pairs.rows, 24)
    held = hold_out(Ridge(), pairs, 3)

    def score(rows):
        return unseen_accuracy(images, HeldOut(held.classes, held.fold, rows), 10.0).mean()

    wrong = held.rows.copy()
    for fold in held.folds:
        wrong[fold] = held.rows[np.roll(fold, 1)]
    assert score(pairs.rows) > score(held.rows) + 0.03
    assert score(held.rows) > score(wrong) + 0.3

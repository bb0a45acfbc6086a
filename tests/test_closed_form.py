"""Ridges are scored without held-out rows as they are with them, and inverses are inverses."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from icis_cli import Mean, Nearest, Ridge, hold_out, select_method
from icis_cli.arrays import unit_rows
from icis_cli.errors import TrainingError
from icis_cli.methods import inverses
from icis_cli.methods.base import SeenPairs
from icis_cli.methods.inverses import positive_inverse
from icis_cli.methods.kernels import KERNELS, Kernel
from icis_cli.methods.ridge import bordered_inverses
from icis_cli.methods.ridge_solvers import Intercept
from icis_cli.validation.closed_form import RidgeScores
from icis_cli.validation.fairness import unseen_accuracy
from icis_cli.validation.heldout import FOLDS, sample
from icis_cli.validation.selection import describe
from icis_cli.validation.standins import SIZE
from tests.synthetic import WIDTH, images_of, judged

INTERCEPTS: tuple[Intercept, ...] = ("mean", "none")
RIDGES = [
    Ridge(kernel, eta, penalty, intercept)
    for intercept, kernel, (eta, penalty) in product(
        INTERCEPTS, KERNELS, ((0.3, 0.01), (0.3, 1.0), (2.0, 0.1), (2.0, 0.0))
    )
]


@pytest.fixture(scope="module")
def pairs():
    return judged("trained", 0).pairs


def made_up(classes, columns, width, seed=0, shift=0.0):
    """Pairs whose rows depend on the descriptors, more or less."""
    generator = np.random.default_rng(seed)
    descriptors = generator.standard_normal((classes, columns))
    rows = descriptors @ generator.standard_normal((columns, width)) + shift
    rows += generator.standard_normal(rows.shape)
    return SeenPairs(
        descriptors.astype(np.float32), rows.astype(np.float32), np.empty((0, columns), np.float32)
    )


def slowly(ridges, pairs, width, folds=FOLDS):
    images = images_of(pairs.rows, width)
    return [unseen_accuracy(images, hold_out(ridge, pairs, folds), SIZE) for ridge in ridges]


def fast(ridges, pairs, width, folds=FOLDS):
    scores = RidgeScores.on(images_of(pairs.rows, width), pairs.rows, SIZE, folds)
    return list(scores.of(ridges, pairs.descriptors))


@pytest.mark.parametrize("shift", [0.0, 5.0])
@pytest.mark.parametrize(("classes", "columns"), [(120, 300), (120, 12), (7, 4), (8, 9)])
def test_scores_are_those_of_held_out_rows(classes, columns, shift):
    pairs = made_up(classes, columns, 31, shift=shift)
    scores = slowly(RIDGES, pairs, 30)
    for ridge, quick, slow in zip(RIDGES, fast(RIDGES, pairs, 30), scores, strict=True):
        np.testing.assert_allclose(quick, slow, atol=1e-6, err_msg=describe(ridge))
    # The case tells settings apart: a route that ignored the ridge would be seen.
    assert len({float(np.mean(score)) for score in scores}) > 1


def test_a_head_without_biases_and_other_folds(pairs):
    weights = replace(pairs, rows=pairs.rows[:, :WIDTH])
    for folds in (2, 3, 60):
        quick, slow = fast(RIDGES, weights, WIDTH, folds), slowly(RIDGES, weights, WIDTH, folds)
        np.testing.assert_allclose(quick, slow, atol=1e-6)


def test_a_sample_of_many_classes_is_that_of_hold_out():
    pairs = made_up(2100, 6, 8)
    ridges = [Ridge("linear"), Ridge("linear", penalty=1.0, intercept="none")]
    quick, slow = fast(ridges, pairs, 7), slowly(ridges, pairs, 7)
    assert quick[0].shape == (2000,)
    unknown = ~np.isin(sample(2100), images_of(pairs.rows, 7).labels)
    for one, other in zip(quick, slow, strict=True):
        np.testing.assert_array_equal(np.isnan(one), unknown)
        # 2000 stand-ins on rows of 7 weights: a few are a tie but for rounding.
        assert np.nanmean(one) == pytest.approx(np.nanmean(other), abs=1e-3)
        assert np.mean(one[~unknown] != other[~unknown]) < 0.005


def test_descriptors_that_are_equal_or_zero():
    pairs = made_up(40, 10, 21)
    pairs.descriptors[1] = pairs.descriptors[0]
    pairs.descriptors[2] = 0
    np.testing.assert_allclose(fast(RIDGES, pairs, 20), slowly(RIDGES, pairs, 20), atol=1e-6)


def test_the_choice_is_that_of_rows_and_they_are_those_of_hold_out(pairs):
    told = []
    methods = (Nearest(), *Ridge("linear", penalty=1.0).candidates(), Mean(), Ridge(eta=0.7))
    quick = select_method(methods, pairs, WIDTH, watch=lambda *step: told.append(step))
    assert told == [(n, len(methods), describe(method)) for n, method in enumerate(methods)]
    scores = slowly(methods, pairs, WIDTH)
    for candidate, score in zip(quick.candidates, scores, strict=True):
        difference = score - scores[0]
        assert candidate.score == pytest.approx(score.mean(), abs=1e-9)
        assert candidate.margin == pytest.approx(difference.mean(), abs=1e-9)
        assert candidate.error == pytest.approx(difference.std() / np.sqrt(60), abs=1e-9)
    assert methods[quick.chosen].name == "ridge"
    held = hold_out(methods[quick.chosen], pairs)
    for field in ("classes", "fold", "rows"):
        np.testing.assert_array_equal(getattr(quick.held, field), getattr(held, field))


def test_rows_are_made_for_the_chosen_ridge_alone(pairs, monkeypatch):
    made = []

    def held_out(self, *arguments, **options):
        made.append(self)
        return np.zeros_like(pairs.rows)

    monkeypatch.setattr(Ridge, "held_out", held_out)
    candidates = Ridge().candidates()
    selection = select_method(candidates, pairs, WIDTH)
    assert made == [candidates[selection.chosen]]


def test_too_many_folds_are_refused(pairs):
    with pytest.raises(TrainingError, match="60 seen classes cannot be held out in 61 folds"):
        select_method((Ridge(),), pairs, WIDTH, 61)
    with pytest.raises(TrainingError, match=r"1 fold\(s\)"):
        select_method((Ridge(), Mean()), pairs, WIDTH, 1)


@pytest.mark.parametrize("ridge", RIDGES, ids=describe)
def test_bordered_inverses_are_those_of_the_bordered_system(ridge, pairs):
    penalty = max(ridge.penalty, 1e-3)  # a condition that the comparison itself can bear
    (found,) = bordered_inverses([replace(ridge, penalty=penalty)], pairs.descriptors)
    count = len(pairs.descriptors)
    unit = unit_rows(pairs.descriptors)
    matrix = Kernel.scaled_to(ridge.kernel, ridge.eta, unit)(unit, unit) + penalty * np.eye(count)
    if ridge.intercept == "mean":
        matrix = np.block([[matrix, np.ones((count, 1))], [np.ones((1, count)), np.zeros((1, 1))]])
    expected = np.linalg.inv(matrix)[:count, :count]
    np.testing.assert_allclose(found, expected, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("count", [1, 2, 9, 40, 41])
def test_inverses_by_halves(count, monkeypatch):
    monkeypatch.setattr(inverses, "_SMALL", 4)
    factor = np.random.default_rng(count).standard_normal((count, count + 5))
    matrix = factor @ factor.T + np.eye(count)
    before = matrix.copy()
    np.testing.assert_allclose(positive_inverse(matrix) @ matrix, np.eye(count), atol=1e-10)
    np.testing.assert_array_equal(matrix, before)


def test_an_inverse_that_lost_its_digits_is_made_again(monkeypatch):
    """Rank one and a little: by halves hardly a digit is left, and some blocks are singular."""
    monkeypatch.setattr(inverses, "_SMALL", 4)
    for little in (1e-7, 1e-9, 1e-12):
        matrix = np.ones((40, 40)) + little * np.diag(np.linspace(1, 2, 40))
        assert positive_inverse(matrix).tobytes() == np.linalg.inv(matrix).tobytes()
    with pytest.raises(np.linalg.LinAlgError):
        positive_inverse(np.ones((40, 40)))

"""Held-out seen classes: folds, what is predicted for them, and the figures that come of it."""

from __future__ import annotations

import numpy as np
import pytest

from icis_cli import HeldOut, Mean, Nearest, Ridge, hold_out, judge
from icis_cli.errors import TrainingError
from icis_cli.methods.base import SeenPairs
from icis_cli.validation.heldout import FOLDS, affordable_folds, fold_numbers, sample


@pytest.fixture
def pairs(world):
    seen = slice(0, world.seen)
    return SeenPairs(world.descriptors[seen], world.rows[seen], world.descriptors[world.seen :])


@pytest.mark.parametrize(("classes", "folds"), [(3, 2), (3, 3), (40, 5), (41, 5), (44, 5), (7, 7)])
def test_folds_partition_the_classes_and_differ_by_one_at_most(classes, folds):
    number = fold_numbers(classes, folds)
    assert number.shape == (classes,)
    sizes = np.bincount(number)
    assert len(sizes) == folds
    assert sizes.sum() == classes
    assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(number, fold_numbers(classes, folds))


def test_folds_are_random_and_not_stripes_of_the_order():
    number = fold_numbers(200, 5)
    assert (number != np.arange(200) % 5).mean() > 0.5
    assert (np.diff(number) == 0).mean() > 0.1  # neighbours do share a fold now and then
    assert (number != fold_numbers(200, 5, seed=1)).mean() > 0.5


@pytest.mark.parametrize(
    ("classes", "folds", "words", "hint"),
    [
        (40, 41, "40 seen classes cannot be held out in 41 folds", "pass --cv 5"),
        (4, 5, "4 seen classes cannot be held out in 5 folds", "pass --cv 4"),
        (3, 5, "3 seen classes cannot be held out in 5 folds", "pass --cv 3"),
        (2, 5, "2 seen classes cannot be held out in 5 folds", "pass --cv 0"),
        (2, 2, "2 seen classes cannot be held out in 2 folds", "pass --cv 0"),
        (9, 1, r"1 fold\(s\), expected at least 2", "pass --cv 5, or --cv 0"),
        (9, 0, r"0 fold\(s\), expected at least 2", "pass --cv 5, or --cv 0"),
    ],
)
def test_fewer_classes_than_folds_is_an_error_with_a_way_out(classes, folds, words, hint):
    with pytest.raises(TrainingError, match=words) as caught:
        fold_numbers(classes, folds)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("classes", "expected"), [(1, 0), (2, 0), (3, 2), (4, 2), (5, 2), (6, 3), (9, 4), (40, FOLDS)]
)
def test_the_folds_that_are_afforded_unasked_work_and_hold_two_classes_or_more(classes, expected):
    assert affordable_folds(classes) == expected
    if expected:
        sizes = np.bincount(fold_numbers(classes, expected))
        assert len(sizes) == expected
        assert sizes.min() >= min(2, classes - 2)


@pytest.mark.parametrize("folds", [2, 5, 7, 40])
@pytest.mark.parametrize("kernel", ["linear", "arc-cosine", "rbf"])
def test_held_out_rows_of_ridge_are_those_of_refits(pairs, folds, kernel):
    method = Ridge(kernel)
    held = hold_out(method, pairs, folds)
    np.testing.assert_array_equal(held.classes, np.arange(40))
    np.testing.assert_array_equal(held.fold, fold_numbers(40, folds))
    assert len(held.folds) == folds
    for fold in held.folds:
        rest = np.setdiff1d(np.arange(40), fold)
        known = SeenPairs(pairs.descriptors[rest], pairs.rows[rest], pairs.unseen)
        refit = method.fit(known, seed=0).predictor.predict(pairs.descriptors[fold])
        # A refit of rbf takes its median from the rest alone; the others have none.
        atol = 0.1 if kernel == "rbf" else 1e-4
        np.testing.assert_allclose(held.rows[fold], refit, rtol=1e-3, atol=atol)


def test_a_held_out_row_does_not_depend_on_its_own_fold(pairs):
    for method in (Ridge(), Nearest(), Mean()):
        held = hold_out(method, pairs, 5)
        fold = held.folds[2]
        rows = pairs.rows.copy()
        rows[fold] += 1e3
        again = hold_out(method, SeenPairs(pairs.descriptors, rows, pairs.unseen), 5)
        np.testing.assert_allclose(again.rows[fold], held.rows[fold], rtol=1e-3, atol=1e-3)
        other = np.setdiff1d(np.arange(40), fold)
        assert not np.allclose(again.rows[other], held.rows[other], atol=1)


def test_other_methods_are_refitted_with_the_fold_as_unseen_classes(pairs):
    held = hold_out(Nearest(), pairs, 5)
    for position, fold in enumerate(held.fold):
        rest = np.flatnonzero(held.fold != fold)
        unit = pairs.descriptors / np.linalg.norm(pairs.descriptors, axis=1, keepdims=True)
        best = rest[(unit[rest] @ unit[position]).argmax()]
        np.testing.assert_array_equal(held.rows[position], pairs.rows[best])


def test_of_many_classes_two_thousand_stand_for_all():
    generator = np.random.default_rng(0)
    descriptors = generator.standard_normal((2100, 4)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    rows = (descriptors @ generator.standard_normal((4, 3))).astype(np.float32)
    held = hold_out(Ridge("linear", penalty=1e-4), SeenPairs(descriptors, rows, descriptors[:0]), 5)
    assert held.rows.shape == (2000, 3)
    assert held.rows.dtype == np.float32
    assert (np.diff(held.classes) > 0).all()
    assert 2000 <= held.classes[-1] < 2100  # not simply the first ones
    np.testing.assert_array_equal(np.bincount(held.fold), [400] * 5)
    assert sorted(np.concatenate(held.folds).tolist()) == list(range(2000))
    # Rows follow linearly from descriptors here: each predicted row must be that of its class.
    np.testing.assert_allclose(held.rows, rows[held.classes], atol=1e-3)
    assert judge(rows, held).retrieval > 0.9


def test_a_sample_is_fixed_ascending_and_without_repetition():
    np.testing.assert_array_equal(sample(7, 7), np.arange(7))
    drawn = sample(50, 20)
    assert len(set(drawn.tolist())) == 20
    assert (np.diff(drawn) > 0).all()
    np.testing.assert_array_equal(drawn, sample(50, 20))


def test_figures_are_those_of_explicit_loops(pairs):
    held = hold_out(Ridge(), pairs, 7)
    found = judge(pairs.rows, held)
    cosines, retrievals, ratios = [], [], []
    for number in range(7):
        members = [n for n in range(40) if held.fold[n] == number]
        cosine, hits, ratio = [], [], []
        middle = pairs.rows[held.fold != number].mean(axis=0)  # what was held out is not known
        for n in members:
            predicted = held.rows[n] - middle
            similar = {}
            for other in members:
                true = pairs.rows[other] - middle
                similar[other] = (predicted @ true) / np.sqrt(
                    (predicted @ predicted) * (true @ true)
                )
            cosine.append(similar[n])
            hits.append(max(similar, key=lambda key: similar[key]) == n)
            own = pairs.rows[n] - middle
            ratio.append(np.sqrt(predicted @ predicted) / np.sqrt(own @ own))
        cosines.append(np.mean(cosine))
        retrievals.append(np.mean(hits))
        ratios.append(np.mean(ratio))
    assert found.cosine == pytest.approx(np.mean(cosines), rel=1e-4)
    assert found.retrieval == pytest.approx(np.mean(retrievals))
    assert found.norm_ratio == pytest.approx(np.mean(ratios), rel=1e-4)
    assert found.cosine_spread == pytest.approx(np.std(cosines), rel=1e-3)
    assert found.retrieval_spread == pytest.approx(np.std(retrievals))
    assert found.norm_ratio_spread == pytest.approx(np.std(ratios), rel=1e-3)
    assert found.folds == 7
    assert found.candidates == pytest.approx(40 / 7)
    assert found.to_json()["retrieval"] == found.retrieval


def test_figures_of_perfect_and_of_doubled_rows(pairs):
    number = fold_numbers(40, 5)
    rest = np.stack([pairs.rows[number != own].mean(axis=0) for own in number])
    for factor in (1, 2):
        rows = rest + factor * (pairs.rows - rest)
        found = judge(pairs.rows, HeldOut(np.arange(40), number, rows))
        assert found.cosine == pytest.approx(1, abs=1e-5)
        assert found.retrieval == 1
        assert found.norm_ratio == pytest.approx(factor, rel=1e-5)
        assert found.cosine_spread == pytest.approx(0, abs=1e-5)


def test_parts_of_different_length_are_refused(pairs):
    with pytest.raises(ValueError, match="differ in number"):
        HeldOut(np.arange(40), np.zeros(39, dtype=np.int64), pairs.rows)

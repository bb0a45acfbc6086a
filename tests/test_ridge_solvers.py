"""The solvers of ridge against each other, and what ridge does with very many classes."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from icis_cli import Ridge
from icis_cli.arrays import unit_rows
from icis_cli.methods import kernels, ridge, ridge_solvers
from icis_cli.methods.base import SeenPairs
from icis_cli.methods.kernels import KERNELS, Kernel, median_distance
from icis_cli.methods.ridge import KernelRows
from icis_cli.methods.ridge_solvers import (
    MOST_EXACT,
    Problem,
    choose_landmarks,
    choose_solver,
    solve_dual,
    solve_nystrom,
    solve_primal,
)

INTERCEPTS = ("mean", "none")
PENALTIES = (0.0, 1e-6, 1e-3, 0.1, 1.0)
#: Classes, descriptor columns, and how many of these are independent.
SHAPES = {"wide": (20, 50, 50), "long": (60, 9, 9), "long, of low rank": (60, 12, 4)}


def problem_of(shape, kernel="linear", penalty=0.1, intercept="mean"):
    """A ridge with two equal descriptors whose rows differ, and a zero one."""
    classes, columns, rank = SHAPES[shape]
    generator = np.random.default_rng(5)
    # columns that are equal to the last bit: the rank is that of the float32 numbers, too
    within = generator.standard_normal((classes, rank))[:, np.arange(columns) % rank]
    descriptors = unit_rows(within.astype(np.float32))
    descriptors[1] = descriptors[0]
    descriptors[2] = 0
    rows = (generator.standard_normal((classes, 7)) + 3).astype(np.float32)
    return Problem(Kernel(kernel, 0.7, 1.3), penalty, intercept, descriptors, rows)


def queries(problem):
    """Descriptors to predict for: new ones, seen ones, and a zero one."""
    generator = np.random.default_rng(6)
    mixed = generator.standard_normal((9, len(problem.descriptors))) @ problem.descriptors
    new = generator.standard_normal((9, problem.descriptors.shape[1]))
    return np.concatenate([mixed, new, problem.descriptors[:4]]).astype(np.float32)


def rows_of(problem, solution):
    return problem.kernel(queries(problem), solution.basis) @ solution.dual + solution.offset


def assert_same_rows(problem, fast, slow):
    fast, slow = rows_of(problem, fast), rows_of(problem, slow)
    assert np.abs(fast - slow).max() < 1e-5 * np.abs(slow).max()


@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_primal_is_dual(shape, penalty, intercept):
    problem = problem_of(shape, "linear", penalty, intercept)
    assert_same_rows(problem, solve_primal(problem), solve_dual(problem))


@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_nystrom_on_all_seen_classes_is_dual(shape, kernel, penalty, intercept):
    problem = problem_of(shape, kernel, penalty, intercept)
    everything = np.arange(len(problem.rows))
    assert_same_rows(problem, solve_nystrom(problem, everything), solve_dual(problem))
    # equal descriptors span no more than one of them
    distinct = choose_landmarks(problem.descriptors)
    assert len(distinct) == len(everything) - 1
    assert_same_rows(problem, solve_nystrom(problem, distinct), solve_dual(problem))


@pytest.mark.parametrize("intercept", INTERCEPTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_nystrom_on_a_few_is_the_least_loss_that_they_can_reach(kernel, intercept):
    problem = problem_of("long", kernel, 0.05, intercept)
    landmarks = np.array([3, 8, 21, 40])
    solution = solve_nystrom(problem, landmarks)
    seen = problem.descriptors[landmarks]
    np.testing.assert_array_equal(solution.basis, seen)
    across = problem.kernel(problem.descriptors, seen)
    own = problem.kernel(seen, seen)

    def loss(dual, offset):
        missed = across @ dual + offset - problem.rows
        return (missed**2).sum() + 0.05 * (dual * (own @ dual)).sum()

    least = loss(solution.dual, solution.offset)
    generator = np.random.default_rng(0)
    for _ in range(20):
        dual = 1e-3 * generator.standard_normal(solution.dual.shape)
        offset = 1e-3 * generator.standard_normal(7) * (intercept == "mean")
        # level in every direction: what is gained to one side is lost to the other
        one, other = (loss(solution.dual + s * dual, solution.offset + s * offset) for s in (1, -1))
        assert one > least
        assert one - other == pytest.approx(0, abs=1e-6 * (one - least))


def test_blocks_of_classes_change_nothing(monkeypatch):
    problem = problem_of("long", "rbf", 0.01)
    landmarks = np.arange(0, 60, 3)
    whole = solve_nystrom(problem, landmarks)
    monkeypatch.setattr(ridge_solvers, "_BLOCK", 7)
    assert_same_rows(problem, solve_nystrom(problem, landmarks), whole)


def test_many_equal_landmarks_do_no_harm():
    problem = problem_of("long", "rbf", 0.01)
    once, often = np.array([3, 8, 21]), np.array([3, 3, 8, 8, 8, 21])
    assert_same_rows(problem, solve_nystrom(problem, often), solve_nystrom(problem, once))
    same = replace(problem, descriptors=np.zeros_like(problem.descriptors))
    for kernel in KERNELS:  # nothing to learn from but the mean
        blank = replace(same, kernel=Kernel(kernel))
        solution = solve_nystrom(blank, choose_landmarks(blank.descriptors))
        found = rows_of(blank, solution)
        np.testing.assert_allclose(found, np.tile(problem.rows.mean(axis=0), (22, 1)), rtol=1e-6)


def test_the_solver_is_the_cheapest_exact_one_that_fits():
    assert choose_solver("rbf", 1000, 200) == "dual"
    assert choose_solver("linear", 1000, 200) == "primal"
    assert choose_solver("linear", 200, 200) == "dual"
    assert choose_solver("linear", 150, 312) == "dual"
    assert choose_solver("rbf", MOST_EXACT, 5) == "dual"
    assert choose_solver("arc-cosine", MOST_EXACT + 1, 5) == "nystrom"
    assert choose_solver("linear", 10**6, MOST_EXACT) == "primal"
    assert choose_solver("linear", 10**6, MOST_EXACT + 1) == "nystrom"


def test_only_the_linear_kernel_has_a_primal():
    with pytest.raises(ValueError, match="expected linear"):
        solve_primal(problem_of("long", "rbf"))


def test_landmarks_are_distinct_and_always_the_same():
    descriptors = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    descriptors[20:] = descriptors[:20]
    np.testing.assert_array_equal(choose_landmarks(descriptors), np.arange(20))
    few = choose_landmarks(descriptors, 12)
    assert len(np.unique(descriptors[few], axis=0)) == 12
    assert (np.diff(few) > 0).all()
    np.testing.assert_array_equal(few, choose_landmarks(descriptors, 12))


@pytest.fixture
def pairs():
    problem = problem_of("long")
    return SeenPairs(problem.descriptors * 3, problem.rows, queries(problem))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_a_ridge_of_any_solver_is_restored_and_says_what_it_is(
    kernel, intercept, pairs, monkeypatch
):
    method = Ridge(kernel, 0.7, 0.1, intercept)
    exact = method.fit(pairs, seed=0)
    linear = kernel == "linear"
    columns = "solved in closed form in the 9 descriptor columns (primal)"
    assert exact.training.stopped == (columns if linear else "solved in closed form")
    monkeypatch.setattr(ridge_solvers, "MOST_EXACT", 59)
    monkeypatch.setattr(ridge_solvers.choose_landmarks, "__defaults__", (30,))
    fitted = method.fit(pairs, seed=0)
    few = "solved in closed form on 30 of 60 seen classes (Nystrom)"
    assert fitted.training.stopped == (columns if linear else few)
    predictor = fitted.predictor
    assert isinstance(predictor, KernelRows)
    assert len(predictor.dual) == len(predictor.descriptors) == (9 if linear else 30)
    predicted = predictor.predict(pairs.unseen)
    restored = KernelRows.restore(predictor.tensors(), method.settings())
    np.testing.assert_array_equal(restored.predict(pairs.unseen), predicted)
    slow = exact.predictor.predict(pairs.unseen)
    near = np.linalg.norm(predicted - slow) / np.linalg.norm(slow)
    assert near < 0.2
    assert linear or near > 1e-4  # it is another, smaller, fit


def test_held_out_rows_of_a_large_ridge_are_those_of_refits(pairs, monkeypatch):
    method, folds = Ridge(penalty=0.1), np.array_split(np.random.default_rng(0).permutation(60), 3)
    exact = method.held_out(pairs, folds, seed=0)
    monkeypatch.setattr(ridge_solvers, "MOST_EXACT", 35)
    monkeypatch.setattr(ridge_solvers.choose_landmarks, "__defaults__", (25,))
    held = method.held_out(pairs, folds, seed=0)
    rest = np.setdiff1d(np.arange(60), folds[1])
    known = SeenPairs(pairs.descriptors[rest], pairs.rows[rest], pairs.unseen)
    refit = method.fit(known, seed=0).predictor.predict(pairs.descriptors[folds[1]])
    np.testing.assert_allclose(held[folds[1]], refit, rtol=1e-4, atol=1e-6)
    assert 1e-4 < np.linalg.norm(held - exact) / np.linalg.norm(exact) < 0.3


def test_the_median_of_very_many_is_that_of_a_sample(monkeypatch):
    descriptors = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    exact = median_distance(descriptors)
    monkeypatch.setattr(kernels, "_MOST", 100)
    sampled = median_distance(descriptors)
    assert sampled == median_distance(descriptors)
    assert sampled != exact
    assert sampled == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("kernel", KERNELS)
def test_many_rows_are_predicted_in_two_blocks_of_kernel(kernel):
    generator = np.random.default_rng(0)
    basis = generator.standard_normal((2000, 4)).astype(np.float32)
    dual, offset = np.zeros((2000, 3), dtype=np.float32), np.ones(3, dtype=np.float32)
    predictor = KernelRows(Kernel(kernel), 0.1, basis, dual, offset)
    new = generator.standard_normal((5000, 4)).astype(np.float32)
    predictor.predict(new[:1])
    tracemalloc.start()
    try:
        rows = predictor.predict(new)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (rows == 1).all()
    assert peak - rows.nbytes < 2.2 * 1024 * 2000 * 8


@pytest.mark.parametrize(("penalty", "narrow"), [(0.1, True), (1e-6, False)])
def test_large_kernels_are_multiplied_in_float32_only_where_that_is_close(
    monkeypatch, penalty, narrow
):
    generator = np.random.default_rng(0)
    descriptors = generator.standard_normal((300, 40)).astype(np.float32)
    rows = generator.standard_normal((600, 100)).astype(np.float32)
    # Classes that are nearly alike but for their rows have large coefficients, which cancel.
    near = descriptors + 1e-3 * generator.standard_normal((300, 40)).astype(np.float32)
    seen = descriptors if narrow else np.concatenate([descriptors, near])
    new = generator.standard_normal((2000, 40)).astype(np.float32)
    pairs = SeenPairs(seen, rows[: len(seen)], new)
    method = Ridge(penalty=penalty)
    exact = method.fit(pairs, seed=0).predictor.predict(new)
    monkeypatch.setattr(ridge, "_LARGE", 100)
    fast = method.fit(pairs, seed=0).predictor
    assert isinstance(fast, KernelRows)
    assert (fast._centred is not None) == narrow
    off = np.linalg.norm(fast.predict(new) - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert off.max() < 1e-5
    assert (off.max() > 0) == narrow

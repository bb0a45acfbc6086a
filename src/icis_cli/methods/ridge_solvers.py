"""Three ways to solve a ridge, by how many classes and descriptor columns there are.

All give ``row = k(a, basis) @ dual + offset``:

* *dual*: one (K, K) system over the seen classes; exact.
* *primal*: one (d, d) system over the descriptor columns; exact, for the linear kernel, whose
  features are the columns of the unit descriptors themselves. The basis is the d unit vectors.
* *Nystrom*: rows are sought in the span of m seen classes, the landmarks, in place of all K; an
  approximation, exact where the landmarks are all (distinct) seen classes. This is the "subset of
  regressors": Smola & Schoelkopf, "Sparse Greedy Matrix Approximation for Machine Learning" (ICML
  2000); Williams & Seeger, "Using the Nystrom Method to Speed Up Kernel Machines" (NIPS 2000);
  Rudi, Camoriano & Rosasco, "Less is More: Nystrom Computational Regularization" (NIPS 2015).

The last two are ridge on n features per class, ``f(a) = T' k(basis, a)``. Nystrom takes
``T = V S^-1/2`` of the landmarks' own kernel ``V S V'``, so that the penalty on its features is
the one on the kernel. To solve for the coefficients themselves, ``(Kc'Kc + lambda Kmm) beta =
Kc'Wc``, would square the condition of the system, and fail where two landmarks are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.methods.kernels import DoubleArray, Kernel, KernelName

Intercept = Literal["mean", "none"]
Solver = Literal["dual", "primal", "nystrom"]

#: Largest system that is solved exactly: 300 MB, twice in memory. Nystrom is cheaper from here on.
MOST_EXACT = 6000
#: Landmarks of Nystrom.
LANDMARKS = 4096

#: Smaller penalties count as this one. Of two equal descriptors with different rows it gives the
#: mean, without dual coefficients so large that float32 could no longer hold their differences.
LEAST_PENALTY = 1e-6
#: Directions of the landmarks' kernel below this share of the largest are rounding errors.
_ROUNDING = 1e-14
#: Classes whose features are in memory at once.
_BLOCK = 1024


@dataclass(frozen=True)
class Problem:
    """A ridge to solve.

    Attributes:
        kernel: with the scale of the seen descriptors.
        penalty: lambda >= 0, see ``LEAST_PENALTY``.
        intercept: ``"mean"`` for a row that is not penalised, ``"none"`` for none.
        descriptors: (K, d) of the seen classes, unit length (or zero).
        rows: (K, P).

    """

    kernel: Kernel
    penalty: float
    intercept: Intercept
    descriptors: FloatArray
    rows: FloatArray

    @property
    def ridge(self) -> float:
        """What is added to the diagonal."""
        return max(self.penalty, LEAST_PENALTY)


@dataclass(frozen=True)
class Solution:
    """``row = k(a, basis) @ dual + offset``.

    Attributes:
        basis: (n, d) descriptors.
        dual: (n, P) coefficients.
        offset: (P,) the intercept, zeros without one.
        how: it was solved, for people.

    """

    basis: FloatArray
    dual: DoubleArray
    offset: DoubleArray
    how: str


def choose_solver(kernel: KernelName, classes: int, columns: int) -> Solver:
    """Return the cheapest exact solver, or ``"nystrom"`` where no exact one fits into memory.

    Of two exact ones the smaller system is cheaper in every part: making it, solving it, and
    predicting with it.
    """
    if kernel == "linear" and columns < classes and columns <= MOST_EXACT:
        return "primal"
    return "dual" if classes <= MOST_EXACT else "nystrom"


def solve(problem: Problem) -> Solution:
    """Solve by the solver that :func:`choose_solver` names."""
    solver = choose_solver(problem.kernel.name, *problem.descriptors.shape)
    if solver == "primal":
        return solve_primal(problem)
    if solver == "dual":
        return solve_dual(problem)
    return solve_nystrom(problem, choose_landmarks(problem.descriptors))


def solve_dual(problem: Problem) -> Solution:
    """Solve the (K, K) system over the seen classes."""
    matrix = problem.kernel(problem.descriptors, problem.descriptors)
    matrix[np.diag_indices_from(matrix)] += problem.ridge
    rows = problem.rows
    if problem.intercept == "none":
        dual, offset = _solved(matrix, rows.astype(np.float64)), np.zeros(rows.shape[1])
    else:
        # The bordered system, solved by elimination: one factorisation gives both parts.
        sides = _solved(matrix, np.column_stack([rows, np.ones(len(rows))]))
        dual, ones = sides[:, :-1], sides[:, -1]
        offset = dual.sum(axis=0) / ones.sum()
        dual -= np.outer(ones, offset)
    return Solution(problem.descriptors, dual, offset, "solved in closed form")


def solve_primal(problem: Problem) -> Solution:
    """Solve the (d, d) system over the descriptor columns.

    Raises:
        ValueError: the kernel is not linear.

    """
    if problem.kernel.name != "linear":
        raise ValueError(f"kernel {problem.kernel.name!r}: expected linear")
    columns = problem.descriptors.shape[1]
    basis = np.eye(columns, dtype=np.float32)
    dual, offset = _on_features(problem, basis, None)
    how = f"solved in closed form in the {columns} descriptor columns (primal)"
    return Solution(basis, dual, offset, how)


def solve_nystrom(problem: Problem, landmarks: IntArray) -> Solution:
    """Solve for coefficients of the landmarks (m,), which are seen classes.

    Memory is that of a few (m, m) matrices, whatever K is.
    """
    basis = problem.descriptors[landmarks]
    whitener = _whitener(problem.kernel(basis, basis))
    weights, offset = _on_features(problem, basis, whitener)
    classes = len(problem.rows)
    how = f"solved in closed form on {len(basis)} of {classes} seen classes (Nystrom)"
    return Solution(basis, whitener @ weights, offset, how)


def choose_landmarks(descriptors: FloatArray, most: int = LANDMARKS) -> IntArray:
    """Return a fixed random choice of at most ``most`` distinct descriptors (K, d), ascending."""
    _, first = np.unique(descriptors, axis=0, return_index=True)
    if len(first) > most:
        first = np.random.default_rng(0).choice(np.sort(first), most, replace=False)
    return np.sort(first)


def _whitener(own: DoubleArray) -> DoubleArray:
    """Return ``V S^-1/2`` (m, r) of a kernel ``V S V'`` (m, m) of rank r."""
    values, vectors = np.linalg.eigh(own)  # values ascend
    first = int(np.searchsorted(values, max(values[-1], 0) * _ROUNDING, side="right"))
    whitener = vectors[:, first:]
    whitener /= np.sqrt(values[first:])
    return whitener


def _on_features(
    problem: Problem, basis: FloatArray, whitener: DoubleArray | None
) -> tuple[DoubleArray, DoubleArray]:
    """Solve the ridge on features: weights (n, P) and intercept (P,).

    Normal equations, summed over blocks of classes. The intercept is solved by taking the means
    off features and rows; the features' mean is not known before the last block, so that of the
    first stands in, and what is between them is taken off at the end.
    """
    centred = problem.intercept == "mean"
    count, width = problem.rows.shape
    middle = problem.rows.mean(axis=0, dtype=np.float64) if centred else np.zeros(width)
    size = len(basis) if whitener is None else whitener.shape[1]
    start, total = np.zeros(size), np.zeros(size)
    normal, sides = np.zeros((size, size)), np.zeros((size, width))
    for part, features in _features(problem, basis, whitener):
        if centred and part.start == 0:
            start = features.mean(axis=0)
        features -= start
        normal += features.T @ features
        sides += features.T @ (problem.rows[part] - middle)
        total += features.sum(axis=0)
    if centred:
        normal -= np.outer(total, total) / count
    normal[np.diag_indices_from(normal)] += problem.ridge
    weights = _solved(normal, sides)
    offset = middle - (start + total / count) @ weights if centred else middle
    return weights, offset


def _features(
    problem: Problem, basis: FloatArray, whitener: DoubleArray | None
) -> Iterator[tuple[slice, DoubleArray]]:
    """Yield the features (B, n) of all seen classes, block by block."""
    for start in range(0, len(problem.descriptors), _BLOCK):
        part = slice(start, start + _BLOCK)
        across = problem.kernel(problem.descriptors[part], basis)
        yield part, across if whitener is None else across @ whitener


def _solved(matrix: DoubleArray, sides: DoubleArray) -> DoubleArray:
    return np.asarray(np.linalg.solve(matrix, sides), dtype=np.float64)

"""Kernel ridge regression from descriptors to rows, in closed form.

``P = k(A_u, A_s) (K + lambda I)^-1 W`` with ``K = k(A_s, A_s)`` and the rows ``W`` (K, P); see
Saunders, Gammerman & Vovk, "Ridge Regression Learning Algorithm in Dual Variables" (ICML 1998).
With the intercept ``"mean"`` a row ``b`` is added that is not penalised; the bordered system

    [K + lambda I  1] [dual]   [W]
    [1'            0] [b   ] = [0]

then has zero-sum dual coefficients, and far from every seen descriptor the prediction is ``b``.

There are three ways to solve it, see ``ridge_solvers``: one is for more classes than a (K, K)
system fits.

Held-out rows need no refit where one does fit. Let G be the inverse of the (bordered) matrix,
restricted to classes. For a fold I, ``P_I = W_I - (G_II)^-1 (G W)_I`` is exactly what a fit
without the classes of I predicts for them (block inversion; Rifkin & Lippert, "Notes on
Regularized Least Squares", 2007). It is linear in W: ``P = C W`` with the coefficients C of
``held_out_coefficients``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import ClassVar, Self

import numpy as np

from icis_cli.arrays import FloatArray, IntArray, unit_rows
from icis_cli.methods.base import (
    Fitted,
    Method,
    Predictor,
    SeenPairs,
    Setting,
    Training,
    Watch,
    in_blocks,
    number_of,
    rests_of,
)
from icis_cli.methods.inverses import positive_inverse
from icis_cli.methods.kernels import (
    KERNELS,
    DoubleArray,
    Kernel,
    KernelName,
    median_distance,
    wide_units,
)
from icis_cli.methods.ridge_solvers import LEAST_PENALTY, Intercept, Problem, choose_solver, solve

#: What there is to choose from by held-out classes.
_ETAS = (0.25, 0.5, 1.0, 2.0)
_PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0)

#: Kernels of so many columns are multiplied in float32, if rows of so many of their own descriptors
#: then differ by less than this share of their length.
_LARGE, _TRIED, _CLOSE = 2048, 256, 5e-6


@dataclass(frozen=True)
class KernelRows(Predictor):
    """A fitted ridge: ``row = k(a, descriptors) @ dual + offset``.

    Attributes:
        kernel: with the scale of the seen descriptors.
        penalty: lambda >= 0.
        descriptors: (n, d) of unit length: the seen classes, some of them, or the unit vectors;
            see ``ridge_solvers``.
        dual: (n, P) coefficients.
        offset: (P,) the intercept, zeros without one.

    """

    kernel: Kernel
    penalty: float
    descriptors: FloatArray
    dual: FloatArray
    offset: FloatArray

    def predict(self, descriptors: FloatArray) -> FloatArray:
        def rows_of(block: FloatArray) -> FloatArray:
            kernel = self.kernel.of_units(wide_units(block), self._wide_descriptors)
            if self._centred is None:
                wide = kernel @ self._wide_dual
                wide += self.offset
                return wide.astype(np.float32)
            centre, start = self._centred
            kernel -= centre
            rows: FloatArray = kernel.astype(np.float32) @ self.dual
            rows += start
            return rows

        return in_blocks(rows_of, descriptors, self.dual.shape[1])

    @cached_property
    def _centred(self) -> tuple[DoubleArray, FloatArray] | None:
        """A mean kernel (n,) and the row (P,) that goes with it, where float32 products will do.

        They take half the time. What the columns of a kernel have in common cancels in the
        product, so it is taken off before. Whether that is close enough is tried.
        """
        if len(self.dual) < _LARGE:
            return None
        known = self._wide_descriptors
        kernel = self.kernel.of_units(known[:_TRIED], known)
        centre: DoubleArray = kernel.mean(axis=0)
        exact = kernel @ self._wide_dual + self.offset
        start = (centre @ self._wide_dual + self.offset).astype(np.float32)
        short = (kernel - centre).astype(np.float32) @ self.dual + start
        off = np.linalg.norm(short - exact, axis=1) / np.linalg.norm(exact, axis=1)
        return (centre, start) if off.max() < _CLOSE else None

    @cached_property
    def _wide_descriptors(self) -> DoubleArray:
        return wide_units(self.descriptors)

    @cached_property
    def _wide_dual(self) -> DoubleArray:
        """The dual coefficients in float64: they are large and nearly cancel in the product."""
        return self.dual.astype(np.float64)

    def tensors(self) -> Mapping[str, FloatArray]:
        return {
            "descriptors": self.descriptors,
            "dual": self.dual,
            "offset": self.offset,
            "median": np.array([self.kernel.median], dtype=np.float32),
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, FloatArray], settings: Mapping[str, Setting]) -> Self:
        method = Ridge(
            settings["kernel"],  # type: ignore[arg-type]  # checked by the method itself
            number_of(settings["eta"]),
            number_of(settings["penalty"]),
            settings["intercept"],  # type: ignore[arg-type]
        )
        kernel = Kernel(method.kernel, method.eta, float(tensors["median"][0]))
        descriptors, dual, offset = (tensors[key] for key in ("descriptors", "dual", "offset"))
        if dual.shape != (len(descriptors), *offset.shape) or offset.ndim != 1:
            raise ValueError("the dual coefficients do not fit the descriptors")
        return cls(kernel, method.penalty, descriptors, dual, offset)


@dataclass(frozen=True)
class Ridge(Method):
    """Kernel ridge regression.

    Attributes:
        kernel: one of ``kernels.KERNELS``.
        eta: of the kernel ``rbf``, > 0.
        penalty: lambda >= 0, relative to ``k(a, a) = 1``; below 1e-6 it counts as 1e-6.
        intercept: ``"mean"``: a row that is not penalised, so that a shift of all seen rows, which
            no softmax notices, shifts the predictions alike; ``"none"``: far from every seen
            descriptor the prediction is 0.

    """

    name: ClassVar[str] = "ridge"
    predictor: ClassVar[type[Predictor]] = KernelRows
    kernel: KernelName = "rbf"
    eta: float = 0.5
    penalty: float = 0.1
    intercept: Intercept = "mean"

    def __post_init__(self) -> None:
        Kernel(self.kernel, self.eta)
        if not 0 <= self.penalty < float("inf"):
            raise ValueError(f"penalty {self.penalty}: expected a number that is not negative")
        if self.intercept not in ("mean", "none"):
            raise ValueError(f"intercept {self.intercept!r}: expected mean or none")

    def settings(self) -> Mapping[str, Setting]:
        return {
            "kernel": self.kernel,
            "eta": self.eta,
            "penalty": self.penalty,
            "intercept": self.intercept,
        }

    def candidates(self) -> Sequence[Method]:
        grid = [Ridge("rbf", eta, p, self.intercept) for eta in _ETAS for p in _PENALTIES]
        grid += [
            Ridge(kernel, self.eta, p, self.intercept)
            for kernel in KERNELS
            if kernel != "rbf"
            for p in _PENALTIES
        ]
        # Those of the own kernel come next: they share it.
        grid.sort(key=lambda ridge: (ridge.kernel, ridge.eta) != (self.kernel, self.eta))
        return (self, *(ridge for ridge in grid if ridge != self))

    def fit(
        self, pairs: SeenPairs, *, seed: int, device: str = "cpu", watch: Watch | None = None
    ) -> Fitted:
        descriptors = unit_rows(pairs.descriptors)
        # The median is rounded as it is stored, so that a restored ridge predicts the same.
        scaled = Kernel.scaled_to(self.kernel, self.eta, descriptors)
        kernel = Kernel(scaled.name, scaled.eta, float(np.float32(scaled.median)))
        solved = solve(Problem(kernel, self.penalty, self.intercept, descriptors, pairs.rows))
        predictor = KernelRows(
            kernel,
            self.penalty,
            solved.basis,
            solved.dual.astype(np.float32),
            solved.offset.astype(np.float32),
        )
        return Fitted(predictor, Training((), solved.how))

    def held_out(
        self,
        pairs: SeenPairs,
        folds: Sequence[IntArray],
        *,
        seed: int,
        device: str = "cpu",
        watch: Watch | None = None,
    ) -> FloatArray:
        if choose_solver(self.kernel, *pairs.descriptors.shape) == "nystrom":
            return super().held_out(pairs, folds, seed=seed, device=device, watch=watch)
        coefficients = self.held_out_coefficients(pairs.descriptors, folds)
        predicted: FloatArray = (coefficients @ pairs.rows.astype(np.float64)).astype(np.float32)
        return predicted

    def held_out_coefficients(
        self, descriptors: FloatArray, folds: Sequence[IntArray]
    ) -> DoubleArray:
        """Return C (K, K) such that ``C @ rows`` are the held-out rows; see the function."""
        return next(held_out_coefficients([self], descriptors, folds))


def held_out_coefficients(
    ridges: Sequence[Ridge], descriptors: FloatArray, folds: Sequence[IntArray]
) -> Iterator[DoubleArray]:
    """Yield, for each ridge, what its held-out rows are made of.

    Row k of C (K, K) holds the weights of all seen rows in the held-out prediction of class k, 0
    for the classes of its own fold, the intercept included. So every inner product of predicted
    and true rows follows from the (K, K) inner products of the rows, whatever their width. The
    median of the kernel is that of all K descriptors.

    Raises:
        ValueError: the folds do not partition ``range(K)``, or one of them leaves nothing.

    """
    parts = [fold for fold, _ in rests_of(folds, len(descriptors))]
    for inverse in bordered_inverses(ridges, descriptors):
        yield _without_own(inverse, parts)


def bordered_inverses(ridges: Sequence[Ridge], descriptors: FloatArray) -> Iterator[DoubleArray]:
    """Yield, for each ridge, the G (K, K) that its held-out rows are made of; see the module.

    Ridges in a row that differ in nothing but the penalty share their kernel: keep those together.
    """
    unit = unit_rows(descriptors)
    median = median_distance(unit) if any(ridge.kernel == "rbf" for ridge in ridges) else 1.0
    for (name, eta, intercept), group in groupby(ridges, key=_but_penalty):
        penalties = [max(ridge.penalty, LEAST_PENALTY) for ridge in group]
        yield from _inverses(Kernel(name, eta, median), intercept, unit, penalties)


def _but_penalty(ridge: Ridge) -> tuple[KernelName, float, Intercept]:
    return ridge.kernel, ridge.eta, ridge.intercept


def _inverses(
    kernel: Kernel, intercept: Intercept, unit: FloatArray, penalties: Sequence[float]
) -> Iterator[DoubleArray]:
    """Yield G (K, K) for each penalty: the inverse of the (bordered) matrix, as far as classes go.

    With the projection ``H = I - 11'/K`` that of the bordered matrix is
    ``(HKH + 11'/K + lambda I)^-1 - 11' / (K (1 + lambda))``: both vanish on 1 and agree on all that
    sums to zero. What all descriptors share is most of K, so that HKH is far better conditioned.
    """
    count, bordered = len(unit), intercept == "mean"
    if choose_solver(kernel.name, *unit.shape) == "primal":
        features = wide_units(unit)
        if bordered:
            features -= features.mean(axis=0)
            features = np.column_stack([features, np.full(count, count**-0.5)])
        inverses = _of_features(features, penalties)
    else:
        matrix = kernel(unit, unit)
        if bordered:
            mean = matrix.mean(axis=0)
            matrix -= mean
            matrix -= (mean - (mean.mean() + 1 / count))[:, None]
        inverses = _of_matrix(matrix, penalties)
    for penalty, inverse in zip(penalties, inverses, strict=True):
        if bordered:
            inverse -= 1 / (count * (1 + penalty))
        yield inverse


def _of_matrix(matrix: DoubleArray, penalties: Sequence[float]) -> Iterator[DoubleArray]:
    """Yield ``(K + lambda I)^-1`` (K, K) of a matrix K for each penalty."""
    for penalty in penalties:
        shifted = matrix.copy()
        shifted[np.diag_indices_from(shifted)] += penalty
        yield positive_inverse(shifted)


def _of_features(features: DoubleArray, penalties: Sequence[float]) -> Iterator[DoubleArray]:
    """Yield the same for ``K = F F'`` of few features F (K, n)."""
    own, shift = features.T @ features, np.eye(features.shape[1])
    for penalty in penalties:
        inverse = features @ np.linalg.solve(own + penalty * shift, -features.T)
        inverse[np.diag_indices_from(inverse)] += 1
        inverse /= penalty
        yield inverse


def _without_own(inverse: DoubleArray, folds: Sequence[IntArray]) -> DoubleArray:
    """Return ``I - (G_II)^-1 G`` for each fold I, from G (K, K)."""
    coefficients = np.empty_like(inverse)
    for fold in folds:
        own = positive_inverse(inverse[np.ix_(fold, fold)])
        coefficients[fold] = -own @ inverse[fold]
        coefficients[np.ix_(fold, fold)] = 0  # exactly: the held rows cancel
    return coefficients

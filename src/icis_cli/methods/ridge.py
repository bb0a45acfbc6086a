"""Kernel ridge regression from descriptors to rows, in closed form.

``P = k(A_u, A_s) (K + lambda I)^-1 W`` with ``K = k(A_s, A_s)`` and the rows ``W`` (K, P); see
Saunders, Gammerman & Vovk, "Ridge Regression Learning Algorithm in Dual Variables" (ICML 1998).
With the intercept ``"mean"`` a row ``b`` is added that is not penalised; the bordered system

    [K + lambda I  1] [dual]   [W]
    [1'            0] [b   ] = [0]

then has zero-sum dual coefficients, and far from every seen descriptor the prediction is ``b``.

Held-out rows need no refit. Let G be the inverse of the (bordered) matrix, restricted to classes.
For a fold I, ``P_I = W_I - (G_II)^-1 (G W)_I`` is exactly what a fit without the classes of I
predicts for them (block inversion; Rifkin & Lippert, "Notes on Regularized Least Squares", 2007).
It is linear in W: ``P = C W`` with the coefficients C of ``held_out_coefficients``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, Self

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
from icis_cli.methods.kernels import KERNELS, DoubleArray, Kernel, KernelName

Intercept = Literal["mean", "none"]

#: Smaller penalties count as this one. Of two equal descriptors with different rows it gives the
#: mean, without dual coefficients so large that float32 could no longer hold their differences.
_LEAST = 1e-6

#: What there is to choose from by held-out classes.
_ETAS = (0.25, 0.5, 1.0, 2.0)
_PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class KernelRows(Predictor):
    """A fitted ridge: ``row = k(a, descriptors) @ dual + offset``.

    Attributes:
        kernel: with the scale of the seen descriptors.
        penalty: lambda >= 0.
        descriptors: (K, d) of the seen classes, unit length.
        dual: (K, P) coefficients.
        offset: (P,) the intercept, zeros without one.

    """

    kernel: Kernel
    penalty: float
    descriptors: FloatArray
    dual: FloatArray
    offset: FloatArray

    def predict(self, descriptors: FloatArray) -> FloatArray:
        def rows_of(block: FloatArray) -> FloatArray:
            rows = self.kernel(block, self.descriptors) @ self._wide_dual + self.offset
            return rows.astype(np.float32)

        return in_blocks(rows_of, descriptors, self.dual.shape[1])

    @cached_property
    def _wide_dual(self) -> DoubleArray:
        """The dual coefficients in float64: they are large and nearly cancel in the product."""
        return self.dual.astype(np.float64)

    def variance(self, descriptors: FloatArray) -> FloatArray:
        """Return how little the seen classes say about descriptors (M, d): (M,), 0 to 1.

        The posterior variance of a Gaussian process with this kernel and noise lambda, relative
        to the prior: ``(k(a, a) - k(a, A) (K + lambda I)^-1 k(A, a)) / k(a, a)``. 0 at seen
        descriptors with a small lambda, 1 where nothing is known (a zero descriptor included).
        The intercept, being no part of the prior, does not count.
        """

        def of(block: FloatArray) -> FloatArray:
            prior = self.kernel.diagonal(block)
            across = self._whitener @ self.kernel(self.descriptors, block)
            known = np.divide((across**2).sum(axis=0), prior, out=prior * 0, where=prior > 0)
            part: FloatArray = (1 - known).clip(0, 1).astype(np.float32)[:, None]
            return part

        return in_blocks(of, descriptors, 1)[:, 0]

    @cached_property
    def _whitener(self) -> DoubleArray:
        """The inverse (K, K) of the Cholesky factor of ``K + lambda I``, made when asked for."""
        matrix = _penalised(self.kernel, self.descriptors, self.penalty)
        return np.asarray(np.linalg.inv(np.linalg.cholesky(matrix)))

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
        return (self, *(ridge for ridge in grid if ridge != self))

    def fit(
        self, pairs: SeenPairs, *, seed: int, device: str = "cpu", watch: Watch | None = None
    ) -> Fitted:
        descriptors = unit_rows(pairs.descriptors)
        # The median is rounded as it is stored, so that a restored ridge predicts the same.
        scaled = Kernel.scaled_to(self.kernel, self.eta, descriptors)
        kernel = Kernel(scaled.name, scaled.eta, float(np.float32(scaled.median)))
        rows = pairs.rows.astype(np.float64)
        offset = np.zeros(rows.shape[1])
        matrix = _penalised(kernel, descriptors, self.penalty)
        if self.intercept == "mean":
            # The bordered system, solved by elimination: one factorisation gives both parts.
            sides = np.linalg.solve(matrix, np.column_stack([rows, np.ones(len(rows))]))
            dual, ones = sides[:, :-1], sides[:, -1]
            offset = dual.sum(axis=0) / ones.sum()
            dual = dual - np.outer(ones, offset)
        else:
            dual = np.linalg.solve(matrix, rows)
        predictor = KernelRows(
            kernel,
            self.penalty,
            descriptors,
            dual.astype(np.float32),
            offset.astype(np.float32),
        )
        return Fitted(predictor, Training((), "solved in closed form"))

    def held_out(
        self,
        pairs: SeenPairs,
        folds: Sequence[IntArray],
        *,
        seed: int,
        device: str = "cpu",
        watch: Watch | None = None,
    ) -> FloatArray:
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

    One eigendecomposition serves all ridges with the same kernel and eta, and is kept until the
    next one: keep those together.

    Raises:
        ValueError: the folds do not partition ``range(K)``, or one of them leaves nothing.

    """
    parts = [fold for fold, _ in rests_of(folds, len(descriptors))]
    unit = unit_rows(descriptors)
    known: Kernel | None = None
    for ridge in ridges:
        if known is None or (known.name, known.eta) != (ridge.kernel, ridge.eta):
            known = Kernel.scaled_to(ridge.kernel, ridge.eta, unit)
            values, vectors = np.linalg.eigh(known(unit, unit))
        # No eigenvalue of a kernel is negative, but rounding may make one so.
        scale = 1 / (np.maximum(values, 0) + max(ridge.penalty, _LEAST))
        root = vectors * np.sqrt(scale)
        inverse = root @ root.T  # a product that numpy knows to be symmetric: half the work
        if ridge.intercept == "mean":
            ones = inverse.sum(axis=1)
            inverse -= np.outer(ones, ones) / ones.sum()
        yield _without_own(inverse, parts)


def _without_own(inverse: DoubleArray, folds: Sequence[IntArray]) -> DoubleArray:
    """Return ``I - (G_II)^-1 G`` for each fold I, from G (K, K)."""
    coefficients = np.empty_like(inverse)
    for fold in folds:
        coefficients[fold] = -np.linalg.solve(inverse[np.ix_(fold, fold)], inverse[fold])
        coefficients[np.ix_(fold, fold)] = 0  # exactly: the held rows cancel
    return coefficients


def _penalised(kernel: Kernel, descriptors: FloatArray, penalty: float) -> DoubleArray:
    """Return ``K + lambda I`` (K, K) of the seen descriptors, positive definite."""
    matrix = kernel(descriptors, descriptors)
    matrix[np.diag_indices_from(matrix)] += max(penalty, _LEAST)
    return matrix

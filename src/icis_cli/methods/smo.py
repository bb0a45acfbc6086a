"""SMO, similarity matrix optimisation: a new descriptor rebuilt from the seen ones.

``row_u = sum_s r_s w_s``, the weights ``r`` minimising ``|sum_s r_s a_s - a_u|^2 / 2`` among all
that are not negative and of sum 1: Xu, Xian, Wang, Schiele & Akata, "VGSE: Visually-Grounded
Semantic Embeddings for Zero-Shot Learning" (CVPR 2022).

The problem is convex. It is solved by accelerated projected gradients that start over when the
objective would rise (Beck & Teboulle 2009; O'Donoghue & Candes 2015): from equal weights, without
chance, every descriptor for itself although many go through each product together. Weights
written as a softmax have the same infimum, but reach it only in the limit, since most are 0 there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.methods.base import Predictor, Setting, number_of
from icis_cli.methods.combination import Combination, CombinedRows
from icis_cli.methods.kernels import DoubleArray

#: A descriptor is done when the objective is at most this far above its minimum.
_GAP = 1e-8


@dataclass(frozen=True)
class SmoRows(CombinedRows):
    """A fitted SMO."""

    @classmethod
    def method_of(cls, settings: Mapping[str, Setting]) -> Combination:
        return Smo(int(number_of(settings["iterations"])))


@dataclass(frozen=True)
class Smo(Combination):
    """Seen rows weighted as their descriptors rebuild the new one.

    Attributes:
        iterations: at most so many, >= 1; fewer where all are done before.

    """

    name: ClassVar[str] = "smo"
    predictor: ClassVar[type[Predictor]] = SmoRows
    iterations: int = 300

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"iterations {self.iterations}: expected at least 1")

    def settings(self) -> Mapping[str, Setting]:
        return {"iterations": self.iterations}

    def coefficients(self, descriptors: FloatArray, seen: FloatArray) -> DoubleArray:
        # Weights of sum 1 allow any origin; with the mean there, gradient steps can be far longer.
        origin = seen.mean(axis=0, dtype=np.float64)
        basis, goals = seen - origin, descriptors - origin
        return nearest_mixtures(basis @ basis.T, goals @ basis.T, self.iterations)


def nearest_mixtures(gram: DoubleArray, targets: DoubleArray, iterations: int) -> DoubleArray:
    """Minimise ``r G r / 2 - r h`` over weights r >= 0 of sum 1, for every row h of ``targets``.

    Args:
        gram: G (K, K), positive semidefinite.
        targets: (M, K).
        iterations: at most so many; the objective never rises from one to the next.

    Returns:
        Weights (M, K).

    """
    found = np.full(targets.shape, 1 / len(gram))
    step = 1 / max(np.linalg.eigvalsh(gram)[-1], np.finfo(np.float64).tiny)
    active = np.arange(len(targets))  # those that are not done
    h = targets
    r, product = found.copy(), found @ gram  # where each stands, and r G
    ahead, ahead_product = r, product  # where momentum has carried it
    speed = np.ones((len(targets), 1))
    for _ in range(iterations):
        slopes = product - h
        open_ = (r * slopes).sum(axis=1) - slopes.min(axis=1) > _GAP
        if not open_.all():
            found[active[~open_]] = r[~open_]
            if not open_.any():
                return found
            parts = (active, h, r, product, ahead, ahead_product, speed)
            active, h, r, product, ahead, ahead_product, speed = (x[open_] for x in parts)
        new = _onto_simplex(ahead - step * (ahead_product - h))
        new_product = new @ gram
        rises = (_objective(new, new_product, h) > _objective(r, product, h))[:, None]
        new, new_product = np.where(rises, r, new), np.where(rises, product, new_product)
        faster = (1 + np.sqrt(1 + 4 * speed**2)) / 2
        momentum = np.where(rises, 0, (speed - 1) / faster)
        ahead = new + momentum * (new - r)
        ahead_product = new_product + momentum * (new_product - product)
        speed = np.where(rises, 1, faster)
        r, product = new, new_product
    found[active] = r
    return found


def _objective(r: DoubleArray, product: DoubleArray, h: DoubleArray) -> DoubleArray:
    """Return ``r G r / 2 - r h`` (M,) from r, ``r G`` and h."""
    return np.asarray((r * (product / 2 - h)).sum(axis=1))


def _onto_simplex(values: DoubleArray) -> DoubleArray:
    """Project each row (M, K) onto the weights >= 0 of sum 1 (Duchi et al., ICML 2008, fig. 1)."""
    falling = -np.sort(-values, axis=1)
    excess = falling.cumsum(axis=1) - 1
    ranks = np.arange(1, values.shape[1] + 1)
    kept = (falling * ranks > excess).sum(axis=1, keepdims=True)
    threshold = np.take_along_axis(excess, kept - 1, axis=1) / kept
    return np.asarray(np.maximum(values - threshold, 0))

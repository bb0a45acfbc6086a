"""Kernels: how alike two descriptors are, as inner products in a space of features.

All see descriptors divided by their Euclidean norm; then ``k(a, a) = 1`` for every kernel and
every descriptor but zero. With ``c = a.a'`` the cosine of two descriptors:

* ``linear``: ``c``;
* ``rbf``: ``exp(-eta |a - a'|^2 / median)``, the median of the squared distances between seen
  descriptors, so that ``eta`` means the same on every set;
* ``arc-cosine``: ``(sin t + (pi - t) cos t) / pi`` with ``t = arccos c``: one wide hidden layer of
  rectified units, degree 1 of Cho & Saul, "Kernel Methods for Deep Learning" (NIPS 2009); its
  factor 1/pi is what makes ``k(a, a)`` 1. ``eta`` does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import FloatArray

KernelName = Literal["linear", "rbf", "arc-cosine"]

#: All kernels.
KERNELS: tuple[KernelName, ...] = get_args(KernelName)

DoubleArray = NDArray[np.float64]

#: Descriptors of unit length that are closer than this (squared) are the same.
_SAME = 1e-10

#: Of more descriptors than this a sample decides on the median.
_MOST = 5000


@dataclass(frozen=True)
class Kernel:
    """A kernel with its scale.

    Attributes:
        name: one of ``KERNELS``.
        eta: of ``rbf``, > 0: larger is narrower.
        median: of ``rbf``, > 0: the squared distance that counts as one unit.

    """

    name: KernelName
    eta: float = 0.5
    median: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in KERNELS:
            raise ValueError(f"kernel {self.name!r}: expected one of {', '.join(KERNELS)}")
        for field, value in (("eta", self.eta), ("median", self.median)):
            if not 0 < value < float("inf"):
                raise ValueError(f"{field} {value}: expected a positive number")

    @classmethod
    def scaled_to(cls, name: KernelName, eta: float, descriptors: FloatArray) -> Self:
        """Make a kernel whose scale is that of the seen descriptors (K, d).

        Raises:
            ValueError: an unknown name, or ``eta`` is not positive.

        """
        return cls(name, eta, median_distance(descriptors) if name == "rbf" else 1.0)

    def __call__(self, left: FloatArray, right: FloatArray) -> DoubleArray:
        """Return the kernel (M, N) of descriptors (M, d) and (N, d), in float64."""
        return self.of_units(wide_units(left), wide_units(right))

    def of_units(self, one: DoubleArray, other: DoubleArray) -> DoubleArray:
        """Return the kernel (M, N) of what :func:`wide_units` gave, (M, d) and (N, d).

        No more than two (M, N) arrays are in memory at once.
        """
        if self.name == "rbf":
            values = squared_distances(one, other)
            values *= -self.eta / self.median
            return np.asarray(np.exp(values, out=values))
        values = one @ other.T
        if self.name == "linear":
            return values
        np.clip(values, -1, 1, out=values)
        turned = np.arccos(values)
        np.subtract(np.pi, turned, out=turned)
        turned *= values  # (pi - t) cos t
        values *= values
        np.subtract(1, values, out=values)
        np.sqrt(values, out=values)  # sin t
        values += turned
        values /= np.pi
        # A zero descriptor has no angle; the kernel is proportional to both norms, hence 0.
        values[~one.any(axis=1)] = 0
        values[:, ~other.any(axis=1)] = 0
        return values

    def diagonal(self, descriptors: FloatArray) -> DoubleArray:
        """Return ``k(a, a)`` (M,) of descriptors (M, d): 1, or 0 where a zero has no features."""
        if self.name == "rbf":
            return np.ones(len(descriptors))
        return np.asarray((descriptors != 0).any(axis=1), dtype=np.float64)


def median_distance(descriptors: FloatArray) -> float:
    """Return the median squared distance between unit descriptors (K, d) that differ.

    Pairs of equal descriptors are left out, so that the median is never 0 where any two differ.
    It is 1 where all are equal: then no scale fits better than another. Above 5000 descriptors a
    fixed random 5000 stand for all: the (K, K) distances would fill the memory.
    """
    if len(descriptors) > _MOST:
        chosen = np.random.default_rng(0).choice(len(descriptors), _MOST, replace=False)
        descriptors = descriptors[chosen]
    unit = wide_units(descriptors)
    square = squared_distances(unit, unit)
    distances = np.concatenate([row[n + 1 :] for n, row in enumerate(square)])
    differing = distances[distances > _SAME]
    return float(np.median(differing, overwrite_input=True)) if len(differing) else 1.0


def squared_distances(left: NDArray[np.floating], right: NDArray[np.floating]) -> DoubleArray:
    """Return squared Euclidean distances (M, N) of (M, d) and (N, d), in float64, never below 0."""
    one, other = left.astype(np.float64, copy=False), right.astype(np.float64, copy=False)
    distances: DoubleArray = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    products = one @ other.T
    products *= 2
    distances -= products
    return np.asarray(np.maximum(distances, 0, out=distances))


def wide_units(descriptors: FloatArray) -> DoubleArray:
    """Divide descriptors (M, d) by their norms in float64; a zero one stays zero."""
    values = descriptors.astype(np.float64)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(np.divide(values, norms, out=values, where=norms > 0))

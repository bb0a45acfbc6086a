"""WAvg: the weighted average of the rows of the nearest seen classes.

``row_u = sum_s r_s w_s``, ``r`` the softmax of ``-eta |a_u - a_s|`` over the k nearest seen
classes, the Euclidean distance between descriptors of unit length: Xu, Xian, Wang, Schiele &
Akata, "VGSE: Visually-Grounded Semantic Embeddings for Zero-Shot Learning" (CVPR 2022),
with weights of sum 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.methods.base import Method, Predictor, Setting, number_of
from icis_cli.methods.combination import Combination, CombinedRows
from icis_cli.methods.kernels import DoubleArray, squared_distances


@dataclass(frozen=True)
class WavgRows(CombinedRows):
    """A fitted WAvg."""

    @classmethod
    def method_of(cls, settings: Mapping[str, Setting]) -> Combination:
        return Wavg(int(number_of(settings["k"])), number_of(settings["eta"]))


@dataclass(frozen=True)
class Wavg(Combination):
    """Seen rows weighted by nearness.

    Attributes:
        k: how many of the nearest seen classes count, >= 1; all where there are fewer.
        eta: >= 0; larger gives the nearest more.

    """

    name: ClassVar[str] = "wavg"
    predictor: ClassVar[type[Predictor]] = WavgRows
    k: int = 5
    eta: float = 5.0

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k {self.k}: expected at least 1")
        if not 0 <= self.eta < float("inf"):
            raise ValueError(f"eta {self.eta}: expected a number that is not negative")

    def settings(self) -> Mapping[str, Setting]:
        return {"k": self.k, "eta": self.eta}

    def candidates(self) -> Sequence[Method]:
        grid = [Wavg(k, eta) for k in (3, 5, 10) for eta in (1.0, 5.0, 20.0)]
        return (self, *(one for one in grid if one != self))

    def coefficients(self, descriptors: FloatArray, seen: FloatArray) -> DoubleArray:
        distances = np.sqrt(squared_distances(descriptors, seen))
        # stable: among equally distant classes the first ones count, on every machine
        nearest = distances.argsort(axis=1, kind="stable")[:, : self.k]
        near = np.take_along_axis(distances, nearest, axis=1)
        weights = np.exp(-self.eta * (near - near[:, :1]))
        weights /= weights.sum(axis=1, keepdims=True)
        coefficients = np.zeros_like(distances)
        np.put_along_axis(coefficients, nearest, weights, axis=1)
        return coefficients

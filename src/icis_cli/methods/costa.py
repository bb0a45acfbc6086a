"""COSTA: every seen row counts as much as its class resembles the new one.

``row_u = sum_s n(a_u . a_s) w_s``, ``n`` scaling the similarities to sum 1: Mensink, Gavves &
Snoek, "COSTA: Co-Occurrence Statistics for Zero-Shot Classification" (CVPR 2014), with
descriptors in place of label co-occurrences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.methods.base import Predictor, Setting
from icis_cli.methods.combination import Combination, CombinedRows
from icis_cli.methods.kernels import DoubleArray


@dataclass(frozen=True)
class CostaRows(CombinedRows):
    """A fitted COSTA."""

    @classmethod
    def method_of(cls, settings: Mapping[str, Setting]) -> Combination:
        return Costa()


@dataclass(frozen=True)
class Costa(Combination):
    """Seen rows weighted by the cosine of the descriptors.

    A negative cosine counts as 0: a class may be unlike another, but its row says nothing then,
    and weights of both signs could have a sum near 0. Where no cosine is positive, all seen
    classes count the same.
    """

    name: ClassVar[str] = "costa"
    predictor: ClassVar[type[Predictor]] = CostaRows

    def settings(self) -> Mapping[str, Setting]:
        return {}

    def coefficients(self, descriptors: FloatArray, seen: FloatArray) -> DoubleArray:
        similar = np.maximum(descriptors @ seen.T, 0).astype(np.float64)
        totals = similar.sum(axis=1, keepdims=True)
        uniform = np.full_like(similar, 1 / len(seen))
        return np.asarray(np.divide(similar, totals, out=uniform, where=totals > 0))

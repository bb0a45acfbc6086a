"""Two controls that learn nothing: any method worth its name must beat both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from icis_cli.arrays import FloatArray, unit_rows
from icis_cli.methods.base import (
    Fitted,
    Method,
    Predictor,
    SeenPairs,
    Setting,
    Training,
    Watch,
    in_blocks,
)


@dataclass(frozen=True)
class NearestRow(Predictor):
    """Copies of seen rows: descriptors (K, d), unit length, and rows (K, P)."""

    descriptors: FloatArray
    rows: FloatArray

    def predict(self, descriptors: FloatArray) -> FloatArray:
        def rows_of(block: FloatArray) -> FloatArray:
            rows: FloatArray = self.rows[(unit_rows(block) @ self.descriptors.T).argmax(axis=1)]
            return rows

        return in_blocks(rows_of, descriptors, self.rows.shape[1])

    def tensors(self) -> Mapping[str, FloatArray]:
        return {"descriptors": self.descriptors, "rows": self.rows}

    @classmethod
    def restore(cls, tensors: Mapping[str, FloatArray], settings: Mapping[str, Setting]) -> Self:
        descriptors, rows = tensors["descriptors"], tensors["rows"]
        if len(descriptors) != len(rows):
            raise ValueError("the rows do not fit the descriptors")
        return cls(descriptors, rows)


@dataclass(frozen=True)
class Nearest(Method):
    """The row of the seen class with the nearest descriptor (cosine)."""

    name: ClassVar[str] = "nearest"
    predictor: ClassVar[type[Predictor]] = NearestRow

    def settings(self) -> Mapping[str, Setting]:
        return {}

    def fit(
        self, pairs: SeenPairs, *, seed: int, device: str = "cpu", watch: Watch | None = None
    ) -> Fitted:
        return Fitted(
            NearestRow(unit_rows(pairs.descriptors), pairs.rows), Training((), "nothing to train")
        )


@dataclass(frozen=True)
class MeanRow(Predictor):
    """One row (P,) for every class."""

    row: FloatArray

    def predict(self, descriptors: FloatArray) -> FloatArray:
        return np.repeat(self.row[None], len(descriptors), axis=0)

    def tensors(self) -> Mapping[str, FloatArray]:
        return {"row": self.row}

    @classmethod
    def restore(cls, tensors: Mapping[str, FloatArray], settings: Mapping[str, Setting]) -> Self:
        return cls(tensors["row"])


@dataclass(frozen=True)
class Mean(Method):
    """The mean of all seen rows."""

    name: ClassVar[str] = "mean"
    predictor: ClassVar[type[Predictor]] = MeanRow

    def settings(self) -> Mapping[str, Setting]:
        return {}

    def fit(
        self, pairs: SeenPairs, *, seed: int, device: str = "cpu", watch: Watch | None = None
    ) -> Fitted:
        return Fitted(MeanRow(pairs.rows.mean(axis=0)), Training((), "nothing to train"))

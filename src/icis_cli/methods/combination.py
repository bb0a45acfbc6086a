"""What COSTA, WAvg and SMO share: rows that are weighted sums of seen rows.

``row = coefficients @ seen rows``, the coefficients from descriptors alone, not negative and of
sum 1. Nothing is trained; a fit keeps the seen pairs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

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
from icis_cli.methods.kernels import DoubleArray


@dataclass(frozen=True)
class CombinedRows(Predictor):
    """Weighted sums of seen rows.

    Attributes:
        method: knows the coefficients.
        descriptors: (K, d) of the seen classes, unit length.
        rows: (K, P).

    """

    method: Combination
    descriptors: FloatArray
    rows: FloatArray

    def coefficients(self, descriptors: FloatArray) -> DoubleArray:
        """Return the weights (M, K) of the seen rows for descriptors (M, d)."""
        return self.method.coefficients(unit_rows(descriptors), self.descriptors)

    def predict(self, descriptors: FloatArray) -> FloatArray:
        def rows_of(block: FloatArray) -> FloatArray:
            # float32, as the rows are: the weights are positive, so nothing cancels
            combined: FloatArray = self.coefficients(block).astype(np.float32) @ self.rows
            return combined

        return in_blocks(rows_of, descriptors, self.rows.shape[1])

    def tensors(self) -> Mapping[str, FloatArray]:
        return {"descriptors": self.descriptors, "rows": self.rows}

    @classmethod
    def restore(cls, tensors: Mapping[str, FloatArray], settings: Mapping[str, Setting]) -> Self:
        descriptors, rows = tensors["descriptors"], tensors["rows"]
        if len(descriptors) != len(rows):
            raise ValueError("the rows do not fit the descriptors")
        return cls(cls.method_of(settings), descriptors, rows)

    @classmethod
    @abstractmethod
    def method_of(cls, settings: Mapping[str, Setting]) -> Combination:
        """Make the method again of its settings.

        Raises:
            KeyError, ValueError: one is missing or wrong.

        """


class Combination(Method):
    """A method whose rows are weighted sums of seen rows."""

    @abstractmethod
    def coefficients(self, descriptors: FloatArray, seen: FloatArray) -> DoubleArray:
        """Return the weights (M, K), each row of sum 1.

        Args:
            descriptors: (M, d), unit length (or zero).
            seen: (K, d), the same.

        """

    def fit(
        self, pairs: SeenPairs, *, seed: int, device: str = "cpu", watch: Watch | None = None
    ) -> Fitted:
        kind: type[CombinedRows] = self.predictor  # type: ignore[assignment]
        fitted = kind(self, unit_rows(pairs.descriptors), pairs.rows)
        return Fitted(fitted, Training((), "nothing to train"))

"""The spaces in which the networks work: how descriptors go in, and how rows come out.

The K seen rows span at most K dimensions of the D+1. With decoders that start at zero nothing
ever points out of that span, so rows can be written in an orthonormal basis of it without loss:
150 numbers a row instead of 4097 on CUB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from icis_cli.arrays import FloatArray, unit_rows
from icis_cli.lazy import blocks

#: How descriptors go into the networks: as they are, or divided by their Euclidean norm.
INPUTS = ("as-given", "unit")


def enter_inputs(kind: str, descriptors: FloatArray) -> FloatArray:
    """Return descriptors (M, d) as the networks see them.

    Raises:
        ValueError: ``kind`` is none of ``INPUTS``.
    """
    if kind not in INPUTS:
        raise ValueError(kind)
    return unit_rows(descriptors) if kind == "unit" else descriptors


@dataclass(frozen=True)
class RowSpace:
    """Rows as the networks see them: ``row = middle + scale * coordinates @ basis``.

    Attributes:
        middle: (P,).
        scale: > 0.
        basis: (r, P) orthonormal rows, or None where coordinates are the rows' own entries.

    """

    middle: FloatArray
    scale: float
    basis: FloatArray | None

    @classmethod
    def as_given(cls, rows: FloatArray) -> Self:
        """The rows (K, P) themselves."""
        return cls(np.zeros(rows.shape[1], dtype=np.float32), 1.0, None)

    @classmethod
    def scaled(cls, rows: FloatArray) -> Self:
        """The rows (K, P) around their mean, so scaled that their root mean square norm is 1."""
        middle = rows.mean(axis=0)
        return cls(middle, _scale(rows - middle), None)

    @classmethod
    def span_of(cls, rows: FloatArray, generator: np.random.Generator) -> Self:
        """The span of the rows (K, P) around their mean, in randomly rotated coordinates.

        The rotation spreads what matters over all coordinates, which suits Adam: its steps are
        of equal size in each. The scale makes the root mean square norm of a row 1.
        """
        middle = rows.mean(axis=0)
        centred = rows - middle
        rank = min(rows.shape)
        rotation, _ = np.linalg.qr(generator.standard_normal((rank, rank)))
        if rows.shape[0] < rows.shape[1]:
            directions, _ = np.linalg.qr(centred.T.astype(np.float64))
            basis = rotation @ directions.T
        else:
            basis = rotation
        return cls(middle, _scale(centred), basis.astype(np.float32))

    def enter(self, rows: FloatArray) -> FloatArray:
        """Map rows (M, P) into the space, (M, r)."""
        centred = (rows - self.middle) / np.float32(self.scale)
        return centred if self.basis is None else np.asarray(centred @ self.basis.T)

    def leave(self, coordinates: FloatArray) -> FloatArray:
        """Map coordinates (M, r) back to rows (M, P)."""
        centred = coordinates if self.basis is None else np.asarray(coordinates @ self.basis)
        return centred * np.float32(self.scale) + self.middle

    def tensors(self) -> Mapping[str, FloatArray]:
        """Return the space as tensors."""
        found = {
            "rows.middle": self.middle,
            "rows.scale": np.array([self.scale], dtype=np.float32),
        }
        return found if self.basis is None else {**found, "rows.basis": self.basis}

    @classmethod
    def restore(cls, tensors: Mapping[str, FloatArray]) -> Self:
        """Make a space of what :meth:`tensors` gave."""
        return cls(
            tensors["rows.middle"], float(tensors["rows.scale"][0]), tensors.get("rows.basis")
        )


def _scale(centred: FloatArray) -> float:
    """Return the root mean square norm of rows (K, P), 1 where all are zero."""
    total = sum(float((block.astype(np.float64) ** 2).sum()) for _, block in blocks(centred))
    return float(np.sqrt(total / len(centred))) or 1.0

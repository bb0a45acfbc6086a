"""Matrices that are made block by block, so that a million rows never lie in memory at once.

Whatever needs all rows of a large matrix goes over :func:`blocks` of it. Blocks of a matrix that is
mapped from a file are let go again after use, so that memory does not grow with the file.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import FloatArray, IntArray

#: Rows per block.
BLOCK = 4096

#: Each of so many rows of a map may bring 64 KB of the file into memory.
_SCATTERED = 512

#: Matrices up to this many numbers (128 MiB) are made at once and kept.
_KEPT = 1 << 25


@dataclass(frozen=True)
class LazyMatrix:
    """A matrix (N, width) of float32 that is computed where it is looked at.

    Attributes:
        count: N.
        width: columns.
        make: returns the rows of a slice, or at given positions; the same ones every time.

    """

    count: int
    width: int
    make: Callable[[slice | IntArray], FloatArray]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: slice | IntArray) -> FloatArray:
        return self.make(rows)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, width)."""
        return self.count, self.width


#: Both know their shape and give the rows of a slice, or at positions.
Matrix = FloatArray | LazyMatrix


def kept_if_small(matrix: LazyMatrix) -> Matrix:
    """Return the matrix itself, or all of it as an array where that needs little memory."""
    if matrix.count * matrix.width > _KEPT:
        return matrix
    parts = [block for _, block in blocks(matrix)]
    empty = np.empty((0, matrix.width), dtype=np.float32)
    return np.concatenate(parts) if parts else empty


def rows_at(values: FloatArray, rows: Sequence[int]) -> FloatArray:
    """Return rows of a matrix by their numbers, without a copy where they are a run of them."""
    numbers = np.asarray(rows, dtype=np.int64)
    if len(numbers) and (np.diff(numbers) == 1).all():
        return values[numbers[0] : numbers[-1] + 1]
    return values[numbers]


def looked_up(values: FloatArray, rows: slice | IntArray) -> FloatArray:
    """Return rows of a matrix; of one that is mapped, the rows before them are let go of."""
    forget(values)
    if isinstance(rows, slice) or not len(rows):
        return values[rows]
    parts = []
    for start in range(0, len(rows), _SCATTERED):
        parts.append(values[rows[start : start + _SCATTERED]])
        forget(values)
    return np.concatenate(parts)


def blocks(matrix: Matrix, size: int = BLOCK) -> Iterator[tuple[slice, FloatArray]]:
    """Yield all rows of a matrix in order, ``size`` at a time, with where they are."""
    for start in range(0, len(matrix), size):
        part = slice(start, min(start + size, len(matrix)))
        yield part, matrix[part]
        if not isinstance(matrix, LazyMatrix):
            forget(matrix)


def row_keys(matrix: Matrix) -> Iterator[bytes]:
    """Yield the bytes of each row: rows with the same are equal, for -0 counts as 0."""
    for _, block in blocks(matrix):
        for row in np.ascontiguousarray(block, dtype=np.float32) + np.float32(0):
            yield row.tobytes()


def forget(values: NDArray[Any]) -> None:
    """Let go of the memory of an array that is mapped from a file; it is read again when needed.

    Does nothing for other arrays, and for maps that could have been written to.
    """
    base: Any = values
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if isinstance(base, mmap.mmap) and not values.flags.writeable and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)

"""What the variables of a MATLAB file must be: whole numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from icis_cli.arrays import IntArray
from icis_cli.errors import FeatureError


def whole_numbers(path: Path, name: str, array: Any) -> IntArray:
    """Return a vector (n, 1), (1, n) or (n,) of whole numbers as (n,) int64; n >= 1.

    Raises:
        FeatureError: another shape, no numbers, fractions, NaN, or beyond 2^53.

    """
    if (
        not isinstance(array, np.ndarray)
        or array.dtype.kind not in "iuf"
        or not array.size
        or array.size != max(array.shape, default=0)
    ):
        raise FeatureError(
            path, f"{name!r} is {described(array)}, expected whole numbers (n, 1), n at least 1"
        )
    flat = array.ravel()
    if flat.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            odd = np.flatnonzero(~(np.abs(flat) < 2.0**53) | (flat != np.rint(flat)))
    else:
        odd = np.flatnonzero(flat.astype(np.float64) > 2.0**53)
    if len(odd):
        raise FeatureError(
            path,
            f"{name!r} holds {flat[odd[0]]} at position {odd[0] + 1} (and {len(odd) - 1} more such "
            "values), expected whole numbers",
        )
    return flat.astype(np.int64)


def described(array: Any) -> str:
    """Return shape and dtype of what a file holds, for a message."""
    if isinstance(array, np.ndarray):
        return f"{array.shape} {array.dtype}"
    return "a text" if isinstance(array, str) else type(array).__name__

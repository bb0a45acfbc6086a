"""Values of features: whether they fit float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.errors import FeatureError
from icis_cli.lazy import forget

_LARGEST = float(np.finfo(np.float32).max)

#: Numbers that are checked at once; they stay in the cache.
_CHECKED = 2**18


def require_float32(values: NDArray[Any], path: Path | str) -> None:
    """Refuse values that are not finite, or would not be in float32.

    Takes one pass over the values and no memory worth mentioning.

    Args:
        values: (N, D), any float dtype; D >= 1.
        path: where they were read from.

    Raises:
        FeatureError: names the first such sample.

    """
    samples, width = values.shape
    step = max(1, _CHECKED // width)
    for start in range(0, samples, step):
        block = np.asarray(values[start : start + step])
        # As Python's floats: the limit would be infinite as a float16.
        fits = float(block.max()) <= _LARGEST and float(block.min()) >= -_LARGEST  # NaN does not
        if not fits:
            for sample, row in enumerate(block, start):
                problem = problem_of_values(row, sample)
                if problem is not None:
                    raise FeatureError(path, problem, "compute these features anew")
        forget(values)


def problem_of_values(values: NDArray[Any], sample: int) -> str | None:
    """Say what is wrong with the features (D,) of a sample, if anything is.

    Args:
        values: any float dtype.
        sample: number of the sample, for the message.

    """
    if not np.isfinite(values).all():
        return f"'features' holds NaN or infinite values, first in sample {sample} (counted from 0)"
    largest = max(float(values.max()), -float(values.min()))
    if largest > _LARGEST:
        return (
            f"'features' holds {largest:g} (or its negative), expected numbers that fit float32; "
            f"first in sample {sample} (counted from 0)"
        )
    return None

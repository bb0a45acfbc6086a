"""Features through a head, block by block: one matrix product each, in a buffer that is reused.

In memory are one block of features and one of logits, however many samples there are; of a
memory-mapped file the pages of one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import FloatArray
from icis_cli.errors import FeatureError
from icis_cli.evaluation.feature_values import problem_of_values
from icis_cli.evaluation.spread import ONE_THREAD, Spread
from icis_cli.lazy import forget

#: Larger logits overflow, or their differences do.
_LARGEST = float(np.finfo(np.float32).max) / 2

#: Samples of a block, where neither its logits nor its features are too many numbers.
_SAMPLES = 4096
#: With fewer samples a product waits for the rows of the head, which it reads once for each block.
_FEWEST_SAMPLES = 32
#: Numbers in a block of logits, and in a block of features.
_NUMBERS = 2**24


def block_size(classes: int, width: int) -> int:
    """Return how many samples go into one matrix product.

    The sizes of the head alone decide: in a block of another size the last bit of a logit may
    differ.

    Args:
        classes: K+U.
        width: D.

    """
    return max(_FEWEST_SAMPLES, min(_SAMPLES, _NUMBERS // max(classes, width)))


@dataclass(frozen=True)
class Blocks:
    """Features and the rows of a head, to be multiplied.

    Attributes:
        features: (N, D) inputs of the head, any float dtype; N >= 1.
        weight: (C, D).
        bias: (C,) or None.
        size: samples per matrix product.
        path: of the features, for errors.

    """

    features: NDArray[Any]
    weight: FloatArray
    bias: FloatArray | None
    size: int
    path: Path | str = "features"

    @property
    def starts(self) -> range:
        """The first sample of each block."""
        return range(0, len(self.features), self.size)

    def stop(self, start: int) -> int:
        """Return the end of the block that begins with sample ``start``."""
        return min(start + self.size, len(self.features))

    def logits(
        self, starts: Sequence[int], spread: Spread = ONE_THREAD
    ) -> Iterator[tuple[slice, FloatArray]]:
        """Yield the samples of each block, and its logits (B, C); the next block overwrites them.

        Args:
            starts: first samples of the blocks to multiply.
            spread: how all but the products is done.

        Raises:
            FeatureError: a logit is not finite, be it because of a feature or of its size alone.

        """
        most = min(self.size, len(self.features))
        logits = np.empty((most, len(self.weight)), np.float32)
        copies: FloatArray | None = None
        for start in starts:
            values = np.asarray(self.features[start : start + self.size])
            if not _multiplies_as_it_is(values):
                if copies is None:
                    copies = np.empty((most, values.shape[1]), np.float32)
                spread.over(values, partial(_copy, values, copies))
                values = copies[: len(values)]
            product = logits[: len(values)]
            # No pass over the features looks for NaN and infinity: whatever the weight, their
            # products are NaN or infinite, so that the logits tell.
            with np.errstate(over="ignore", invalid="ignore"):
                np.matmul(values, self.weight.T, out=product)
            if not all(spread.over(product, partial(_finish, product, self.bias))):
                raise self._refusal(start, product)
            yield slice(start, self.stop(start)), product
            forget(self.features)

    def _refusal(self, start: int, logits: FloatArray) -> FeatureError:
        """Say what is wrong with the first odd sample of a block."""
        sample = start + int(np.flatnonzero(~comparable(logits))[0])
        problem = problem_of_values(self.features[sample], sample)
        if problem is not None:
            return FeatureError(self.path, problem, "compute these features anew")
        return FeatureError(
            self.path,
            f"the logits of sample {sample} (counted from 0) are too large for float32",
            "its features, or the rows of the head, are far too large: compute them anew",
        )


def comparable(logits: FloatArray) -> NDArray[np.bool_]:
    """Tell of each sample (B,) whether its logits (B, C) and their differences are finite."""
    return np.asarray((np.abs(logits) <= _LARGEST).all(axis=1))  # not so for NaN, too


def _multiplies_as_it_is(values: NDArray[Any]) -> bool:
    """Tell whether numpy hands values to BLAS without a copy of its own."""
    return values.dtype == np.float32 and values.flags.aligned and values.flags.c_contiguous


def _copy(values: NDArray[Any], copies: FloatArray, run: slice) -> None:
    with np.errstate(over="ignore", invalid="ignore"):  # each thread has a state of its own
        copies[run] = values[run]


def _finish(product: FloatArray, bias: FloatArray | None, run: slice) -> bool:
    """Add the bias to some rows of a product, and tell whether all their logits can be compared."""
    rows = product[run]
    if bias is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            rows += bias
    return bool(rows.max() <= _LARGEST and rows.min() >= -_LARGEST)  # not so for NaN, too

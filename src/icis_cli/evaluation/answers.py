"""What a head answers for each sample: one matrix product per block, kept as a few numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.errors import FeatureError

#: Larger logits overflow, or their differences do.
_LARGEST = float(np.finfo(np.float32).max) / 2


@dataclass(frozen=True)
class Answers:
    """Facts about N samples under a head of K+U rows, seen first.

    Attributes:
        labels: (N,) true head row.
        seen, unseen: (N,) best head row among the seen, and among the unseen classes.
        margin: (N,) best seen logit minus best unseen logit.
        rank: (N,) how many classes of all score above the true one (0: it is the answer).
        own_rank: (N,) the same among the classes of the true one's side, seen or unseen.

    """

    labels: IntArray
    seen: IntArray
    unseen: IntArray
    margin: FloatArray
    rank: IntArray
    own_rank: IntArray

    @property
    def joint(self) -> IntArray:
        """(N,) the answer among all classes; ties go to the seen class, as argmax does."""
        return np.where(self.margin < 0, self.unseen, self.seen)


def answers_of_logits(logits: FloatArray, labels: IntArray, seen_classes: int) -> Answers:
    """Reduce logits (N, K+U) to :class:`Answers`; U must not be 0."""
    index = np.arange(len(logits))
    seen, unseen = logits[:, :seen_classes], logits[:, seen_classes:]
    best_seen, best_unseen = seen.argmax(axis=1), unseen.argmax(axis=1)
    margin = seen[index, best_seen] - unseen[index, best_unseen]
    # Ties rank as argmax orders them: the lower row first.
    true = logits[index, labels][:, None]
    above = logits > true
    above |= (logits == true) & (np.arange(logits.shape[1]) < labels[:, None])
    above_seen = above[:, :seen_classes].sum(axis=1)
    above_unseen = above[:, seen_classes:].sum(axis=1)
    return Answers(
        labels,
        best_seen,
        best_unseen + seen_classes,
        margin,
        above_seen + above_unseen,
        np.where(labels < seen_classes, above_seen, above_unseen),
    )


def joined(parts: Iterable[Answers]) -> Answers:
    """Concatenate the answers of several blocks."""
    columns = zip(
        *((a.labels, a.seen, a.unseen, a.margin, a.rank, a.own_rank) for a in parts), strict=True
    )
    return Answers(*(np.concatenate(column) for column in columns))


def answer_features(
    features: NDArray[Any],
    labels: IntArray,
    weight: FloatArray,
    bias: FloatArray | None,
    seen_classes: int,
    block: int = 4096,
    path: Path | str = "features",
) -> Answers:
    """Run a head over features.

    Args:
        features: (N, D) inputs of the head, any float dtype; N >= 1.
        labels: (N,) true head rows.
        weight: (K+U, D).
        bias: (K+U,) or None.
        seen_classes: K.
        block: samples per matrix product.
        path: of the features, for errors.

    Raises:
        FeatureError: a logit is not finite.

    """
    return joined(
        answers_of_logits(logits, labels[start : start + block], seen_classes)
        for start, logits in logits_of(features, weight, bias, block, path)
    )


def logits_of(
    features: NDArray[Any],
    weight: FloatArray,
    bias: FloatArray | None,
    block: int,
    path: Path | str,
) -> Iterator[tuple[int, FloatArray]]:
    """Yield the first sample of each block with the block's logits; see :func:`answer_features`.

    Raises:
        FeatureError: a logit is not finite.

    """
    for start in range(0, len(features), block):
        with np.errstate(over="ignore", invalid="ignore"):  # told below
            logits = features[start : start + block].astype(np.float32) @ weight.T
            if bias is not None:
                logits += bias
        if not (logits.max() <= _LARGEST and logits.min() >= -_LARGEST):  # NaN, too
            odd = ~(np.abs(logits) <= _LARGEST).all(axis=1)
            raise FeatureError(
                path,
                f"the logits of sample {start + int(np.flatnonzero(odd)[0])} (counted from 0) are "
                "too large for float32",
                "its features, or the rows of the head, are far too large: compute them anew",
            )
        yield start, logits

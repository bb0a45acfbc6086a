"""What a head answers for each sample: one matrix product per block, kept as a few numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.evaluation.blocks import Blocks, block_size
from icis_cli.evaluation.spread import ONE_THREAD, Spread, spread_over_cores
from icis_cli.workers import ALONE, Workers

#: Told after every block: samples done and samples in all, both of this process alone.
SampleWatch = Callable[[int, int], None]


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


def answers_of_logits(
    logits: FloatArray, labels: IntArray, seen_classes: int, spread: Spread = ONE_THREAD
) -> Answers:
    """Reduce logits (N, K+U) to :class:`Answers`; neither K nor U must be 0."""
    return joined(spread.over(logits, partial(_answers, logits, labels, seen_classes)))


def _answers(logits: FloatArray, labels: IntArray, seen_classes: int, run: slice) -> Answers:
    """Reduce some rows of the logits."""
    logits, labels = logits[run], labels[run]
    index = np.arange(len(logits))
    best_seen = logits[:, :seen_classes].argmax(axis=1)
    best_unseen = logits[:, seen_classes:].argmax(axis=1) + seen_classes
    margin = logits[index, best_seen] - logits[index, best_unseen]
    # Where the true class is the answer, nothing is above it.
    wrong = np.flatnonzero(np.where(margin < 0, best_unseen, best_seen) != labels)
    rank, own_rank = np.zeros_like(labels), np.zeros_like(labels)
    above_seen, above_unseen = _above(logits[wrong], labels[wrong], seen_classes)
    rank[wrong] = above_seen + above_unseen
    own_rank[wrong] = np.where(labels[wrong] < seen_classes, above_seen, above_unseen)
    return Answers(labels, best_seen, best_unseen, margin, rank, own_rank)


def _above(logits: FloatArray, labels: IntArray, seen_classes: int) -> tuple[IntArray, IntArray]:
    """Count the seen and the unseen classes above the true one; ties rank as argmax orders them."""
    true = logits[np.arange(len(logits)), labels][:, None]
    above = logits == true
    if np.count_nonzero(above) > len(logits):  # more than the true classes themselves
        above &= np.arange(logits.shape[1]) < labels[:, None]
        above |= logits > true
    else:
        np.greater(logits, true, out=above)
    return (
        np.count_nonzero(above[:, :seen_classes], axis=1),
        np.count_nonzero(above[:, seen_classes:], axis=1),
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
    block: int | None = None,
    path: Path | str = "features",
    workers: Workers = ALONE,
    watch: SampleWatch | None = None,
) -> Answers:
    """Run a head over features.

    Args:
        features: (N, D) inputs of the head, any float dtype; N >= 1.
        labels: (N,) true head rows.
        weight: (K+U, D).
        bias: (K+U,) or None.
        seen_classes: K.
        block: samples per matrix product; None for as many as suit the sizes.
        path: of the features, for errors.
        workers: processes that share the blocks; all get the answers for all N samples, the very
            ones that one process finds.
        watch: told about every block.

    Raises:
        FeatureError: a logit is not finite, be it because of a feature or of its size alone.

    """
    blocks = Blocks(features, weight, bias, block or block_size(*weight.shape), path)
    with spread_over_cores() as spread:
        return answer_blocks(
            blocks,
            lambda logits, samples: answers_of_logits(
                logits, labels[samples], seen_classes, spread
            ),
            spread,
            workers,
            watch,
        )


def answer_blocks(
    blocks: Blocks,
    answer: Callable[[FloatArray, slice], Answers],
    spread: Spread = ONE_THREAD,
    workers: Workers = ALONE,
    watch: SampleWatch | None = None,
) -> Answers:
    """Answer all samples, each process its part of the blocks.

    Args:
        blocks: to multiply.
        answer: takes the logits (B, C) of a block and which samples they are of.
        spread: how the logits are finished.
        workers: processes that share the blocks.
        watch: told about every block of this process.

    Returns:
        Answers for all samples, in order, in every process.

    Raises:
        FeatureError: as in :func:`answer_features`.

    """
    starts = workers.part(blocks.starts)
    first = starts[0] if starts else 0
    total = blocks.stop(starts[-1]) - first if starts else 0
    parts = []
    for samples, logits in blocks.logits(starts, spread):
        parts.append(answer(logits, samples))
        if watch is not None:
            watch(samples.stop - first, total)
    return joined(part for share in workers.gather(parts) for part in share)

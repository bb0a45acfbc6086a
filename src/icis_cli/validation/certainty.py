"""How sure a new class's row is, before any image of it has been seen.

Two things about a predicted row say how well images of its class will be told from those of other
new classes: how near it comes to some seen row (a class that resembles none gets a vague mixture),
and how far it is from the mean row (a short row is an undecided one). Both are measured on held-out
seen classes, whose true rows are known: their standard scores are added, and a line through the
true cosines turns the sum into an expected cosine. ``docs/accuracy.md`` shows how well this ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import FloatArray, IntArray, unit_rows
from icis_cli.lazy import BLOCK, Matrix, blocks
from icis_cli.validation.heldout import HeldOut, mean_without

#: So many seen classes stand for all when likeness among them is judged.
_MOST = 4096
#: How far a descriptor must be from the nearest seen one, in robust standard deviations of how far
#: seen ones are from each other, to be called unlike them; and farther than this share of them.
_FAR, _UNLIKE = 3.0, 0.01
_FEWEST = 20
#: A sign that varies by less between held-out classes is the same for all: float32 tells no more.
_ROUNDING = 1e-5

#: Told about a block of rows (B, P), and where it is among all.
BlockWatch = Callable[[slice, FloatArray], None]


@dataclass(frozen=True)
class Certainty:
    """An estimate for each of M new classes.

    Attributes:
        standing: (M,) share of held-out seen classes whose rows looked less sure, 0..1.
        cosine: (M,) expected cosine of the row with the true one, around the mean row, -1..1.
        nearest: (M,) the seen class (head row) with the most similar descriptor.
        similarity: (M,) cosine of both descriptors.
        unlike: (M,) whether its descriptor is less like any seen one than seen ones are like each
            other, by far, and its row looks less sure than most; always False below 20 seen
            classes.

    """

    standing: FloatArray
    cosine: FloatArray
    nearest: IntArray
    similarity: FloatArray
    unlike: NDArray[np.bool_]


def assess(
    seen: FloatArray,
    descriptors: FloatArray,
    held: HeldOut,
    new: Matrix,
    new_descriptors: Matrix,
    width: int,
    *,
    watch: BlockWatch | None = None,
) -> Certainty:
    """Estimate how good the rows of new classes are.

    Args:
        seen: (K, P) rows of the head.
        descriptors: (K, d) of the seen classes, as the method got them.
        held: held-out predictions of the same method.
        new: (M, P) predicted rows, before calibration; made once, block by block.
        new_descriptors: (M, d).
        width: D; where P is larger, the last column is the bias and does not count.
        watch: told about every block of ``new``, with where it is.

    """
    middle = seen[:, :width].mean(axis=0)
    # Of a large catalogue the rows that were held out stand for all seen rows.
    directions = unit_rows(seen[held.classes, :width] - middle)
    away = held.rows[:, :width] - middle
    similar = unit_rows(away) @ directions.T
    true = _true_cosines(seen[:, :width], held, width)
    for fold in held.folds:  # a fold's own rows were not there when it was predicted
        similar[np.ix_(fold, fold)] = -1
    signs = np.column_stack([similar.max(axis=1), _log_length(away)])
    centre, spread = signs.mean(axis=0), signs.std(axis=0)
    spread = np.where(spread > _ROUNDING, spread, 1)
    score = ((signs - centre) / spread).sum(axis=1)

    new_score = np.empty(len(new))
    nearest = np.empty(len(new), dtype=np.int64)
    similarity = np.empty(len(new), dtype=np.float32)
    unit = unit_rows(descriptors)
    for part, block in blocks(new):
        if watch is not None:
            watch(part, block)
        away = block[:, :width] - middle
        likeness = (unit_rows(away) @ directions.T).max(axis=1)
        own_signs = np.column_stack([likeness, _log_length(away)])
        new_score[part] = ((own_signs - centre) / spread).sum(axis=1)
    for part, block in blocks(new_descriptors, _rows_against(len(unit))):
        alike = unit_rows(block) @ unit.T
        nearest[part] = alike.argmax(axis=1)
        similarity[part] = alike[np.arange(len(block)), nearest[part]]
    standing = np.searchsorted(np.sort(score), new_score) / len(score)
    return Certainty(
        standing.astype(np.float32),
        _expected(score, true, new_score).astype(np.float32),
        nearest,
        similarity,
        _unlike(unit, similarity) & (standing < 0.5),
    )


def _rows_against(count: int) -> int:
    """Return how many rows are compared with ``count`` others at a time: 64 MB of similarities."""
    return max(64, min(BLOCK, (1 << 24) // count))


def _true_cosines(weights: FloatArray, held: HeldOut, width: int) -> FloatArray:
    """Return (H,) cosines of held-out and true weights around the mean of what was not held out."""
    true = np.empty(len(held.classes), dtype=np.float32)
    for fold in held.folds:
        middle = mean_without(weights, held.classes[fold])
        predicted = unit_rows(held.rows[fold, :width] - middle)
        true[fold] = (predicted * unit_rows(weights[held.classes[fold]] - middle)).sum(axis=1)
    return true


def _log_length(away: FloatArray) -> NDArray[np.float64]:
    length: NDArray[np.float64] = np.linalg.norm(away, axis=1).astype(np.float64)
    return np.log(np.maximum(length, 1e-12))


def _expected(
    score: NDArray[np.float64], true: FloatArray, new: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the cosine to expect: a rising line, never beyond what held-out classes reached."""
    centred = score - score.mean()
    variance = float((centred**2).sum())
    slope = max(0.0, float((centred * true).sum()) / variance) if variance else 0.0
    line = float(true.mean()) + slope * (new - score.mean())
    expected: NDArray[np.float64] = np.clip(line, float(true.min()), float(true.max()))
    return expected


def _unlike(unit: FloatArray, similarity: FloatArray) -> NDArray[np.bool_]:
    if len(unit) < _FEWEST:
        return np.zeros(len(similarity), dtype=bool)
    chosen = np.random.default_rng(0).permutation(len(unit))[:_MOST]
    nearest = np.empty(len(chosen), dtype=np.float32)
    for start in range(0, len(chosen), _rows_against(len(unit))):
        some = chosen[start : start + _rows_against(len(unit))]
        alike = unit[some] @ unit.T
        alike[np.arange(len(some)), some] = -2
        nearest[start : start + len(some)] = alike.max(axis=1)
    middle = float(np.median(nearest))
    deviation = 1.4826 * float(np.median(np.abs(nearest - middle)))
    bound = min(middle - _FAR * deviation, float(np.quantile(nearest, _UNLIKE)))
    unlike: NDArray[np.bool_] = similarity < bound - 1e-6
    return unlike

"""Calibration: what makes new rows and trained rows compete fairly, found without an image.

A predicted row is shorter than a trained one and fits less well, so trained classes win almost
every contest. Two things mend that:

* *evening*: each new row's distance from the mean seen row is brought nearer to what is usual for
  predicted rows: ``v' = v (r / |v|)^0.4``, with r the mean distance of held-out rows. Among
  themselves, new classes whose row happened to come out short are then answered more often.
* *an offset* gamma on the biases of all new rows. Held-out seen classes compete as new ones on
  stand-ins for images (``validation.standins``), and gamma is what gives the best harmonic mean H
  of both accuracies, relative to the best possible and averaged over a range of sizes that
  stand-ins may have, since the true size cannot be told from weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.lazy import Matrix, blocks
from icis_cli.validation.fairness import Arena, Contest
from icis_cli.validation.heldout import HeldOut, sample
from icis_cli.validation.standins import SIZE, stand_ins

#: Exponent of the evening: 0 leaves rows as they are, 1 makes them all equally long.
EVENING = 0.4

#: The sizes that are tried, relative to the middle one, each a third larger than the one before.
_SIZES = (0.6, 0.8, 1.0, 1.3, 1.7)
#: Offsets tried, and how many new classes compete at most: more hardly change the best of them.
_OFFSETS, _MOST_NEW = 1024, 5000
#: How often the size is raised by a quarter at most where biases decide.
_FACTORS = 43
#: Below this accuracy a classifier's logits are smaller, about as this power of it.
_SOUND, _POWER = 0.65, 1.4

_ALIKE = "all rows of the head are alike or too small to tell apart: no offset can be found"
_HOPELESS = "no held-out class would be answered at any offset: none is added"
_SAME_LENGTH = (
    "all rows of the head are equally long, as in classifiers that compare directions and multiply "
    "by a scale outside of this layer: if yours does, divide the offset by that scale"
)
_UNTRAINED = (
    "the classifier's rows look like their random start: it has hardly been trained, and no offset "
    "is added; give one as a number if you know it"
)


@dataclass(frozen=True)
class Expected:
    """Accuracies (0..1) that the stand-ins promise at one offset; rough, for orientation only."""

    seen: float
    unseen: float
    harmonic: float


@dataclass(frozen=True)
class Calibration:
    """What is done to new rows.

    Attributes:
        kind: ``"auto"``, ``"fixed"`` or ``"none"``.
        gamma: offset on the biases of the new rows, in logits.
        evening: exponent of the evening; 0 for none.
        reach: mean distance of held-out rows from the mean seen row; 0 without evening.
        gamma_range: from what gamma would be for the smallest size tried to that for the largest,
            wide enough to hold gamma itself.
        before, after: what to expect without and with it; None unless it was found.
        warnings: where it may not hold.

    """

    kind: str
    gamma: float
    evening: float = 0.0
    reach: float = 0.0
    gamma_range: tuple[float, float] | None = None
    before: Expected | None = None
    after: Expected | None = None
    warnings: tuple[str, ...] = ()

    def even(self, rows: FloatArray, middle: FloatArray, width: int) -> FloatArray:
        """Return rows (M, P) evened around the mean seen row ``middle`` (P,); see the module.

        The distance is that of the D = ``width`` weights; the bias moves with them.
        """
        if not self.evening or not self.reach:
            return rows
        away = rows - middle
        length = np.linalg.norm(away[:, :width], axis=1, keepdims=True)
        ratio = np.divide(self.reach, length, out=np.ones_like(length), where=length > 0)
        evened: FloatArray = middle + away * ratio ** np.float32(self.evening)
        return evened

    def apply(self, rows: FloatArray, middle: FloatArray, width: int) -> FloatArray:
        """Return rows (M, P) evened and, where they have a bias, with the offset on it."""
        evened = self.even(rows, middle, width)
        if self.gamma and rows.shape[1] > width:
            evened = evened.copy()
            evened[:, width] += np.float32(self.gamma)
        return evened


NONE = Calibration("none", 0.0)
_NOT_FOUND = Calibration("auto", 0.0)


def calibrate(
    seen: FloatArray,
    new: Matrix,
    held: HeldOut,
    width: int,
    *,
    accuracy: float | None = None,
) -> Calibration:
    """Find evening and offset from weights alone.

    Args:
        seen: (K, P) rows of the head, K >= 3.
        new: (U, P) predicted rows, U >= 1.
        held: held-out predictions of the same method.
        width: D; where P is larger, the last column is the bias.
        accuracy: of the classifier on its own classes, 0..1, where it is known. Unknown, it is
            taken to be right more often than not.

    Returns:
        ``gamma`` is found for heads without biases, too, though it cannot be applied there; their
        rows are not evened.

    """
    middle = seen.mean(axis=0)
    reach = float(np.linalg.norm((held.rows - middle)[:, :width], axis=1).mean())
    images = stand_ins(seen, width)
    if images is None or not reach:
        return replace(_NOT_FOUND, warnings=(_ALIKE,))
    if _untrained(seen[:, :width]):
        return replace(_NOT_FOUND, warnings=(_UNTRAINED,))
    # Without an offset evening only shortens rows that lose already.
    biased = seen.shape[1] > width
    found = Calibration("auto", 0.0, EVENING, reach) if biased else _NOT_FOUND
    evened = HeldOut(held.classes, held.fold, found.even(held.rows, middle, width))
    competing = new[sample(len(new), _MOST_NEW)]
    arena = Arena(
        images.labels,
        evened,
        images.on(seen),
        images.on(found.even(competing, middle, width)),
        images.on(evened.rows),
    )
    centre = SIZE * _share(accuracy) * _beyond_biases(arena)
    contests = arena.contests([centre * size for size in _SIZES])
    margins = np.concatenate([part for c in contests for part in (c.seen_margin, c.unseen_margin)])
    offsets = np.quantile(margins, np.linspace(0, 1, _OFFSETS)).astype(np.float64)
    harmonics = [contest.harmonic(offsets) for contest in contests]
    if not any(harmonic.max() > 0 for harmonic in harmonics):
        return replace(_NOT_FOUND, warnings=(_HOPELESS,))
    relative = sum(harmonic / max(harmonic.max(), 1e-9) for harmonic in harmonics)
    gamma = _middle_of_best(offsets, np.asarray(relative))
    ends = [_middle_of_best(offsets, harmonic) for harmonic in (harmonics[0], harmonics[-1])]
    single = contests[_SIZES.index(1.0)]
    return replace(
        found,
        gamma=gamma,
        gamma_range=(min(gamma, *ends), max(gamma, *ends)),
        before=_expected(single, 0.0),
        after=_expected(single, gamma),
        warnings=(_SAME_LENGTH,) if _same_length(seen[:, :width]) else (),
    )


def _share(accuracy: float | None) -> float:
    """Return how large the logits of a classifier of this accuracy are, relative to sound ones."""
    return 1.0 if accuracy is None else min(1.0, accuracy / _SOUND) ** _POWER


def _same_length(weights: FloatArray) -> bool:
    """Tell whether rows (K, D) are equally long, as far as float16 tells."""
    lengths = np.linalg.norm(weights, axis=1)
    return bool(np.ptp(lengths) < 2e-3 * lengths.mean())


def _untrained(weights: FloatArray) -> bool:
    """Tell whether weights are still nearly the uniform numbers that PyTorch starts from.

    Those fill 1 / sqrt(D), with an excess kurtosis of -1.2; trained ones reach much further, or
    less far where features are large.
    """
    middle, count = weights.mean(dtype=np.float64), weights.size
    second = fourth = 0.0
    for _, block in blocks(weights):
        squares = (block - middle) ** 2  # float64
        second += float(squares.sum()) / count
        fourth += float((squares**2).sum()) / count
    if second == 0:
        return False
    excess = fourth / second**2 - 3
    largest = max(float(weights.max()), -float(weights.min()))
    return excess < -0.9 and 0.8 < largest * np.sqrt(weights.shape[1]) < 2


def _beyond_biases(arena: Arena) -> float:
    """Return a factor on the size so large that biases do not decide what is answered.

    1 for heads trained by gradient descent, whose biases are small. A head that was computed
    (discriminant analysis, class means) has biases as large as its logits.
    """
    free, (first,) = arena.right_without_noise([SIZE])
    if first >= 0.8 * free:
        return 1.0
    factors = 1.25 ** np.arange(_FACTORS)
    _, right = arena.right_without_noise((SIZE * factors).tolist())
    enough = np.flatnonzero(np.array(right) >= 0.8 * free)
    return float(factors[enough[0] if len(enough) else -1])


def _middle_of_best(offsets: np.ndarray, harmonic: np.ndarray) -> float:
    """Return the middle of the offsets that are within half a percent of the best."""
    best = np.flatnonzero(harmonic >= 0.995 * harmonic.max())
    return float((offsets[best[0]] + offsets[best[-1]]) / 2)


def _expected(contest: Contest, gamma: float) -> Expected:
    at = np.array([gamma])
    seen, unseen = contest.accuracies(at)
    return Expected(float(seen[0]), float(unseen[0]), float(contest.harmonic(at)[0]))

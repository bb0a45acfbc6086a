"""Scores of ridges by held-out classes, without their held-out rows.

Held-out rows of a ridge are ``P_I = W_I - (G_II)^-1 (G W)_I`` for each fold I of the true rows W,
see ``methods.ridge``. So the logits of stand-ins on them are the same of their logits Z on the true
rows, ``Z_I - (G_II)^-1 (G Z)_I``, and Z is made once for all ridges, whatever the width of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.evaluation.metrics import per_class
from icis_cli.methods.inverses import positive_inverse
from icis_cli.methods.kernels import DoubleArray
from icis_cli.methods.ridge import Ridge, bordered_inverses
from icis_cli.validation.heldout import held_classes
from icis_cli.validation.standins import StandIns

#: By how much rounding may grow where float32 will do: to some 1e-4 in logits of 10.
_GROWTH = 1e3


@dataclass(frozen=True)
class FoldImages:
    """Stand-ins for the n classes of a fold, and how they answer to the rows of H classes.

    Attributes:
        classes: (n,) positions of the classes among the H.
        labels: (N,) position of each stand-in's class among the n.
        logits: (H, N) of the true rows around the mean row.
        middle: (N,) of the mean row.

    """

    classes: IntArray
    labels: IntArray
    logits: FloatArray
    middle: FloatArray

    def accuracy(self, inverse: DoubleArray) -> DoubleArray:
        """Return, for each class (n,), how often its stand-ins are told from those of the fold.

        Args:
            inverse: G (H, H) of the ridge.

        Returns:
            0..1; NaN for classes without stand-ins.

        """
        right = self._answers(inverse) == self.labels
        return per_class(right, self.labels, len(self.classes))[0]

    def _answers(self, inverse: DoubleArray) -> IntArray:
        own = positive_inverse(inverse[np.ix_(self.classes, self.classes)])
        across = inverse[self.classes]
        # G 1 is 0 with an intercept; without, the mean row counts.
        middle = own @ across.sum(axis=1)
        # Rounding of G Z grows by what G is multiplied with.
        if np.abs(own).sum(axis=1).max() * np.abs(across).max() < _GROWTH:
            moved = own.astype(np.float32) @ (across.astype(np.float32) @ self.logits)  # (n, N)
        else:
            moved = own @ (across @ self.logits)
        moved += np.outer(middle, self.middle)
        return np.asarray((self.logits[self.classes] - moved).argmax(axis=0))


@dataclass(frozen=True)
class RidgeScores:
    """What scores any number of ridges on the rows of one head.

    Attributes:
        chosen: (H,) head rows that are held out.
        folds: their stand-ins.

    """

    chosen: IntArray
    folds: tuple[FoldImages, ...]

    @classmethod
    def on(cls, images: StandIns, rows: FloatArray, size: float, folds: int) -> Self:
        """Prepare for rows (K, P), with the sample and the folds of ``hold_out``.

        Args:
            images: made of the same rows.
            rows: of the head.
            size: of the stand-ins, in logits.
            folds: 2 to K.

        Raises:
            TrainingError: too few classes for the folds.

        """
        chosen, number = held_classes(len(rows), folds)
        response = images.on(rows[chosen])
        nothing = images.on(np.zeros_like(rows[:1]))
        parts = []
        for fold in (np.flatnonzero(number == n) for n in range(folds)):
            mine = np.flatnonzero(np.isin(images.labels, chosen[fold]))
            parts.append(
                FoldImages(
                    fold,
                    np.searchsorted(chosen[fold], images.labels[mine]),
                    np.ascontiguousarray(response.at(size, mine).T),
                    -nothing.at(size, mine)[:, 0],
                )
            )
        return cls(chosen, tuple(parts))

    def of(self, ridges: Sequence[Ridge], descriptors: FloatArray) -> Iterator[DoubleArray]:
        """Yield, for each ridge, what ``fairness.unseen_accuracy`` gives for its held-out rows.

        Args:
            ridges: those that differ in nothing but the penalty together: they share their kernel.
            descriptors: (K, d) of all seen classes.

        Yields:
            (H,) shares, 0..1; NaN for classes without stand-ins. Equal but for stand-ins that two
            rows answer to alike, as far as float32 tells.

        """
        for inverse in bordered_inverses(ridges, descriptors[self.chosen]):
            accuracy = np.empty(len(self.chosen))
            for fold in self.folds:
                accuracy[fold.classes] = fold.accuracy(inverse)
            yield accuracy

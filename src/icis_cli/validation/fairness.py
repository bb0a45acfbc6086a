"""How seen and new classes compete on stand-ins for images, as an offset on the new ones moves.

Held-out seen classes play the new ones: of each stand-in of such a class it is asked whether it
would be answered rightly among the held-out rows of its fold, and by how much the best of the
other seen classes wins against them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.validation.heldout import HeldOut
from icis_cli.validation.standins import Response, StandIns

DoubleArray = NDArray[np.float64]


@dataclass(frozen=True)
class Contest:
    """Margins and correctness of stand-ins of seen classes and of held-out (new) ones.

    Attributes:
        seen_margin: (N,) best seen logit minus best new logit of stand-ins of seen classes.
        seen_right: (N,) whether the best seen class is the right one.
        unseen_margin: (M,) the same difference for stand-ins of held-out classes.
        unseen_right: (M,) whether the best new class is the right one.

    """

    seen_margin: FloatArray
    seen_right: NDArray[np.bool_]
    unseen_margin: FloatArray
    unseen_right: NDArray[np.bool_]

    def accuracies(self, gamma: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """Return accuracy on seen and on new classes (G,) for offsets (G,) on the new ones."""
        kept = np.sort(self.seen_margin[self.seen_right])
        won = np.sort(self.unseen_margin[self.unseen_right])
        seen = (len(kept) - np.searchsorted(kept, gamma)) / max(len(self.seen_margin), 1)
        unseen = np.searchsorted(won, gamma) / max(len(self.unseen_margin), 1)
        return seen, unseen

    def harmonic(self, gamma: DoubleArray) -> DoubleArray:
        """Return the harmonic mean of both accuracies (G,)."""
        seen, unseen = self.accuracies(gamma)
        total = seen + unseen
        return np.divide(2 * seen * unseen, total, out=np.zeros_like(total), where=total > 0)


@dataclass(frozen=True)
class Arena:
    """Everything that competes, ready to be scored at any size of the stand-ins.

    Attributes:
        labels: (N,) head row of each stand-in.
        held: held-out classes.
        seen, new, predicted: responses of all seen rows (N, K), of the new rows (N, U), and of
            the held-out rows (N, H).

    """

    labels: IntArray
    held: HeldOut
    seen: Response
    new: Response
    predicted: Response

    def contest(self, size: float) -> Contest:
        """Let all compete at this size, in logits."""
        seen, predicted = self.seen.at(size), self.predicted.at(size)
        best = seen.argmax(axis=1)
        top = seen[np.arange(len(seen)), best]
        place = np.full(seen.shape[1], -1)
        place[self.held.classes] = np.arange(len(self.held.classes))
        margins, right = [], []
        for fold in self.held.folds:
            classes = self.held.classes[fold]
            mine = np.isin(self.labels, classes)
            if not mine.any():
                continue
            others = seen[mine]
            others[:, classes] = -np.inf
            among = predicted[mine][:, fold]
            margins.append(others.max(axis=1) - among.max(axis=1))
            right.append(fold[among.argmax(axis=1)] == place[self.labels[mine]])
        return Contest(
            top - self.new.at(size).max(axis=1),
            best == self.labels,
            np.concatenate(margins),
            np.concatenate(right),
        )


def unseen_accuracy(images: StandIns, held: HeldOut, size: float) -> DoubleArray:
    """Return, for each held-out class, how often its stand-ins are told from those of its fold.

    The answer is sought among the held-out rows of the same fold (a T1 without images). (H,),
    0..1; NaN for classes without stand-ins.
    """
    logits = images.on(held.rows).at(size)
    accuracy = np.full(len(held.classes), np.nan)
    for fold in held.folds:
        for position in fold:
            mine = images.labels == held.classes[position]
            if mine.any():
                among = logits[mine][:, fold]
                accuracy[position] = (fold[among.argmax(axis=1)] == position).mean()
    return accuracy

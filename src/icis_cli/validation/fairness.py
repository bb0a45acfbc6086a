"""How seen and new classes compete on stand-ins for images, as an offset on the new ones moves.

Held-out seen classes play the new ones: of each stand-in of such a class it is asked whether it
would be answered rightly among the held-out rows of its fold, and by how much the best of the
other seen classes wins against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.evaluation.metrics import per_class
from icis_cli.validation.heldout import HeldOut
from icis_cli.validation.standins import Response, StandIns

DoubleArray = NDArray[np.float64]

#: Logits of stand-ins on seen classes that are in memory at once.
_LOGITS = 1 << 22


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
        seen, new, predicted: responses of N stand-ins on all K seen rows, on new rows, and on the
            H held-out rows.

    """

    labels: IntArray
    held: HeldOut
    seen: Response
    new: Response
    predicted: Response

    def contest(self, size: float) -> Contest:
        """Let all compete at this size, in logits."""
        return self.contests((size,))[0]

    def contests(self, sizes: Sequence[float]) -> tuple[Contest, ...]:
        """Let all compete at each of these sizes; N x K logits never exist at once."""
        parts = [self._contests(sizes, images) for images in self._blocks()]
        return tuple(_joined(column) for column in zip(*parts, strict=True))

    def right_without_noise(self, sizes: Sequence[float]) -> tuple[float, tuple[float, ...]]:
        """Return how often the middle of a seen class is answered rightly among seen classes.

        Returns:
            The share without biases, at any size; and with them, at each of the sizes.

        """
        free, right = [], []
        for images in self._blocks():
            mean, labels = self.seen.mean[images] @ self.seen.product, self.labels[images]
            free.append(mean.argmax(axis=1) == labels)
            right.append(
                [(np.float32(s) * mean + self.seen.bias).argmax(axis=1) == labels for s in sizes]
            )
        shares = (float(np.concatenate(column).mean()) for column in zip(*right, strict=True))
        return float(np.concatenate(free).mean()), tuple(shares)

    def _blocks(self) -> list[IntArray]:
        """Return all stand-ins, as many at a time as make a few million logits."""
        count, most = len(self.labels), max(64, _LOGITS // self.seen.product.shape[1])
        return [np.arange(at, min(at + most, count)) for at in range(0, count, most)]

    def _contests(self, sizes: Sequence[float], images: IntArray) -> list[Contest]:
        seen, new = self.seen.to(images), self.new.to(images)
        labels = self.labels[images]
        place = np.full(self.seen.product.shape[1], -1)
        place[self.held.classes] = np.arange(len(self.held.classes))
        folds = []
        for fold in self.held.folds:
            mine = np.isin(labels, self.held.classes[fold])
            folds.append((fold, mine, self.predicted.of(fold).to(images[mine])))
        found = []
        for size in sizes:
            logits = seen.at(size)
            best = logits.argmax(axis=1)
            top = logits[np.arange(len(logits)), best]
            margins, right = [np.empty(0, dtype=np.float32)], [np.empty(0, dtype=bool)]
            for fold, mine, predicted in folds:
                others, among = logits[mine], predicted.at(size)
                others[:, self.held.classes[fold]] = -np.inf
                margins.append(others.max(axis=1) - among.max(axis=1))
                right.append(fold[among.argmax(axis=1)] == place[labels[mine]])
            found.append(
                Contest(
                    top - new.at(size).max(axis=1),
                    best == labels,
                    np.concatenate(margins),
                    np.concatenate(right),
                )
            )
        return found


def _joined(parts: Sequence[Contest]) -> Contest:
    """Put the contests of several blocks of stand-ins together."""
    columns = zip(
        *((p.seen_margin, p.seen_right, p.unseen_margin, p.unseen_right) for p in parts),
        strict=True,
    )
    return Contest(*(np.concatenate(column) for column in columns))


def unseen_accuracy(images: StandIns, held: HeldOut, size: float) -> DoubleArray:
    """Return, for each held-out class, how often its stand-ins are told from those of its fold.

    The answer is sought among the held-out rows of the same fold (a T1 without images). (H,),
    0..1; NaN for classes without stand-ins.
    """
    accuracy = np.empty(len(held.classes))
    for fold in held.folds:
        classes = held.classes[fold]
        mine = np.flatnonzero(np.isin(images.labels, classes))
        # Classes ascend, and so they do within a fold.
        true = np.searchsorted(classes, images.labels[mine])
        answers = images.on(held.rows[fold]).at(size, mine).argmax(axis=1)
        accuracy[fold], _ = per_class(answers == true, true, len(fold))
    return accuracy

"""Held-out seen classes: their rows predicted by fits that never saw them, against the true rows.

This is what there is to validate with where no image is. Nothing here looks at a new class's row
or at any image: the true rows are the classifier's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icis_cli.arrays import FloatArray, IntArray, unit_rows
from icis_cli.errors import TrainingError
from icis_cli.methods.base import Method, SeenPairs, Watch, few_unseen
from icis_cli.methods.ensemble import member_seeds

#: How many folds where nobody says otherwise.
FOLDS = 5
#: Of a larger catalogue so many classes, chosen at random, stand for all.
_MOST_CLASSES = 2000


@dataclass(frozen=True)
class HeldOut:
    """Held-out predictions for H <= K seen classes.

    Attributes:
        classes: (H,) head rows, ascending.
        fold: (H,) number of the fold in which each was held out.
        rows: (H, P) float32, predicted by a fit without this fold.

    """

    classes: IntArray
    fold: IntArray
    rows: FloatArray

    def __post_init__(self) -> None:
        if not len(self.classes) == len(self.fold) == len(self.rows):
            raise ValueError("held-out classes, folds and rows differ in number")

    @property
    def folds(self) -> tuple[IntArray, ...]:
        """Positions (into ``classes``) of each fold."""
        return tuple(np.flatnonzero(self.fold == number) for number in np.unique(self.fold))


def fold_numbers(classes: int, folds: int, seed: int = 0) -> IntArray:
    """Return a random fold number for each class; the folds differ in size by one at most.

    Raises:
        TrainingError: fewer than two folds, or fewer classes than folds.

    """
    if folds < 2:
        raise TrainingError(f"{folds} fold(s), expected at least 2", "pass --cv 5, or --cv 0")
    if classes < folds or classes < 3:
        which = "a sample of " if classes == _MOST_CLASSES else ""
        raise TrainingError(
            f"{which}{classes} seen classes cannot be held out in {folds} folds",
            f"pass --cv {min(classes, FOLDS)}" if classes > 2 else "pass --cv 0",
        )
    return np.random.default_rng(seed).permutation(np.arange(classes) % folds)


def affordable_folds(classes: int) -> int:
    """Return how many folds suit so many seen classes; 0 where there are too few to hold out.

    In a fold of one class nothing can be confused, so small heads get fewer folds.
    """
    return max(2, min(FOLDS, classes // 2)) if classes >= 3 else 0


def hold_out(
    method: Method,
    pairs: SeenPairs,
    folds: int = FOLDS,
    *,
    members: int = 1,
    seed: int = 0,
    device: str = "cpu",
    watch: Watch | None = None,
) -> HeldOut:
    """Predict seen classes by fits that did not see them.

    Args:
        method: its ``held_out`` decides whether that takes refits.
        pairs: what there is to learn from. Above 2000 seen classes a random 2000 stand for all.
        folds: 2 to K.
        members: of an ensemble, where the method depends on its seed; their rows are averaged.
        seed: of the method. The folds themselves are always the same.
        device: see ``Method.fit``.
        watch: told about every epoch.

    Raises:
        TrainingError: too few classes, or as in ``Method.fit``.

    """
    chosen, number = held_classes(len(pairs.rows), folds)
    parts = [np.flatnonzero(number == n) for n in range(folds)]
    known = few_unseen(SeenPairs(pairs.descriptors[chosen], pairs.rows[chosen], pairs.unseen))
    seeds = member_seeds(seed, members if method.seeded else 1)
    rows = np.zeros(known.rows.shape, dtype=np.float32)
    for own in seeds:
        rows += method.held_out(known, parts, seed=own, device=device, watch=watch)
    return HeldOut(chosen, number, rows / np.float32(len(seeds)))


def held_classes(classes: int, folds: int) -> tuple[IntArray, IntArray]:
    """Return which of so many seen classes are held out (H,), and in which fold each (H,).

    Raises:
        TrainingError: as in :func:`fold_numbers`.

    """
    chosen = sample(classes)
    return chosen, fold_numbers(len(chosen), folds)


def sample(classes: int, most: int = _MOST_CLASSES) -> IntArray:
    """Return all classes, or a fixed random choice of ``most``, ascending."""
    if classes <= most:
        return np.arange(classes)
    return np.sort(np.random.default_rng(0).choice(classes, most, replace=False))


@dataclass(frozen=True)
class HeldOutFigures:
    """How near held-out rows are to the true ones; means over folds with their spread.

    Attributes:
        cosine: of predicted and true row, after the mean of the rows that were not held out is
            subtracted, -1..1.
        retrieval: share of held-out classes whose own true row is the one most similar to the
            predicted row, among the true rows of their fold, 0..1.
        norm_ratio: predicted / true distance from the mean row.
        cosine_spread, retrieval_spread, norm_ratio_spread: standard deviation over folds.
        folds: number of folds.
        candidates: mean number of classes in a fold; by chance retrieval is 1 / candidates.

    """

    cosine: float
    retrieval: float
    norm_ratio: float
    cosine_spread: float
    retrieval_spread: float
    norm_ratio_spread: float
    folds: int
    candidates: float

    def to_json(self) -> dict[str, float | int]:
        """Return the figures as JSON-ready values."""
        return dict(vars(self))


def mean_without(rows: FloatArray, classes: IntArray) -> FloatArray:
    """Return the mean (P,) of all rows (K, P) but those of ``classes``, which it must not know."""
    rest = rows.sum(axis=0, dtype=np.float64) - rows[classes].sum(axis=0, dtype=np.float64)
    mean: FloatArray = (rest / (len(rows) - len(classes))).astype(np.float32)
    return mean


def judge(rows: FloatArray, held: HeldOut) -> HeldOutFigures:
    """Compare held-out rows with the true ``rows`` (K, P) of the head."""
    figures = []
    for fold in held.folds:
        middle = mean_without(rows, held.classes[fold])
        predicted, true = held.rows[fold] - middle, rows[held.classes[fold]] - middle
        similar = unit_rows(predicted) @ unit_rows(true).T
        norms = np.linalg.norm(true, axis=1)
        ratio = np.linalg.norm(predicted, axis=1) / np.where(norms > 0, norms, 1)
        right = similar.argmax(axis=1) == np.arange(len(fold))
        figures.append((float(np.diag(similar).mean()), float(right.mean()), float(ratio.mean())))
    mean, spread = np.mean(figures, axis=0).tolist(), np.std(figures, axis=0).tolist()
    return HeldOutFigures(
        cosine=mean[0],
        retrieval=mean[1],
        norm_ratio=mean[2],
        cosine_spread=spread[0],
        retrieval_spread=spread[1],
        norm_ratio_spread=spread[2],
        folds=len(figures),
        candidates=len(held.classes) / len(figures),
    )

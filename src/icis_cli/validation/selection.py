"""Selection: which method, which hyper-parameters, which weights of views; by held-out classes.

The score is the share of stand-ins for images of held-out seen classes that are told apart by the
held-out rows (``fairness.unseen_accuracy``): a T1 without images. With a hundred classes or so the
best of thirty settings is often the best by luck, so another setting than the default is taken
only where it is better by three standard errors of the paired difference between classes; other
weights of views than equal ones, by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.descriptors.views import ViewSpace, candidate_weights
from icis_cli.errors import TrainingError
from icis_cli.methods.base import Method, SeenPairs, Watch
from icis_cli.methods.icis import Icis
from icis_cli.methods.ridge import Ridge
from icis_cli.validation.closed_form import RidgeScores
from icis_cli.validation.fairness import unseen_accuracy
from icis_cli.validation.heldout import FOLDS, HeldOut, hold_out
from icis_cli.validation.standins import SIZE, StandIns, stand_ins

#: Standard errors by which another setting must beat the default one.
CLEARLY = 3.0

#: The same for weights of views: equal ones are no better founded than others.
_VIEWS_CLEARLY = 1.0

#: What ``--method auto`` chooses from.
AUTO: tuple[Method, ...] = (Icis(), Ridge())

#: How many networks are averaged where ``auto`` takes networks.
AUTO_MEMBERS = 3

#: Told about each candidate: its number, how many there are, and what it is.
SelectionWatch = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Candidate:
    """One setting that was tried.

    Attributes:
        label: for people.
        score: share of stand-ins told apart, 0..1.
        margin: score minus that of the default.
        error: standard error of the margin between classes.

    """

    label: str
    score: float
    margin: float
    error: float


@dataclass(frozen=True)
class Selection:
    """What was chosen, and from what.

    Attributes:
        chosen: position of the chosen candidate.
        candidates: all that were tried, the default first.
        held: held-out rows of the chosen one.

    """

    chosen: int
    candidates: tuple[Candidate, ...]
    held: HeldOut

    def to_json(self) -> dict[str, Any]:
        """Return what was tried as JSON-ready values."""
        return {
            "chosen": self.candidates[self.chosen].label,
            "candidates": [dict(vars(candidate)) for candidate in self.candidates],
        }


def select_method(
    methods: Sequence[Method],
    pairs: SeenPairs,
    width: int,
    folds: int = FOLDS,
    *,
    clearly: float = CLEARLY,
    members: int = 1,
    seed: int = 0,
    device: str = "cpu",
    watch: SelectionWatch | None = None,
    trainings: Watch | None = None,
) -> Selection:
    """Choose among methods; the first is the default.

    Args:
        methods: at least one.
        pairs: what there is to learn from.
        width: D; where rows have more columns, the last is the bias.
        folds: of seen classes, see ``hold_out``.
        clearly: by how many standard errors another than the default must be better.
        members: of ensembles, see ``hold_out``.
        seed: of the methods.
        device: see ``Method.fit``.
        watch: told about each method before it is tried.
        trainings: told about every epoch of each.

    Raises:
        TrainingError: too few classes for the folds, rows that are all alike, or as in
            ``Method.fit``.

    """
    images = _images(pairs, width)
    labels = [describe(method) for method in methods]

    def held_out(method: Method) -> HeldOut:
        return hold_out(
            method, pairs, folds, members=members, seed=seed, device=device, watch=trainings
        )

    def trials() -> Iterator[_Trial]:
        ridges = [method for method in methods if isinstance(method, Ridge)]
        scores = _ridge_scores(ridges, pairs, images, folds)
        for number, method in enumerate(methods):
            if watch is not None:
                watch(number, len(methods), labels[number])
            if isinstance(method, Ridge):
                yield _Trial(next(scores), partial(held_out, method))
            else:
                yield _tried(held_out(method), images)

    return _select(labels, trials(), clearly)


def select_views(
    pairs: SeenPairs, spaces: Sequence[ViewSpace], width: int, folds: int = FOLDS
) -> Selection:
    """Choose how views are weighed; ridge in closed form stands for all methods.

    Args:
        pairs: with descriptors as they are in the files.
        spaces: the candidates, the default first.
        width: as in :func:`select_method`.
        folds: as in :func:`select_method`.

    Raises:
        TrainingError: as in :func:`select_method`.

    """
    images = _images(pairs, width)

    def trials() -> Iterator[_Trial]:
        scorer = RidgeScores.on(images, pairs.rows, SIZE, folds)
        for space in spaces:
            entered = SeenPairs(space.enter(pairs.descriptors), pairs.rows, pairs.unseen[:0])
            score = next(scorer.of([Ridge()], entered.descriptors))
            yield _Trial(score, partial(hold_out, Ridge(), entered, folds))

    labels = [" : ".join(f"{weight:g}" for weight in space.weights) for space in spaces]
    return _select(labels, trials(), _VIEWS_CLEARLY)


def view_spaces(widths: Sequence[int]) -> tuple[ViewSpace, ...]:
    """Return the weights of views to choose from, equal ones first."""
    return tuple(ViewSpace(tuple(widths), weights) for weights in candidate_weights(len(widths)))


def describe(method: Method) -> str:
    """Return a method with what tells it from its variants, for people."""
    shown = ("kernel", "eta", "penalty", "k", "min_steps", "epochs")
    settings = method.settings()
    parts = [f"{key} {settings[key]}" for key in shown if key in settings]
    return f"{method.name} ({', '.join(parts)})" if parts else method.name


def _images(pairs: SeenPairs, width: int) -> StandIns:
    images = stand_ins(pairs.rows, width)
    if images is None:
        raise TrainingError(
            "all rows of the head are alike: nothing can be chosen by held-out classes",
            "name a --method, without --select",
        )
    return images


@dataclass(frozen=True)
class _Trial:
    """One candidate: its score (H,) for each class, and its held-out rows when asked for."""

    score: NDArray[np.float64]
    held: Callable[[], HeldOut]


def _tried(held: HeldOut, images: StandIns) -> _Trial:
    return _Trial(unseen_accuracy(images, held, SIZE), lambda: held)


def _ridge_scores(
    ridges: Sequence[Ridge], pairs: SeenPairs, images: StandIns, folds: int
) -> Iterator[NDArray[np.float64]]:
    """Yield the score (H,) of each ridge when asked for; they share what they have in common."""
    yield from RidgeScores.on(images, pairs.rows, SIZE, folds).of(ridges, pairs.descriptors)


def _select(labels: Sequence[str], trials: Iterable[_Trial], clearly: float) -> Selection:
    scores: list[NDArray[np.float64]] = []
    best: _Trial | None = None
    chosen = 0
    for number, trial in enumerate(trials):
        scores.append(trial.score)
        if best is None or _better(trial.score, scores[chosen], scores[0], clearly):
            best, chosen = trial, number
    if best is None:
        raise ValueError("no candidate, expected at least 1")
    found = []
    for label, score in zip(labels, scores, strict=True):
        margin, error = _paired(score, scores[0])
        found.append(Candidate(label, float(np.nanmean(score)), margin, error))
    return Selection(chosen, tuple(found), best.held())


def _better(
    score: NDArray[np.float64],
    best: NDArray[np.float64],
    default: NDArray[np.float64],
    clearly: float,
) -> bool:
    margin, error = _paired(score, default)
    return margin > clearly * error and bool(np.nanmean(score) > np.nanmean(best))


def _paired(score: NDArray[np.float64], default: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and standard error of the difference between classes."""
    difference = score - default
    known = difference[np.isfinite(difference)]
    return float(known.mean()), float(known.std() / np.sqrt(max(len(known), 1)))

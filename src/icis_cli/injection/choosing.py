"""What to fit: the method, the weights of views and the folds, chosen by held-out classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from icis_cli.checkpoint.head import Head
from icis_cli.descriptors.alignment import AlignedClasses
from icis_cli.descriptors.views import ViewSpace
from icis_cli.errors import TrainingError
from icis_cli.injection.fitting import default_folds, seen_pairs
from icis_cli.methods.base import Method, SeenPairs, Watch
from icis_cli.validation.heldout import HeldOut, affordable_folds, hold_out
from icis_cli.validation.selection import (
    Selection,
    SelectionWatch,
    describe,
    select_method,
    select_views,
    view_spaces,
)
from icis_cli.validation.standins import stand_ins


@dataclass(frozen=True)
class Choice:
    """What was chosen, and how.

    Attributes:
        method: to fit.
        views: how descriptor files are weighed.
        held: held-out rows of the method; None where none were made.
        methods, weights: what the method, and the weights, were chosen from; None where there was
            no choice.

    """

    method: Method
    views: ViewSpace
    held: HeldOut | None
    methods: Selection | None
    weights: Selection | None


def choose(
    head: Head,
    classes: AlignedClasses,
    methods: Sequence[Method],
    *,
    folds: int | None = None,
    members: int = 1,
    seed: int = 0,
    device: str = "cpu",
    watch: SelectionWatch | None = None,
    trainings: Watch | None = None,
) -> Choice:
    """Choose by held-out seen classes.

    Args:
        head: of the classifier.
        classes: from ``align``.
        methods: to choose from, the default first; one is no choice, but is held out as well.
        folds: None for as many as are cheap for the first method; 0 for none.
        members: of ensembles, where a method depends on its seed.
        seed: of the methods.
        device: ``"cpu"`` or ``"cuda"``.
        watch: told about each method.
        trainings: told about every epoch, and keeps progress if it is a ``Progress``.

    Raises:
        TrainingError: a choice without folds, too few classes, or as in ``Method.fit``.

    """
    count = folds_for(methods, len(head.rows), folds)
    if len(methods) > 1 and not count:
        raise TrainingError(
            f"nothing can be chosen without holding seen classes out ({len(head.rows)} classes, "
            f"{count} folds)",
            "name one --method, without --select",
        )
    views, weights = choose_views(head, classes, count)
    method, held, selection = choose_method(
        methods,
        seen_pairs(head, classes, views),
        head.weight.shape[1],
        count,
        members=members,
        seed=seed,
        device=device,
        watch=watch,
        trainings=trainings,
    )
    return Choice(method, views, held, selection, weights)


def folds_for(methods: Sequence[Method], classes: int, wanted: int | None = None) -> int:
    """Return in how many folds so many seen classes are held out.

    Args:
        methods: to choose from, the default first.
        classes: K.
        wanted: what was asked for; None for as many as the choice needs, or as are cheap.

    """
    if wanted is not None:
        return wanted
    return affordable_folds(classes) if len(methods) > 1 else default_folds(methods[0], classes)


def choose_method(
    methods: Sequence[Method],
    pairs: SeenPairs,
    width: int,
    folds: int,
    *,
    members: int = 1,
    seed: int = 0,
    device: str = "cpu",
    watch: SelectionWatch | None = None,
    trainings: Watch | None = None,
) -> tuple[Method, HeldOut | None, Selection | None]:
    """Return the method, its held-out rows (None without folds), and from what it was chosen.

    Args:
        methods: to choose from, the default first; more than one needs folds.
        pairs: what there is to learn from.
        width: D; where rows have more columns, the last is the bias.
        folds: of seen classes; 0 for none.
        members: as in :func:`choose`.
        seed: as in :func:`choose`.
        device: as in :func:`choose`.
        watch: as in :func:`choose`.
        trainings: as in :func:`choose`.

    Raises:
        TrainingError: as in ``select_method``.

    """
    if len(methods) > 1:
        found = select_method(
            methods,
            pairs,
            width,
            folds,
            members=members,
            seed=seed,
            device=device,
            watch=watch,
            trainings=trainings,
        )
        return methods[found.chosen], found.held, found
    (method,) = methods
    if not folds:
        return method, None, None
    if watch is not None:
        watch(0, 1, describe(method))
    held = hold_out(
        method, pairs, folds, members=members, seed=seed, device=device, watch=trainings
    )
    return method, held, None


def choose_views(
    head: Head, classes: AlignedClasses, folds: int
) -> tuple[ViewSpace, Selection | None]:
    """Return how descriptor files are weighed, and from what that was chosen.

    Equally, without a choice, where there is one file, no fold, or a head whose rows are alike.
    """
    spaces, width = view_spaces([view.width for view in classes.views]), head.weight.shape[1]
    if len(spaces) == 1 or not folds or stand_ins(head.rows, width) is None:
        return spaces[0], None
    raw = SeenPairs(classes.seen, head.rows, classes.unseen)
    selection = select_views(raw, spaces, width, folds)
    return spaces[selection.chosen], selection

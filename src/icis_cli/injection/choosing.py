"""What to fit: the method, the weights of views and the folds, chosen by held-out classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from icis_cli.checkpoint.head import Head
from icis_cli.descriptors.alignment import AlignedClasses
from icis_cli.descriptors.views import ViewSpace
from icis_cli.errors import TrainingError
from icis_cli.injection.fitting import default_folds, seen_pairs
from icis_cli.methods.base import Method, SeenPairs
from icis_cli.validation.heldout import HeldOut, affordable_folds, hold_out
from icis_cli.validation.selection import (
    Selection,
    SelectionWatch,
    describe,
    select_method,
    select_views,
    view_spaces,
)


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
    clearly: float,
    members: int = 1,
    seed: int = 0,
    device: str = "cpu",
    watch: SelectionWatch | None = None,
) -> Choice:
    """Choose by held-out seen classes.

    Args:
        head: of the classifier.
        classes: from ``align``.
        methods: to choose from, the default first; one is no choice, but is held out as well.
        folds: None for as many as are cheap for the first method; 0 for none.
        clearly: by how many standard errors another than the first must be better.
        members: of ensembles, where a method depends on its seed.
        seed: of the methods.
        device: ``"cpu"`` or ``"cuda"``.
        watch: told about each method.

    Raises:
        TrainingError: a choice without folds, too few classes, or as in ``Method.fit``.

    """
    width = head.weight.shape[1]
    if folds is None and len(methods) > 1:
        folds = affordable_folds(len(head.rows))
    elif folds is None:
        folds = default_folds(methods[0], len(head.rows))
    if len(methods) > 1 and not folds:
        raise TrainingError(
            f"nothing can be chosen without holding seen classes out ({len(head.rows)} classes, "
            f"{folds} folds)",
            "name one --method, without --select",
        )
    views, weights = _views(head, classes, width, folds)
    pairs = seen_pairs(head, classes, views)
    if len(methods) == 1:
        if not folds:
            return Choice(methods[0], views, None, None, weights)
        if watch is not None:
            watch(0, 1, describe(methods[0]))
        held = hold_out(methods[0], pairs, folds, members=members, seed=seed, device=device)
        return Choice(methods[0], views, held, None, weights)
    selection = select_method(
        methods,
        pairs,
        width,
        folds,
        clearly=clearly,
        members=members,
        seed=seed,
        device=device,
        watch=watch,
    )
    return Choice(methods[selection.chosen], views, selection.held, selection, weights)


def _views(
    head: Head, classes: AlignedClasses, width: int, folds: int
) -> tuple[ViewSpace, Selection | None]:
    spaces = view_spaces([view.width for view in classes.views])
    if len(spaces) == 1 or not folds:
        return spaces[0], None
    raw = SeenPairs(classes.seen, head.rows, classes.unseen)
    selection = select_views(raw, spaces, width, folds)
    return spaces[selection.chosen], selection

"""Comparison of an expanded head with a checkpoint that was trained on the new classes, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from icis_cli.arrays import FloatArray
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.head import Head
from icis_cli.descriptors.names import match_names
from icis_cli.errors import AlignmentError, HeadError
from icis_cli.evaluation.evaluate import require_both_sides
from icis_cli.evaluation.known import KnownHead
from icis_cli.evaluation.rows import RowComparison, compare_rows
from icis_cli.injection.injector import Injector
from icis_cli.methods.base import SeenPairs
from icis_cli.methods.controls import Mean, Nearest


@dataclass(frozen=True)
class NamedComparison:
    """How rows of one origin compare with the true ones."""

    name: str
    figures: RowComparison


def compare_with_reference(
    known: KnownHead,
    reference: Checkpoint,
    head: Head,
    names: Sequence[str] | None = None,
    injector: Injector | None = None,
) -> tuple[NamedComparison, ...]:
    """Compare the injected rows, and two controls, with the true rows.

    Args:
        known: the expanded head.
        reference: a checkpoint that knows the new classes.
        head: its head.
        names: names of its rows; None where it tells them itself.
        injector: brings the descriptors that the controls need; None for no controls.

    Raises:
        AlignmentError: the names of its rows are not known, or lack a new class.
        HeadError: the heads have different widths.

    """
    require_both_sides(known)
    names = names or reference.labels.class_names
    if names is None or len(names) != len(head.weight):
        raise AlignmentError(
            f"{reference.path} has {len(head.weight)} rows, and "
            + ("no names for them" if names is None else f"{len(names)} names are given"),
            "list the names of its rows, one a line, and pass --reference-classes",
        )
    # Weights only: calibration adds an offset to the biases of new rows.
    rows = known.head.weight
    if head.weight.shape[1] != rows.shape[1]:
        raise HeadError(
            f"{reference.path}: its head takes {head.weight.shape[1]} inputs, expected "
            f"{rows.shape[1]}"
        )
    new = known.names[known.seen_classes :]
    true = head.weight[list(match_names(new, names, str(reference.path)).rows)]
    seen = rows[: known.seen_classes]
    found = [NamedComparison("injected", compare_rows(rows[known.seen_classes :], true, seen))]
    if injector is not None and injector.unseen_names == new:
        enter = injector.views.enter
        pairs = SeenPairs(
            enter(injector.seen_descriptors), seen, enter(injector.unseen_descriptors)
        )
        for control in (Nearest(), Mean()):
            predicted: FloatArray = control.fit(pairs, seed=0).predictor.predict(pairs.unseen)
            figures = compare_rows(predicted, true, seen)
            found.append(NamedComparison(f"control: {control.name}", figures))
    return tuple(found)

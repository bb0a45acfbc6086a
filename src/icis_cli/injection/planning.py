"""Plans: rows appended to a head, or taken off again. Nothing here touches the disk."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.checkpoint.base import Checkpoint, Edit
from icis_cli.checkpoint.head import Head, auxiliary_heads, find_head
from icis_cli.descriptors.base import Descriptors
from icis_cli.errors import CheckpointError, HeadError, InjectorError
from icis_cli.injection.appending import (
    appended,
    cut,
    finite,
    grown_with,
    predicted_rows,
    shortened,
    widened,
)
from icis_cli.injection.calibration import Calibration
from icis_cli.injection.expansion import Expansion
from icis_cli.injection.injector import Injector, head_digest
from icis_cli.injection.known_classes import new_alone
from icis_cli.injection.record import PENDING, Record, Round, find_record, side_file
from icis_cli.injection.targets import NewClasses, new_classes
from icis_cli.injection.tuning import Wanted, tune
from icis_cli.lazy import LazyMatrix, Matrix, looked_up
from icis_cli.methods.base import SeenPairs
from icis_cli.validation.certainty import Certainty

#: What becomes of heads that take part in training alone.
Auxiliary = Literal["widen", "drop"]


def expand(
    checkpoint: Checkpoint,
    injector: Injector,
    descriptors: Descriptors | None = None,
    *,
    unseen: tuple[str, ...] | None = None,
    calibration: Wanted = "auto",
    accuracy: float | None = None,
    auxiliary: Auxiliary = "widen",
) -> Expansion:
    """Plan a checkpoint with rows for new classes.

    Args:
        checkpoint: the one the injector was fitted on, or one with the same head.
        injector: a fitted method.
        descriptors: of other or more new classes than ``fit`` saw; None for those it saw.
        unseen: names or row numbers of ``descriptors`` to inject; None for all that are not seen
            nor, by name, injected before.
        calibration: what makes new rows compete fairly with trained ones: ``"auto"`` finds it from
            weights and held-out classes; a number is added to the new rows' biases as it is, in
            logits; ``"none"`` leaves the rows as predicted.
        accuracy: of the classifier on its own classes, 0..1, where it is known; for ``"auto"``.
        auxiliary: what becomes of heads that take part in training alone (GoogLeNet, Inception
            v3): neutral rows for the new classes, so that the checkpoint loads as before, or
            they are left out.

    Raises:
        InjectorError: it belongs to another head.
        HeadError: an offset for a head without bias, or a class that is there already.
        TrainingError: a predicted row is not finite or does not fit the head's dtype.

    """
    record = find_record(checkpoint)  # it tells that a file is an injector
    head = find_head(checkpoint, injector.source.head)
    misfit = None if record is None else record.misfit(len(head.weight))
    if misfit is not None:
        raise CheckpointError(
            checkpoint.path,
            misfit,
            "the record belongs to another file: remove the .icis.json beside it",
        )
    _check_belongs(checkpoint, head, injector, record)
    if not isinstance(calibration, str) and calibration and head.bias is None:
        raise HeadError(
            f"{checkpoint.path}: the head {head.key!r} has no bias, which an offset needs",
            "pass --calibration none, or auto, which tells the offset to add in your own code",
        )
    known = record.class_names if record is not None else _known_names(checkpoint, injector)
    classes = new_classes(injector, descriptors, unseen, known)
    classes = new_alone(classes, injector, known, unseen)
    predicted, trained = predicted_rows(injector, classes), head.rows
    if predicted.shape[1] != trained.shape[1]:
        raise InjectorError(
            checkpoint.path,
            f"its rows have {trained.shape[1]} numbers, but the injector predicts "
            f"{predicted.shape[1]}",
            "run icis fit again with these weights",
        )
    tuned = tune(
        SeenPairs(
            injector.views.enter(injector.seen_descriptors),
            trained[: len(injector.seen_names)],
            injector.views.enter(classes.descriptors[:0]),
        ),
        predicted,
        injector.held,
        head.weight.shape[1],
        calibration,
        accuracy,
        described=_entered(injector, classes),
    )
    rows, used = tuned.rows, tuned.calibration
    if not isinstance(rows, LazyMatrix):
        finite(rows, classes)
    applied = head.bias is not None
    weights_sha256 = PENDING  # told when the checkpoint is written
    this_round = Round(
        classes=len(rows),
        descriptor_rows=classes.rows,
        method=injector.method,
        settings=injector.settings,
        seed=injector.seed,
        calibration=float(used.gamma) if applied else 0.0,
        injector_sha256=injector.digest,
        weights_sha256=weights_sha256,
        descriptors=classes.sources,
        calibration_kind=used.kind,
        evening=used.evening,
        reach=used.reach,
        standing=_standing(tuned.certainty),
    )
    if record is None:
        record = Record(
            head.key,
            known,
            len(head.weight),
            injector.seen_rows,
            injector.descriptors,
            weights_sha256,
            (),
        )
    names = (*record.class_names, *classes.names)
    sides = _sides(checkpoint, head, auxiliary)
    return Expansion(
        checkpoint.without(sides.dropped),
        head,
        appended(checkpoint, head, tuned) | widened(checkpoint, sides.widened, len(rows)),
        replace(
            record,
            class_names=names,
            rounds=(*record.rounds, this_round),
            auxiliary=sides.widened,
            dropped=record.dropped + sides.dropped,
        ),
        names,
        rows,
        used,
        tuned.certainty,
        (*classes.notes, *tuned.notes, *sides.notes),
        (*classes.warnings, *used.warnings, *(() if applied else _without_bias(head, used))),
    )


def remove(checkpoint: Checkpoint) -> Expansion:
    """Plan a checkpoint without any injected row: the original head.

    Raises:
        CheckpointError: nothing was injected into it, as far as it knows.

    """
    record = find_record(checkpoint)
    if record is None:
        raise CheckpointError(
            checkpoint.path,
            "has no record of injected rows (neither in its metadata nor in "
            f"{side_file(checkpoint.path).name})",
            "only checkpoints written by icis inject can be taken back",
        )
    head = find_head(checkpoint, record.head)
    misfit = record.misfit(len(head.weight))
    if misfit is not None:
        raise CheckpointError(checkpoint.path, misfit)
    gone = ", ".join(record.dropped)
    edits = _without_rows(checkpoint, head, record)
    ends = itertools.accumulate((part.classes for part in record.rounds), initial=record.seen)
    ties = grown_with(checkpoint, edits, {end for end in ends if end > record.seen})
    return Expansion(
        checkpoint,
        head,
        edits | cut(checkpoint, ties, record.seen),
        None,
        record.class_names[: record.seen],
        np.empty((0, head.rows.shape[1]), dtype=np.float32),
        notes=(f"{gone} were left out by the injection and cannot be given back",) if gone else (),
        ties=ties,
    )


def _without_rows(checkpoint: Checkpoint, head: Head, record: Record) -> dict[str, Edit]:
    """Make the edits that take all injected rows off; layers that are not as recorded stay."""
    total = len(record.class_names)
    sides = tuple(key for key in record.auxiliary if _rows_of(checkpoint, key) == total)
    return shortened(checkpoint, (*head.layers, *sides), record.seen)


def _rows_of(checkpoint: Checkpoint, key: str) -> int:
    info = checkpoint.tensors.get(f"{key}.weight")
    return info.shape[0] if info is not None and info.shape else 0


@dataclass(frozen=True)
class _Sides:
    """What becomes of heads that take part in training alone: their keys, and words about it."""

    widened: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _sides(checkpoint: Checkpoint, head: Head, wanted: Auxiliary) -> _Sides:
    found = auxiliary_heads(checkpoint, head)
    listed = ", ".join(found)
    if not found:
        return _Sides()
    if wanted == "drop":
        note = f"{listed}, used in training alone, are left out: build the network without them"
        modules = tuple(key.rpartition(".")[0] for key in found)
        return _Sides(dropped=modules, notes=(f"{note} (aux_logits=False)",))
    fitting = tuple(key for key in found if _rows_of(checkpoint, key) == len(head.weight))
    others = ", ".join(key for key in found if key not in fitting)
    notes = []
    if fitting:
        notes.append(
            f"{', '.join(fitting)}, used in training alone, get neutral rows for the new classes, "
            "so that the checkpoint loads as before (--auxiliary drop leaves them out)"
        )
    if others:
        notes.append(f"{others}, used in training alone, have rows of other classes and stay")
    return _Sides(fitting, notes=tuple(notes))


def _check_belongs(
    checkpoint: Checkpoint, head: Head, injector: Injector, record: Record | None
) -> None:
    """Accept the head that the injector was fitted on, also with rows injected since."""
    counts = {len(head.weight)}
    if record is not None:
        count = record.seen
        counts.add(count)
        for part in record.rounds:
            count += part.classes
            counts.add(count)
    for count in counts:
        bias = None if head.bias is None else head.bias[:count]
        if head_digest(head.weight[:count], bias) == injector.source.head_sha256:
            return
    raise InjectorError(
        checkpoint.path,
        f"its head {head.key!r} is not the one that the injector was fitted on "
        f"({injector.source.path})",
        "run icis fit again with these weights",
    )


def _known_names(checkpoint: Checkpoint, injector: Injector) -> tuple[str, ...]:
    """Return the names of the seen classes: the checkpoint's own where it has any."""
    own = checkpoint.labels.class_names
    return own if own is not None and len(own) == len(injector.seen_names) else injector.seen_names


def _without_bias(head: Head, calibration: Calibration) -> tuple[str, ...]:
    if not calibration.gamma:
        return ()
    text = (
        f"the head {head.key!r} has no bias, so that the offset {calibration.gamma:+.2f} cannot be "
        "stored: add it to the logits of the new classes in your own code, or trained classes will "
        "win most contests"
    )
    return (text,)


def _entered(injector: Injector, classes: NewClasses) -> Matrix:
    """Return the descriptors (U, d) as the method gets them."""
    described = classes.descriptors

    def make(rows: slice | IntArray) -> FloatArray:
        return injector.views.enter(looked_up(described, rows))

    return LazyMatrix(len(described), described.shape[1], make)


def _standing(certainty: Certainty | None) -> tuple[float, ...]:
    return () if certainty is None else tuple(round(float(s), 3) for s in certainty.standing)

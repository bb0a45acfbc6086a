"""Finding what an HTML report shows: from a checkpoint, its injector, and an evaluation.

However many classes there are, a report shows so many of them that a browser can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.errors import InjectorError
from icis_cli.evaluation.evaluate import require_both_sides
from icis_cli.evaluation.known import KnownHead
from icis_cli.evaluation.result import ClassResult, Evaluation
from icis_cli.html.data import ClassLine, Likeness, Report, Source, Subject
from icis_cli.html.records import recorded_standing, sound_record
from icis_cli.html.rows import lengths_of, map_of, nearest_rows
from icis_cli.injection.injector import Injector, head_digest
from icis_cli.injection.record import Record
from icis_cli.lazy import rows_at
from icis_cli.validation.certainty import Certainty, assess
from icis_cli.validation.heldout import judge, sample

#: Classes of each kind in the table, and new classes in the heat map.
_MOST_LINES, _MOST_LIKE = 2000, 30


def report_of(
    checkpoint: Checkpoint,
    known: KnownHead,
    injector: Injector | None = None,
    evaluation: Evaluation | None = None,
) -> Report:
    """Gather what an HTML report shows; ``write_html`` writes it.

    Args:
        checkpoint: the expanded checkpoint.
        known: from ``known_head`` of it.
        injector: what its rows were made with: adds the training, held-out classes, and how sure
            each new class is. None to do without.
        evaluation: on labelled samples, from ``evaluate_features`` or ``evaluate_images``; None to
            do without.

    Raises:
        AlignmentError: the head has no new class, or no seen one.
        InjectorError: no row of the checkpoint was made with this injector.
        CheckpointError: it cannot be read, or its record is damaged.

    """
    require_both_sides(known)
    record = sound_record(checkpoint)
    weight, seen = known.head.weight, known.seen_classes
    standing = recorded_standing(record, len(weight) - seen)
    new = seen + _least_sure(standing)
    told = None if injector is None else _told(checkpoint, known, record, injector, new)
    nearest = nearest_rows(weight, seen, new)
    results = _by_row(known, evaluation)
    lines = [
        *_new_lines(known, new, standing, told, nearest, results),
        *_seen_lines(known, results),
    ]
    lines.sort(key=lambda line: (line.kind == "seen", _or_last(line.standing)))
    shown = len(lines)
    answered = sum(row < seen for row in results)
    return Report(
        Subject(
            checkpoint.path.name,
            checkpoint.sha256(),
            known.head.key,
            seen,
            len(weight) - seen,
            weight.shape[1],
            known.head.dtype,
            known.head.bias is not None,
        ),
        record,
        None if injector is None else _source(known, injector),
        evaluation,
        map_of(known, new),
        tuple(lengths_of(weight[sample(seen, _MOST_LINES)]).tolist()),
        _likeness(known, lines, new, nearest),
        tuple(lines),
        len(weight) - seen + answered - shown,
    )


@dataclass(frozen=True)
class _Told:
    """What an injector tells of new rows, by head row: lengths, and how sure it is of them."""

    before: Mapping[int, float]
    place: Mapping[int, int]
    certainty: Certainty | None
    fitted: tuple[str, ...]


def _or_last(value: float | None) -> float:
    return 2.0 if value is None else value


def _least_sure(standing: Sequence[float | None]) -> IntArray:
    """Return which new rows are shown, in row order: all, or the least sure of them."""
    order = np.argsort([_or_last(value) for value in standing], kind="stable")[:_MOST_LINES]
    return np.sort(order).astype(np.int64)


def _described(
    checkpoint: Checkpoint, known: KnownHead, record: Record | None, injector: Injector
) -> dict[int, int]:
    """Return which head rows the injector has a descriptor of, with the row of that.

    Raises:
        InjectorError: none of the rows was made with it.

    """
    place = {number: at for at, number in enumerate(injector.unseen_rows)}
    fitted = len(injector.seen_names)
    bias = None if known.head.bias is None else known.head.bias[:fitted]
    belongs = head_digest(known.head.weight[:fitted], bias) == injector.source.head_sha256
    if record is None:  # without names known_head has compared the new rows, too
        belongs = belongs and known.names == injector.seen_names + injector.unseen_names
    else:
        belongs = belongs and injector.digest in {part.injector_sha256 for part in record.rounds}
    if not belongs:
        raise InjectorError(
            checkpoint.path,
            "none of its rows was made with this injector, as far as can be told",
            "pass the file that icis inject used, or leave out --injector",
        )
    if record is None:
        return {known.seen_classes + at: at for at in range(len(injector.unseen_names))}
    found = {}
    first = record.seen
    for part in record.rounds:
        own = part.injector_sha256 == injector.digest and part.descriptors == injector.descriptors
        for at, number in enumerate(part.descriptor_rows if own else ()):
            if number in place and at < part.classes:
                found[first + at] = place[number]
        first += part.classes
    return found


def _by_row(known: KnownHead, evaluation: Evaluation | None) -> dict[int, ClassResult]:
    """Return the result of each class that has one, by its row: results are in row order."""
    found = {}
    rows = iter(enumerate(known.names))
    for result in evaluation.classes if evaluation is not None else ():
        row = next((row for row, name in rows if name == result.name), None)
        if row is None:
            raise ValueError(f"the evaluation is of another checkpoint: {result.name!r}")
        found[row] = result
    return found


def _told(
    checkpoint: Checkpoint,
    known: KnownHead,
    record: Record | None,
    injector: Injector,
    new: IntArray,
) -> _Told:
    described = _described(checkpoint, known, record, injector)
    rows = [int(row) for row in new if int(row) in described]
    if not rows:
        return _Told({}, {}, None, injector.seen_names)
    values = rows_at(injector.unseen_descriptors, [described[row] for row in rows])
    predicted = injector.predict(values)
    width = known.head.weight.shape[1]
    joined = known.head.rows[: len(injector.seen_names)]
    if predicted.shape[1] != joined.shape[1] or not np.isfinite(lengths_of(predicted)).all():
        raise InjectorError(
            checkpoint.path,
            f"its rows have {joined.shape[1]} numbers; the injector predicts "
            f"{predicted.shape[1]}, or numbers that are not finite",
            "pass the file that icis inject used, or leave out --injector",
        )
    certainty = None
    if injector.held is not None:
        enter = injector.views.enter
        certainty = assess(
            joined,
            enter(injector.seen_descriptors),
            injector.held,
            predicted,
            enter(values),
            width,
        )
    lengths = lengths_of(predicted[:, :width]).tolist()
    return _Told(
        dict(zip(rows, lengths, strict=True)),
        {row: at for at, row in enumerate(rows)},
        certainty,
        known.names[: len(injector.seen_names)],
    )


def _source(known: KnownHead, injector: Injector) -> Source:
    held = injector.held
    rows = known.head.rows[: len(injector.seen_names)]
    return Source(
        injector.digest,
        injector.method,
        injector.seen_descriptors.shape[1],
        injector.losses if np.isfinite(injector.losses).all() else (),
        injector.stopped,
        None if held is None else judge(rows, held),
    )


def _new_lines(
    known: KnownHead,
    new: IntArray,
    standing: Sequence[float | None],
    told: _Told | None,
    nearest: tuple[IntArray, FloatArray],
    results: Mapping[int, ClassResult],
) -> list[ClassLine]:
    lengths = lengths_of(known.head.weight[new]).tolist()
    found = []
    for at, (row, length) in enumerate(zip(new.tolist(), lengths, strict=True)):
        sure, cosine, unlike = standing[row - known.seen_classes], None, False
        like = known.names[nearest[0][at, 0]]
        if told is not None and told.certainty is not None and row in told.place:
            place, certainty = told.place[row], told.certainty
            cosine, unlike = float(certainty.cosine[place]), bool(certainty.unlike[place])
            like = told.fitted[certainty.nearest[place]]
            sure = float(certainty.standing[place]) if sure is None else sure
        result = results.get(row)
        found.append(
            ClassLine(
                row,
                known.names[row],
                "new",
                sure,
                cosine,
                unlike,
                like,
                None if told is None else told.before.get(row),
                length,
                0 if result is None else result.samples,
                None if result is None else result.top1,
                None if result is None else result.own_top1,
            )
        )
    return found


def _seen_lines(known: KnownHead, results: Mapping[int, ClassResult]) -> list[ClassLine]:
    rows = sorted(row for row in results if row < known.seen_classes)[:_MOST_LINES]
    lengths = lengths_of(known.head.weight[rows]).tolist()
    found = []
    for row, length in zip(rows, lengths, strict=True):
        result = results[row]
        found.append(
            ClassLine(
                row,
                known.names[row],
                "seen",
                None,
                None,
                unlike=False,
                like=None,
                before=None,
                after=length,
                samples=result.samples,
                top1=result.top1,
                own_top1=result.own_top1,
            )
        )
    return found


def _likeness(
    known: KnownHead,
    lines: Sequence[ClassLine],
    new: IntArray,
    nearest: tuple[IntArray, FloatArray],
) -> tuple[Likeness, ...]:
    """Return the heat map: the new classes that come first in the table."""
    place = {row: at for at, row in enumerate(new.tolist())}
    chosen = [line for line in lines if line.kind == "new"][:_MOST_LIKE]
    return tuple(
        Likeness(
            line.name,
            tuple(
                (known.names[row], float(cosine))
                for row, cosine in zip(*(part[place[line.row]] for part in nearest), strict=True)
            ),
        )
        for line in chosen
    )

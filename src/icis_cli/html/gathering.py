"""Finding what an HTML report shows: from a checkpoint, its injector, and an evaluation.

However many classes there are, a report shows so many of them that a browser can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.evaluation.evaluate import require_both_sides
from icis_cli.evaluation.known import KnownHead
from icis_cli.evaluation.result import ClassResult, Evaluation
from icis_cli.html.data import ClassLine, Example, Likeness, Report, Source, Stage, Subject
from icis_cli.html.records import recorded_standing, sound_record
from icis_cli.html.rows import lengths_of, map_of, nearest_rows
from icis_cli.html.told import Told, told_by
from icis_cli.injection.expansion import Expansion
from icis_cli.injection.injector import Injector
from icis_cli.injection.record import Record
from icis_cli.report.courses import loss_course
from icis_cli.report.verdict import (
    Expectation,
    Verdict,
    expectation,
    fitted_verdict,
    measured_verdict,
    verdict_of,
)
from icis_cli.validation.heldout import judge, sample

#: Classes of each kind in the table, and new classes in the heat map.
_MOST_LINES, _MOST_LIKE = 2000, 30


def report_of(
    checkpoint: Checkpoint,
    known: KnownHead,
    injector: Injector | None = None,
    evaluation: Evaluation | None = None,
    examples: tuple[Example, ...] = (),
) -> Report:
    """Gather what an HTML report shows; ``write_html`` writes it.

    Args:
        checkpoint: the expanded checkpoint.
        known: from ``known_head`` of it.
        injector: what its rows were made with: adds the training, held-out classes, and how sure
            each new class is. None to do without.
        evaluation: on labelled samples, from ``evaluate_features`` or ``evaluate_images``; None to
            do without.
        examples: images of confusions, from ``find_examples``.

    Raises:
        AlignmentError: the head has no new class, or no seen one.
        InjectorError: no row of the checkpoint was made with this injector.
        CheckpointError: it cannot be read, or its record is damaged.

    """
    require_both_sides(known)
    record = sound_record(checkpoint)
    report = _gathered(checkpoint, known, record, injector, evaluation, stage="written")
    return replace(report, examples=examples)


def planned_report(expansion: Expansion, injector: Injector) -> Report:
    """Gather what an HTML report shows of a checkpoint that has not been written yet.

    Args:
        expansion: from ``expand``: what would be written.
        injector: that it was made with.

    Raises:
        ValueError: ``expansion`` takes rows off.

    """
    if expansion.record is None:
        raise ValueError("a removal adds nothing that a report could show")
    width = expansion.head.weight.shape[1]
    rows, old = expansion.rows[:], expansion.head
    bias = None if old.bias is None else np.concatenate([old.bias, rows[:, width]])
    head = replace(old, weight=np.concatenate([old.weight, rows[:, :width]]), bias=bias)
    known = KnownHead(head, expansion.class_names, expansion.record.seen, None)
    record = expansion.record.with_digest(expansion.checkpoint.sha256())
    return _gathered(expansion.checkpoint, known, record, injector, None, stage="planned")


def _gathered(
    checkpoint: Checkpoint,
    known: KnownHead,
    record: Record | None,
    injector: Injector | None,
    evaluation: Evaluation | None,
    stage: Stage,
) -> Report:
    weight, seen = known.head.weight, known.seen_classes
    standing = recorded_standing(record, len(weight) - seen)
    new = seen + _least_sure(standing)
    told = None if injector is None else told_by(checkpoint.path, known, record, injector, new)
    nearest = nearest_rows(weight, seen, new)
    results = _by_row(known, evaluation)
    lines = [
        *_new_lines(known, new, standing, told, nearest, results),
        *_seen_lines(known, results),
    ]
    lines.sort(key=lambda line: (line.kind == "seen", line.twin is None, _or_last(line.standing)))
    calibration = None if told is None else told.calibration
    expected = None if calibration is None else expectation(calibration, known.head)
    if evaluation is not None:
        expected = None
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
            stage,
        ),
        _verdict(known, injector, evaluation, expected),
        expected,
        record,
        None if injector is None else _source(known, injector),
        evaluation,
        map_of(known, new),
        tuple(lengths_of(weight[sample(seen, _MOST_LINES)]).tolist()),
        _likeness(known, lines, new, nearest),
        tuple(lines),
        len(weight) - seen + answered - shown,
    )


def _verdict(
    known: KnownHead,
    injector: Injector | None,
    evaluation: Evaluation | None,
    expected: Expectation | None,
) -> Verdict:
    """Judge by samples where there are any, else by what the injector tells."""
    if evaluation is not None:
        return measured_verdict(evaluation, len(known.names) - known.seen_classes)
    if injector is None:
        return verdict_of(known.seen_classes, None)
    return fitted_verdict(injector, known.head.rows, expected)


def _or_last(value: float | None) -> float:
    return 2.0 if value is None else value


def _least_sure(standing: Sequence[float | None]) -> IntArray:
    """Return which new rows are shown, in row order: all, or the least sure of them."""
    order = np.argsort([_or_last(value) for value in standing], kind="stable")[:_MOST_LINES]
    return np.sort(order).astype(np.int64)


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


def _source(known: KnownHead, injector: Injector) -> Source:
    held = injector.held
    rows = known.head.rows[: len(injector.seen_names)]
    return Source(
        injector.digest,
        injector.method,
        injector.seen_descriptors.shape[1],
        loss_course(injector),
        injector.stopped,
        None if held is None else judge(rows, held),
    )


def _new_lines(
    known: KnownHead,
    new: IntArray,
    standing: Sequence[float | None],
    told: Told | None,
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
                None if told is None else told.twins.get(row),
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
                twin=None,
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

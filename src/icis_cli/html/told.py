"""What an injector tells of the new rows that were made with it: lengths, and how sure each is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.errors import InjectorError
from icis_cli.evaluation.known import KnownHead
from icis_cli.html.rows import lengths_of
from icis_cli.injection.calibration import Calibration, calibrate
from icis_cli.injection.injector import Injector, head_digest
from icis_cli.injection.record import Record
from icis_cli.lazy import rows_at
from icis_cli.report.outlook import twins_of
from icis_cli.validation.certainty import Certainty, assess


@dataclass(frozen=True)
class Told:
    """What an injector tells of new rows.

    Attributes:
        before: lengths as they were predicted, by head row.
        place: of head rows in ``certainty``.
        certainty: of rows; None where no seen class was held out.
        fitted: names of the seen classes that the injector was fitted on.
        twins: of new rows, the seen class that is described exactly like each, or None, by head
            row.
        calibration: found again for all rows of the only injection; None where not all of them
            can be told of, or there was no held-out class.

    """

    before: Mapping[int, float]
    place: Mapping[int, int]
    certainty: Certainty | None
    fitted: tuple[str, ...]
    twins: Mapping[int, str | None]
    calibration: Calibration | None


def told_by(
    path: Path,
    known: KnownHead,
    record: Record | None,
    injector: Injector,
    new: IntArray,
) -> Told:
    """Return what an injector tells of the new rows ``new`` of the checkpoint at ``path``.

    Raises:
        InjectorError: none of its rows was made with this injector.

    """
    described = _described(path, known, record, injector)
    rows = [int(row) for row in new if int(row) in described]
    if not rows:
        return Told({}, {}, None, injector.seen_names, {}, None)
    values = rows_at(injector.unseen_descriptors, [described[row] for row in rows])
    predicted = injector.predict(values)
    width = known.head.weight.shape[1]
    joined = known.head.rows[: len(injector.seen_names)]
    if predicted.shape[1] != joined.shape[1] or not np.isfinite(lengths_of(predicted)).all():
        raise InjectorError(
            path,
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
    return Told(
        dict(zip(rows, lengths, strict=True)),
        {row: at for at, row in enumerate(rows)},
        certainty,
        known.names[: len(injector.seen_names)],
        dict(
            zip(
                rows,
                twins_of(
                    injector.seen_descriptors, known.names[: len(injector.seen_names)], values
                ),
                strict=True,
            )
        ),
        _calibration(known, record, injector, joined, predicted),
    )


def _calibration(
    known: KnownHead,
    record: Record | None,
    injector: Injector,
    joined: FloatArray,
    predicted: FloatArray,
) -> Calibration | None:
    """Find the calibration again that inject found; records do not say what it promised."""
    last = record.rounds[0] if record is not None and len(record.rounds) == 1 else None
    whole = len(predicted) == len(known.names) - known.seen_classes
    if last is None or last.calibration_kind != "auto" or injector.held is None or not whole:
        return None
    found = calibrate(joined, predicted, injector.held, known.head.weight.shape[1])
    applied = found.gamma if known.head.bias is not None else 0.0
    return found if math.isclose(applied, last.calibration, rel_tol=1e-4) else None


def _described(
    path: Path, known: KnownHead, record: Record | None, injector: Injector
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
            path,
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

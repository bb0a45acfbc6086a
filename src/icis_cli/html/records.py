"""What a record says, as far as a report can show it: records come from strangers, too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.errors import CheckpointError
from icis_cli.injection.record import Record, Round, find_record


def sound_record(checkpoint: Checkpoint) -> Record | None:
    """Return the record of a checkpoint, None where there is none.

    Raises:
        CheckpointError: there is one, but damaged.

    """
    record = find_record(checkpoint)
    for number, part in enumerate(record.rounds if record is not None else (), 1):
        if not _is_sound(part):
            raise CheckpointError(
                checkpoint.path,
                f"its icis record is damaged: injection {number} holds values of another kind "
                "than icis writes",
                "take the checkpoint that icis inject wrote",
            )
    return record


def _is_sound(part: Round) -> bool:
    standing = all(_is_number(share) and 0 <= share <= 1 for share in part.standing)
    rows = all(type(row) is int for row in part.descriptor_rows)
    return (
        standing
        and rows
        and type(part.classes) is int
        and _is_number(part.calibration)
        and isinstance(part.calibration_kind, str)
        and isinstance(part.settings, Mapping)
    )


def _is_number(value: Any) -> bool:
    # Of a whole number without an end no float can be made.
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def recorded_standing(record: Record | None, count: int) -> list[float | None]:
    """Return how sure each of so many new rows was said to be when it was injected."""
    found: list[float | None] = []
    for part in record.rounds if record is not None else ():
        complete = len(part.standing) == part.classes
        found += part.standing if complete else [None] * part.classes
    return found if len(found) == count else [None] * count

"""Whether the offsets that a record tells of are on the biases of the new rows.

Without the injector it is not known which biases were predicted, only about where they lie:
around those of the trained rows. So a wrong offset is found where it is off by more than biases and
rows are large.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from icis_cli.arrays import ITEM_SIZE, FloatArray, decode
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.head import Head
from icis_cli.injection.record import Record
from icis_cli.verification.result import Check

#: Predicted biases may differ from trained ones by so many times what those are, and by so many
#: times the length of a new row.
_BIASES, _ROWS = 3.0, 2.0
#: Where an offset is large, what is stored of it is rounded: about so much in bfloat16.
_ROUNDED = 0.01
#: So many new rows of an injection are looked at.
_MOST = 256


def offsets_check(new: Checkpoint, head: Head, record: Record, before: int) -> Iterator[Check]:
    """Compare the new biases of each injection with its offset; nothing where there are none.

    Args:
        new: with finite numbers in its head.
        head: of the old checkpoint.
        record: of the new checkpoint.
        before: rows of the old head.

    """
    if head.bias is None:
        return
    layer = head.layers[0]
    biases = new.array(f"{layer}.bias")
    usual = float(np.median(head.bias[: record.seen]))
    widest = float(np.abs(head.bias[: record.seen]).max())
    end, told = record.seen, []
    for number, part in enumerate(record.rounds, 1):
        first, end = end, end + part.classes
        if first < before or not part.classes:
            continue
        rows = _rows(new, f"{layer}.weight", first, min(part.classes, _MOST))
        length = float(np.median(np.linalg.norm(rows, axis=1)))
        found = float(np.median(biases[first:end])) - usual
        allowed = _BIASES * widest + _ROWS * length + _ROUNDED * abs(part.calibration) + 1e-3
        if not abs(found - part.calibration) <= allowed:
            yield Check(
                "offsets",
                f"its record has an offset of {part.calibration:+.2f} in injection {number}, but "
                f"the new biases lie {found:+.2f} from the trained ones",
            )
            return
        told.append(f"{part.calibration:+.2f}")
    yield Check("offsets", None, f"{', '.join(told)}: the new biases agree, as far as they can")


def _rows(checkpoint: Checkpoint, key: str, first: int, count: int) -> FloatArray:
    """Read some rows (count, D) of a tensor; the others are passed over."""
    info = checkpoint.tensors[key]
    width = info.count // info.shape[0]
    size = width * ITEM_SIZE[info.dtype]
    start, end, place, kept = first * size, (first + count) * size, 0, bytearray()
    for block in checkpoint.blocks(key):
        data = memoryview(block).cast("B")
        kept += data[max(0, start - place) : max(0, end - place)]
        place += len(data)
        if place >= end:
            break
    return decode(memoryview(kept), info.dtype, (count, width))

"""Two runs of bytes, gone through together in short stretches: only these are in memory.

Each run comes in blocks of any size, as containers read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import ITEM_SIZE, decode
from icis_cli.checkpoint.base import Buffer

_Bytes = NDArray[np.uint8]

#: Bytes of a stretch; a multiple of the size of every number.
_STRETCH = 1 << 24


@dataclass(frozen=True)
class Stretch:
    """A stretch of the new run.

    Attributes:
        first: its first byte.
        new: its bytes.
        old: as many of the old run; None beyond the end of that.

    """

    first: int
    new: _Bytes
    old: _Bytes | None

    def difference(self) -> int | None:
        """Return the first byte in which the two runs differ, None where there is none."""
        if self.old is None or np.array_equal(self.old, self.new):
            return None
        return self.first + int(np.flatnonzero(self.old != self.new)[0])

    def not_finite(self, dtype: str) -> int | None:
        """Return the first byte of the first new number that is not finite."""
        size = ITEM_SIZE[dtype]
        values = decode(self.new.data, dtype, (len(self.new) // size,))
        bad = np.flatnonzero(~np.isfinite(values))
        return self.first + size * int(bad[0]) if len(bad) else None


def stretches(old: Iterable[Buffer], new: Iterable[Buffer]) -> Iterator[Stretch]:
    """Yield all stretches of ``new``, each with those bytes of ``old`` that are at its place.

    Where ``new`` is the shorter run, the end of ``old`` is not looked at.
    """
    olds = _arrays(old)
    there: _Bytes | None = next(olds, None)
    first = 0
    for block in _arrays(new):
        rest = block
        while len(rest):
            size = min(len(rest), _STRETCH if there is None else len(there))
            yield Stretch(first, rest[:size], None if there is None else there[:size])
            first += size
            rest = rest[size:]
            if there is not None:
                there = there[size:] if size < len(there) else next(olds, None)


def _arrays(blocks: Iterable[Buffer]) -> Iterator[_Bytes]:
    for block in blocks:
        view = memoryview(block).cast("B")
        for first in range(0, len(view), _STRETCH):
            yield np.frombuffer(view[first : first + _STRETCH], dtype=np.uint8)

"""Small pictures made of characters: how a loss fell, and the seen-unseen curve.

Each comes as lines of plain text, in characters that the terminal can show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import IntArray
from icis_cli.evaluation.metrics import SeenUnseenCurve
from icis_cli.evaluation.result import Evaluation

#: Characters of a row of bars, at most, and of a curve.
_LONGEST, _WIDTH, _HEIGHT = 30, 48, 10

#: Points of a curve from which on no step between two of them is wide enough for a gap.
_MANY = 5000


@dataclass(frozen=True)
class Glyphs:
    """Characters to draw with.

    Attributes:
        bars: from the lowest to the highest.
        dots: of the dots in one character, row by row, the bit that each one is.
        empty: code of the character with no dot; those with dots follow it.
        own, best: marks of this checkpoint, and of the best offset.
        side, floor, corner: lines of a frame.

    """

    bars: str
    dots: tuple[tuple[int, ...], ...]
    empty: int
    own: str
    best: str
    side: str
    floor: str
    corner: str

    @property
    def all(self) -> str:
        """Every character that may be drawn."""
        most = sum(bit for row in self.dots for bit in row)
        marks = (self.own, self.best, self.side, self.floor, self.corner)
        return self.bars + chr(self.empty + most) + "".join(marks)


#: Braille characters have eight dots each.
FINE = Glyphs("▁▂▃▄▅▆▇█", ((1, 8), (2, 16), (4, 32), (64, 128)), 0x2800, "◆", "○", "│", "─", "└")
PLAIN = Glyphs("_.-=+*#@", ((1,),), ord("*") - 1, "#", "O", "|", "-", "+")


def glyphs_for(encoding: str | None) -> Glyphs:
    """Return the finest characters that a stream of this encoding takes."""
    try:
        FINE.all.encode(encoding or "ascii")
    except (LookupError, UnicodeError):
        return PLAIN
    return FINE


def sparkline(values: Sequence[float], glyphs: Glyphs) -> str:
    """Return values as a row of bars, several to a bar if they are many; ``""`` for fewer than two.

    The lowest bar is the least value, the highest one the greatest.
    """
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return ""
    parts = np.array_split(np.asarray(values, dtype=np.float64), min(len(values), _LONGEST))
    means = [float(part.mean()) for part in parts]
    low, high = min(means), max(means)
    steps = (len(glyphs.bars) - 1) / (high - low) if high > low else 0.0
    return "".join(glyphs.bars[round((mean - low) * steps)] for mean in means)


def curve_lines(evaluation: Evaluation, glyphs: Glyphs) -> tuple[str, ...]:
    """Draw accuracy on new classes over that on seen ones, as an offset moves.

    There is no line where only one of both sides has samples.
    """
    if not math.isfinite(evaluation.harmonic):
        return ()
    cells = _drawn(evaluation.curve, glyphs)
    own = (evaluation.seen, evaluation.unseen)
    for (seen, unseen), mark in ((_best(evaluation.curve), glyphs.best), (own, glyphs.own)):
        cells[_place(1 - unseen, _HEIGHT)][_place(seen, _WIDTH)] = mark
    labels = {0: "100", _HEIGHT // 2: "50", _HEIGHT - 1: "0"}
    middle, end = _WIDTH // 2, _WIDTH - 3
    return (
        "right (%): new classes upwards, seen classes to the right",
        *(
            f"{labels.get(number, ''):>4} {glyphs.side}{''.join(row)}".rstrip()
            for number, row in enumerate(cells)
        ),
        f"     {glyphs.corner}{glyphs.floor * _WIDTH}",
        f"      0{'50':>{middle}}{'100':>{end - middle + 2}}",
        f"      {glyphs.own} this checkpoint   {glyphs.best} best H, with another offset",
    )


def _drawn(curve: SeenUnseenCurve, glyphs: Glyphs) -> list[list[str]]:
    """Return the curve as rows of characters, the top one first."""
    dots = np.array(glyphs.dots)
    down, across = dots.shape
    ys, xs = _dense(1 - curve.unseen, _HEIGHT * down), _dense(curve.seen, _WIDTH * across)
    bits = np.zeros((_HEIGHT, _WIDTH), dtype=np.int64)
    np.bitwise_or.at(bits, (ys // down, xs // across), dots[ys % down, xs % across])
    return [[chr(glyphs.empty + one) if one else " " for one in row] for row in bits.tolist()]


def _dense(shares: NDArray[np.float64], count: int) -> IntArray:
    """Return places of values in 0..1, with so many between two of them that a line has no gap."""
    steps = 4 * _WIDTH if len(shares) < _MANY else 1
    fine = np.linspace(0, len(shares) - 1, (len(shares) - 1) * steps + 1)
    values = np.interp(fine, np.arange(len(shares)), shares)
    return np.clip(values * count, 0, count - 1).astype(np.int64)


def _best(curve: SeenUnseenCurve) -> tuple[float, float]:
    product, total = curve.seen * curve.unseen, curve.seen + curve.unseen
    at = int(np.argmax(np.divide(product, total, out=np.zeros_like(total), where=total > 0)))
    return float(curve.seen[at]), float(curve.unseen[at])


def _place(share: float, count: int) -> int:
    return min(count - 1, max(0, int(share * count)))

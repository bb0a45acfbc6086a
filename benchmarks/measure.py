"""What every section of the benchmarks prints: figures over several runs, as rows of one table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.sizes import Sizes

Runs = tuple[float, ...]


@dataclass(frozen=True)
class Setting:
    """How the sections run.

    Attributes:
        runs: of every comparison, >= 1.
        data: folder of the real data; it may lack some or all of it.
        work: an empty folder for files; what lies in it is removed at the end.
        sizes: of what is made up.

    """

    runs: int
    data: Path
    work: Path
    sizes: Sizes


@dataclass(frozen=True)
class Bound:
    """What was asked for: a value that is at ``"least"`` or at ``"most"`` this."""

    kind: Literal["least", "most"]
    value: float

    def met(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return value >= self.value if self.kind == "least" else value <= self.value


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: was measured.
        against: what it was compared with, or ``""``.
        values: ratio, seconds, megabytes; one per run.
        unit: of the values: ``"x"`` times, ``"s"``, ``"MB"``.
        bound: on their median, or None.
        times: seconds of each run; empty where none were taken.
        other_times: the same of what it was compared with.
        peak: largest resident set of the whole process in megabytes (10^6 bytes), or None.

    """

    what: str
    against: str
    values: Runs
    unit: str
    bound: Bound | None = None
    times: Runs = ()
    other_times: Runs = ()
    peak: float | None = None


@dataclass(frozen=True)
class Skipped:
    """A line that could not be measured, and why."""

    what: str
    why: str


Line = Row | Skipped


def _bound(kind: Literal["least", "most"], value: float | None) -> Bound | None:
    return None if value is None else Bound(kind, value)


def faster(
    what: str,
    against: str,
    times: Runs,
    other: Runs,
    bound: float | None,
    peak: float | None = None,
) -> Row:
    """Return how many times as long ``other`` takes, run by run; at least ``bound``."""
    ratios = tuple(b / a for a, b in zip(times, other, strict=True))
    return Row(what, against, ratios, "x", _bound("least", bound), times, other, peak)


def costs(
    what: str,
    against: str,
    times: Runs,
    other: Runs,
    bound: float | None,
    peak: float | None = None,
) -> Row:
    """Return how many times as long it takes as ``other``, run by run; at most ``bound``."""
    ratios = tuple(a / b for a, b in zip(times, other, strict=True))
    return Row(what, against, ratios, "x", _bound("most", bound), times, other, peak)


def seconds(what: str, times: Runs, bound: float | None, peak: float | None = None) -> Row:
    """Return a time; at most ``bound`` seconds."""
    return Row(what, "", times, "s", _bound("most", bound), times, (), peak)


def megabytes(what: str, peaks: Runs, bound: float | None, times: Runs = ()) -> Row:
    """Return peak resident sets of whole processes; at most ``bound`` megabytes."""
    return Row(what, "", peaks, "MB", _bound("most", bound), times, (), max(peaks))


def interleaved(runs: int, *actions: Callable[[], object]) -> tuple[Runs, ...]:
    """Time actions in turn, A B A B ..., so that whatever slows the machine slows all of them.

    Each is run once before, unmeasured: the first run pays for imports, caches and fresh memory.

    Returns:
        Seconds of each run, per action.

    """
    for action in actions:
        action()
    taken: list[list[float]] = [[] for _ in actions]
    for _ in range(runs):
        for times, action in zip(taken, actions, strict=True):
            times.append(timed(action))
    return tuple(tuple(times) for times in taken)


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


COLUMNS = (
    "what",
    "against",
    "median",
    "min to max",
    "asked",
    "median time s",
    "its s",
    "peak RSS MB",
    "runs",
)


def header() -> str:
    """Return the head of the table in Markdown."""
    return f"| {' | '.join(COLUMNS)} |\n| --- | --- |" + " ---: |" * (len(COLUMNS) - 2)


def markdown(line: Line) -> str:
    """Return one line of the table."""
    if isinstance(line, Skipped):
        cells = [line.what, f"not measured: {line.why}", *[""] * (len(COLUMNS) - 2)]
    else:
        cells = [
            line.what,
            line.against,
            f"{number(statistics.median(line.values))} {line.unit}",
            f"{number(min(line.values))} to {number(max(line.values))}",
            _asked(line),
            _median(line.times),
            _median(line.other_times),
            "" if line.peak is None else f"{line.peak:.0f}",
            str(len(line.values)),
        ]
    return f"| {' | '.join(cells)} |"


def missed(lines: Iterable[Line]) -> list[Row]:
    """Return the rows whose median is not within the bound."""
    return [
        line
        for line in lines
        if isinstance(line, Row)
        and line.bound is not None
        and not line.bound.met(statistics.median(line.values))
    ]


def number(value: float) -> str:
    """Return a number with three significant digits, without an exponent."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.1e}"


def _asked(row: Row) -> str:
    if row.bound is None:
        return ""
    sign = ">=" if row.bound.kind == "least" else "<="
    verdict = "met" if row.bound.met(statistics.median(row.values)) else "MISSED"
    return f"{sign} {row.bound.value:g} {row.unit}: {verdict}"


def _median(times: Sequence[float]) -> str:
    return number(statistics.median(times)) if times else ""

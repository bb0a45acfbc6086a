"""What a command prints: its result on stdout, everything else on stderr.

A command makes one :class:`Output` and hands it a result in three forms; which one is shown is
decided here alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from icis_cli.errors import IcisError, OutputError, printable
from icis_cli.interrupts import printing

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SCHEMA_VERSION = 1

#: Characters of a note that a person is shown: some twenty pairs of names.
_LONGEST_NOTE = 1000

#: Seconds by which the speed is judged: a run of a comparison may take many minutes.
_PERIOD = 3600.0


class StdoutError(OutputError):
    """stdout takes nothing more, so that an error cannot be told there, either."""

    def __init__(self, error: OSError) -> None:
        super().__init__("stdout", error.strerror or str(error))


@contextmanager
def to_stdout() -> Iterator[None]:
    """Write to stdout in this block, up to the last byte; then the exit code is decided.

    Raises:
        StdoutError: it takes nothing more, e.g. on a full disk.
        BrokenPipeError: nobody reads it any more.

    """
    try:
        with printing():
            yield
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StdoutError(error) from error


@dataclass(frozen=True)
class Output:
    """Where and how a command speaks.

    Attributes:
        command: its name.
        mode: ``"human"``, ``"json"`` (one object) or ``"quiet"`` (the result in one line).
        progress: whether progress bars are wanted; they need a terminal, too.

    """

    command: str
    mode: str
    progress: bool

    @classmethod
    def of(cls, command: str, *, json: bool, quiet: bool, no_progress: bool) -> Output:
        """Choose the mode from the options that every command has."""
        mode = "json" if json else "quiet" if quiet else "human"
        return cls(command, mode, progress=not (no_progress or quiet) and sys.stderr.isatty())

    def say(self, what: RenderableType) -> None:
        """Tell a person what goes on (stderr); silent unless in human mode."""
        if self.mode != "human":
            return
        if isinstance(what, str):
            _line(printable(what))
        else:
            _show(what, sys.stderr)

    def show_command(self, command: str) -> None:
        """Show a person a command line (stderr), whole: a terminal may wrap it, a copy is whole."""
        if self.mode == "human":
            _show(f"$ {command}", sys.stderr)

    def note(self, notes: Iterable[str]) -> None:
        """Tell a person what they may want to check (stderr)."""
        for text in notes:
            if self.mode == "human":
                _line(f"note: {_shortened(printable(text))}")

    def warn(self, warnings: Iterable[str]) -> None:
        """Tell what is probably wrong (stderr), in every mode."""
        for text in warnings:
            _line(f"warning: {printable(text)}")

    def result(
        self,
        human: RenderableType | tuple[str, ...],
        quiet: str | tuple[str, ...],
        data: Mapping[str, Any],
    ) -> None:
        """Print the result (stdout) in the form that was asked for; a tuple holds lines.

        Raises:
            StdoutError, BrokenPipeError: as :func:`to_stdout`.

        """
        with to_stdout():
            if self.mode == "json":
                print_json({"schema_version": SCHEMA_VERSION, "command": self.command, **data})
            elif self.mode == "quiet":
                _show(quiet, sys.stdout)
            else:
                _show(human, sys.stdout)

    @contextmanager
    def bar(self, what: str, unit: str) -> Iterator[ProgressBar | None]:
        """Show a progress bar on stderr while the block runs, if one is wanted."""
        if not self.progress:
            yield None
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}{task.fields[rate]} {task.fields[detail]}"),
            TimeRemainingColumn(compact=True),
        )
        with Progress(
            *columns,
            console=_console(sys.stderr),
            transient=True,
            speed_estimate_period=_PERIOD,
        ) as progress:
            task = progress.add_task(what, unit=unit, rate="", detail="", total=None)
            yield ProgressBar(progress, task)

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Show on stderr that something goes on while the block runs, and for how long."""
        if not self.progress:
            yield
            return
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=_console(sys.stderr), transient=True) as progress:
            progress.add_task(what, total=None)
            yield


@dataclass(frozen=True)
class ProgressBar:
    """A running progress bar."""

    progress: Any
    task: Any

    def show(self, done: int, total: int, detail: str = "") -> None:
        """Say how far things are; how fast they go is found here."""
        self.progress.update(self.task, completed=done, total=total, detail=detail)
        # None until two steps are done: the first one waits for all that has to start.
        speed = self.progress.tasks[0].speed
        self.progress.update(self.task, rate=f", {_rate(speed)}" if speed else "")

    def tell(self, detail: str) -> None:
        """Say where the thing is that is being done now."""
        self.progress.update(self.task, detail=detail)


def _rate(speed: float) -> str:
    """Return how many things are done in a second, or how long one takes."""
    if speed < 1:
        return f"{1 / speed:.0f} s each"
    return f"{speed:.1f}/s" if speed < 10 else f"{speed:.0f}/s"


def _show(what: RenderableType | tuple[str, ...], stream: TextIO) -> None:
    """Print plain text as one line, whatever it holds (names are no markup), else a table."""
    if isinstance(what, str | tuple):
        for line in (what,) if isinstance(what, str) else what:
            print(printable(line), file=stream)
    else:
        _console(stream).print(what)


def _console(stream: TextIO) -> Console:
    """Return a console; colours only on a terminal, and never with NO_COLOR."""
    from rich.console import Console

    return Console(file=stream, highlight=False)


def print_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout; never NaN, which is no JSON.

    Names are escaped to ASCII: they may hold control characters, or what stdout cannot encode.
    """
    print(json.dumps(content, allow_nan=False))


def print_error(error: IcisError, *, as_json: bool) -> None:
    """Print an error as one line on stderr, and as the JSON result where that was asked for."""
    _line(f"icis: error: {error.message}" + (f" - {error.hint}" if error.hint else ""))
    if as_json:
        kind = type(error).__name__
        content = {"type": kind, "message": error.message, "hint": error.hint}
        print_json({"schema_version": SCHEMA_VERSION, "error": content})


def _shortened(text: str) -> str:
    """Return the start of a text that is too long to be read: --json has it whole."""
    if len(text) <= _LONGEST_NOTE:
        return text
    return f"{text[:_LONGEST_NOTE].rpartition(', ')[0] or text[:_LONGEST_NOTE]}, ... (all: --json)"


def _line(text: str) -> None:
    print(_wrapped(text, sys.stderr), file=sys.stderr)


def _wrapped(text: str, stream: TextIO) -> str:
    """Return a line as a terminal has room for it, broken between words; anywhere else as it is.

    What is longer than a line, as a path may be, stays whole, so that it can be copied.
    """
    if not stream.isatty():
        return text
    from rich.cells import cell_len

    width = _console(stream).width
    lines: list[str] = []
    for word in text.split(" "):
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)

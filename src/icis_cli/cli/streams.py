"""stdout and stderr of a process: that they are there at its start, and empty at its end."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

from icis_cli.cli.output import StdoutError, print_error, to_stdout
from icis_cli.interrupts import INTERRUPTED, wait
from icis_cli.workers import is_first

#: How many seconds a failing process that prints nothing stays, at most, for the one that does.
_PATIENCE = 20.0


def open_streams() -> None:
    """See to it that there are stdout and stderr, and that all can be printed on them."""
    for name in ("stdout", "stderr"):
        # It is None where the process was started without one.
        if getattr(sys, name) is None or not _speaks(name):
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may hold what its encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    if not sys.stdout.isatty():  # typer would colour help in the logs of GitHub, too
        os.environ["_TYPER_FORCE_DISABLE_TERMINAL"] = "1"


def _speaks(stream: str) -> bool:
    """Tell whether this process prints: of those that share work, the first alone.

    All may print tracebacks on stderr, where they are asked for.
    """
    return is_first() or (stream == "stderr" and os.environ.get("ICIS_DEBUG") == "1")


def flushed(code: int) -> int:
    """Print what help left in the buffer; return the exit code after that."""
    if code == INTERRUPTED:  # perhaps because nobody takes what is left
        return code
    try:
        with to_stdout():
            pass
    except (StdoutError, BrokenPipeError) as error:
        if isinstance(error, StdoutError):
            print_error(error, as_json=False)
        forget_stdout()
        return code or 1
    return code


def let_first_end(code: int) -> None:
    """Let the first process end before this one, where torchrun has started several.

    As soon as one process fails, torchrun ends the others, perhaps before the error is printed.
    """
    if code in (0, INTERRUPTED) or is_first() or "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    wait(_PATIENCE)


def forget_stdout() -> None:
    """Let go of a stdout that takes nothing, so that nobody writes there again."""
    with contextlib.suppress(OSError):  # a stream without a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stdout = io.StringIO()

"""Commands in processes of their own, with the time and the peak memory of the whole process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_LAUNCH = Path(__file__).with_name("launch.py")
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Finished:
    """What a command took.

    Attributes:
        seconds: from start to end.
        peak: largest resident set in megabytes (10^6 bytes).
        out: its stdout and stderr.

    """

    seconds: float
    peak: float
    out: str


@dataclass(frozen=True)
class _Taken:
    """What ``launch.py`` writes; the code is None where it could not start the command."""

    code: int | None = None
    seconds: float = 0.0
    peak: int = 0


class CommandError(Exception):
    """A command did not end as it should."""


def run(command: list[str | Path], code: int = 0, limit_s: float = 3600) -> Finished:
    """Run a command; an absolute path comes first.

    Args:
        command: with its arguments.
        code: that it must exit with.
        limit_s: seconds after which it is ended.

    Raises:
        CommandError: another exit code, or it took too long.

    """
    words = [str(word) for word in command]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        launcher = [sys.executable, "-I", "-S", str(_LAUNCH), str(result), *words]
        with Path(folder, "out.txt").open("w+b") as said:
            process = subprocess.Popen(
                launcher,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=_ROOT,
                start_new_session=True,
            )
            try:
                process.wait(limit_s)
            except subprocess.TimeoutExpired:
                _end(process)
                raise CommandError(f"{' '.join(words[-6:])}: over {limit_s:g} s") from None
            except BaseException:
                _end(process)
                raise
            said.seek(0)
            out = said.read().decode(errors="replace")
        taken = _Taken(**json.loads(result.read_text())) if result.is_file() else _Taken()
    if taken.code != code:
        last = (out.strip().splitlines() or ["it said nothing"])[-1][:200]
        raise CommandError(f"exit code {taken.code}, expected {code}: {last}")
    return Finished(taken.seconds, taken.peak / 1e6, out)


def icis(*words: str | Path, code: int = 0, limit_s: float = 3600) -> Finished:
    """Run the command ``icis``; see :func:`run`."""
    return run([sys.executable, "-m", "icis_cli", *words], code, limit_s)


def python(source: str, *words: str | Path) -> Finished:
    """Run a few lines of Python; see :func:`run`."""
    return run([sys.executable, "-c", source, *words])


def run_module(module: str, *words: str | Path) -> Finished:
    """Run a module of Python; see :func:`run`."""
    return run([sys.executable, "-m", module, *words])


def copy(source: Path, target: Path) -> Finished:
    """Run a plain ``cp`` and let the system write when it likes."""
    return run([_found("cp"), source, target])


def synced(path: Path) -> Finished:
    """Wait until a file is on the disk."""
    return run([_found("sync"), path])


def flush() -> None:
    """Let nothing that was written before wait to be written during a measurement."""
    run([_found("sync")])


def _found(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise CommandError(f"{name} is not installed")
    return path


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the launcher and the command: both are in a session of their own."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

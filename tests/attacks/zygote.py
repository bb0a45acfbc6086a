"""A process that has everything loaded and runs each command in a child of its own.

So a command takes milliseconds, not the seconds that torch takes to load, and what it took of the
memory can be told: by how much the peak of the child is above that of a child that does nothing.

Run as a script it reads one JSON request a line ({"arguments", "cwd"}) and answers each with one.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

#: A command that takes longer is killed: hostile files must not hang it either.
SECONDS = 60


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code; negative: the signal that killed it.
        out, err: bytes that it printed.
        peak: KiB of memory that it took beyond a child that does nothing.

    """

    code: int
    out: bytes
    err: bytes
    peak: int


class Zygote:
    """The process, seen from a test."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.attacks.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "COLUMNS": "80",
            },
        )
        self.base = self._ask([], ".")["peak"]

    def run(self, *arguments: object, cwd: Path) -> Ended:
        """Run ``icis`` with arguments."""
        found = self._ask([str(argument) for argument in arguments], str(cwd))
        return Ended(
            found["code"],
            bytes.fromhex(found["out"]),
            bytes.fromhex(found["err"]),
            max(0, found["peak"] - self.base),
        )

    def _ask(self, arguments: list[str], cwd: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"arguments": arguments, "cwd": cwd}), file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()  # closes the pipes, too


def _child(arguments: list[str], cwd: str, out: int, err: int) -> None:
    """Become a command."""
    os.chdir(cwd)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not arguments:
        os._exit(0)
    from icis_cli.cli import main

    sys.argv = ["icis", *arguments]
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    try:
        main.main()
        code: Any = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _serve() -> None:
    """Answer requests until there are no more."""
    import numpy  # noqa: F401, ICN001
    import rich.table  # noqa: F401
    import torch
    import torchvision  # noqa: F401
    import typer  # noqa: F401

    import icis_cli.cli.main  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if not child:
                try:
                    _child(request["arguments"], request["cwd"], out.fileno(), err.fileno())
                except BaseException:
                    import traceback

                    traceback.print_exc()
                finally:
                    os._exit(99)
            _, status, usage = os.wait4(child, 0)
            out.seek(0)
            err.seek(0)
            answer = {
                "code": os.waitstatus_to_exitcode(status),
                "out": out.read().hex(),
                "err": err.read().hex(),
                "peak": usage.ru_maxrss,
            }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()

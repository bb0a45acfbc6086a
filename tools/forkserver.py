"""A process that has torch and the package loaded, and runs each command in a child of its own.

So a command takes a tenth of a second, not the seconds that torch takes to load, and the memory
that it took can be measured. Tests, the golden record and examples use it; what is about starting
a process (help without torch, signals, torchrun) starts a real one instead.

    with ForkServer() as server:
        ended = server.run("inspect", "model.pt", cwd=folder)
        subprocess.run(["bash", "-c", "icis inspect model.pt"], env=server.on_path(os.environ))
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import resource
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TextIO

from tools.forkclient import receive_answer, send_request

#: A command that takes more seconds of the processor is killed: hostile files must not hang it.
LIMIT_S = 120

#: What the server loads at its start.
PRELOADED = ("torch", "torchvision", "rich.table", "rich.progress", "safetensors.numpy")

#: One core each: several processes run side by side, and sums come out in the same order.
ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_ROOT = Path(__file__).parents[1]


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


class ForkServer:
    """The process, seen from the one that uses it."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        """Start it; ``preload`` names modules beside ``PRELOADED`` that many commands need."""
        self._folder = tempfile.TemporaryDirectory(prefix="icis-fork-")
        self._address = str(Path(self._folder.name) / "socket")
        for program in ("icis", "python", "python3"):
            self._write_stand_in(program)
        command = [sys.executable, "-m", "tools.forkserver", self._address, *PRELOADED, *preload]
        self._process = subprocess.Popen(
            command, cwd=_ROOT, env={**os.environ, **ONE_CORE}, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{shlex.join(command)} did not start")
        self._base = self._run("nothing", (), Path(), os.environ).peak

    def _write_stand_in(self, program: str) -> None:
        """Write what a shell finds under the name of a program."""
        client = shlex.join([sys.executable, "-IS", str(_ROOT / "tools" / "forkclient.py")])
        path = self.programs / program
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f'#!/bin/sh\nexec {client} {shlex.quote(self._address)} {program.rstrip("3")} "$@"\n'
        )
        path.chmod(0o755)

    @property
    def programs(self) -> Path:
        """A folder with ``icis`` and ``python`` that run in children of this server."""
        return Path(self._folder.name) / "bin"

    def on_path(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return an environment in which shells find these programs first."""
        path = [str(self.programs), str(Path(sys.executable).parent), environment["PATH"]]
        return {**environment, "PATH": os.pathsep.join(path)}

    def run(
        self, *arguments: object, cwd: Path, environment: Mapping[str, str] | None = None
    ) -> Ended:
        """Run ``icis`` with arguments, 80 columns wide, without stdin.

        Args:
            arguments: as on the command line.
            cwd: the folder it runs in.
            environment: in place of this process's own.

        """
        environment = {"COLUMNS": "80", **(os.environ if environment is None else environment)}
        ended = self._run("icis", [str(argument) for argument in arguments], cwd, environment)
        return Ended(ended.code, ended.out, ended.err, max(0, ended.peak - self._base))

    def _run(
        self, program: str, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str]
    ) -> Ended:
        with (
            Path(os.devnull).open("rb") as nothing,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            connection.connect(self._address)
            streams = (nothing.fileno(), out.fileno(), err.fileno())
            folder = str(cwd.absolute())
            send_request(connection, program, list(arguments), folder, dict(environment), streams)
            code, peak = receive_answer(connection)
            out.seek(0)
            err.seek(0)
            return Ended(code, out.read(), err.read(), peak)

    def close(self) -> None:
        """Stop the process."""
        self._process.kill()
        self._process.communicate()  # closes the pipe, too
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _run_python(arguments: list[str]) -> None:
    """Do what ``python ARGUMENT...`` does, as far as scripts use it."""
    first, *rest = arguments or ["-"]
    if first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
    elif first == "-m":
        sys.argv = rest
        sys.path.insert(0, "")
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first.startswith("-"):
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(first).parent.absolute()))
        runpy.run_path(first, run_name="__main__")


def _text_stream(number: int, environment: Mapping[str, str]) -> TextIO:
    """Open stdout or stderr as Python does at its start."""
    unbuffered = bool(environment.get("PYTHONUNBUFFERED"))
    encoding, _, errors = environment.get("PYTHONIOENCODING", "").partition(":")
    stream = open(number, "wb", buffering=0 if unbuffered else -1, closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(
        stream,
        encoding or "utf-8",
        "backslashreplace" if number == 2 else errors or "strict",
        line_buffering=number == 2 or stream.isatty(),
        write_through=unbuffered,
    )


def _become(
    program: str, arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]
) -> int:
    """Be a command; return its exit code."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = _text_stream(1, environment)
    sys.stderr = _text_stream(2, environment)
    code: Any = 0
    try:
        if program == "icis":
            from icis_cli.cli.main import main

            sys.argv = ["icis", *arguments]
            main()
        elif program == "python":
            _run_python(arguments)
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code if isinstance(code, int) else 0 if code is None else 1


def _child_of(connection: socket.socket, others: Iterable[socket.socket]) -> int:
    """Start what a client asks for in a child, which lets go of all sockets; return its number."""
    length, streams, *_ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as incoming:
        request = json.loads(incoming.read(int.from_bytes(length, "big")))
    child = os.fork()
    if not child:
        code = 99
        try:
            for one in (connection, *others):
                one.close()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            program, arguments, folder, environment = request
            code = _become(program, arguments, folder, environment, streams)
        finally:
            os._exit(code)
    for stream in streams:
        os.close(stream)
    return child


def _answer_ended(running: dict[int, socket.socket]) -> None:
    """Tell the clients whose children have ended, and forget them."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.wait4(-1, os.WNOHANG))[0]:
            child, status, usage = ended
            answer = [os.waitstatus_to_exitcode(status), usage.ru_maxrss]
            with running.pop(child) as connection, contextlib.suppress(OSError):
                connection.sendall(json.dumps(answer).encode() + b"\n")


def _serve(address: str, preload: Sequence[str]) -> None:
    """Answer requests until killed."""
    _load(preload)
    heard, woken = os.pipe()
    for end in (heard, woken):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    running: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listening.fileno(), heard], [], [])
            if heard in ready:
                os.read(heard, 1024)
            _answer_ended(running)
            if listening.fileno() in ready:
                connection, _ = listening.accept()
                child = _child_of(connection, (listening, *running.values()))
                running[child] = connection


def _load(preload: Sequence[str]) -> None:
    """Import what commands need, and let children share the memory of it."""
    import icis_cli

    own = [found.name for found in pkgutil.walk_packages(icis_cli.__path__, "icis_cli.")]
    for module in [*preload, *own]:
        if not module.endswith("__main__"):
            importlib.import_module(module)
    sys.modules["torch"].set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        sys.modules["icis_cli.cli.main"].run(["--version"])  # builds what reads command lines
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2:])

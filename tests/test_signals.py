"""A command that is stopped ends with 130, wherever the signal comes; one that is done, as it was.

The signals come at known points: tests/signalling has the process send them to itself.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.test_workers import free_port

SIGNALLING = Path(__file__).parent / "signalling"
FIT = ("fit", "--weights", "model.safetensors", "--attrs", "attrs.csv", "--method", "nearest")
STARTS = {
    "icis": (str(Path(sys.executable).parent / "icis"),),
    "module": (sys.executable, "-m", "icis_cli"),
}

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="this system sends no signals"
)


@pytest.fixture
def here(folder, world):
    state = {"fc.weight": world.rows[:40, :-1].copy(), "fc.bias": world.rows[:40, -1].copy()}
    save_file(state, folder / "model.safetensors")
    return folder


def listened_to() -> None:
    """Where tests run in the background, the shell has them ignore SIGINT, for children too."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def stopped(here: Path, start: str, point: str, *arguments: str) -> tuple[int, str, str]:
    """Run a command that sends itself signals; return its exit code, stdout and stderr."""
    path = [str(SIGNALLING), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [*STARTS[start], *arguments],
        cwd=here, capture_output=True, text=True, check=False, preexec_fn=listened_to,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "ICIS_TEST_SIGNALS": point},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


INTERRUPTED = (130, "", "icis: interrupted\n")


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    "point",
    [
        "2 1 import icis_cli.cli.app",
        "15 1 import typer",
        "2 3 import click",
        "15 2 exec checkpoint/registry.py",
        "1 1 import numpy",
        "2 1 open model.safetensors",
    ],
)
def test_before_anything_is_made(here, start, point):
    before = sorted(here.iterdir())
    assert stopped(here, start, point, *FIT, "--quiet") == INTERRUPTED
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_an_output_is_made(here, start, number):
    before = sorted(here.iterdir())
    point = f"{number:d} 2 open .injector.safetensors."
    assert stopped(here, start, point, *FIT, "--quiet") == INTERRUPTED
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_between_outputs_that_belong_together(here, number):
    """They appear together; what the exit code says then is for the whole."""
    assert stopped(here, "module", "2 0 call os._exit", *FIT, "--quiet")[0] == 0
    point = f"{number:d} 1 os.link .model.injected.safetensors.icis.json."
    assert stopped(here, "module", point, "inject", "--quiet") == INTERRUPTED
    assert (here / "model.injected.safetensors").is_file()
    assert (here / "model.injected.safetensors.icis.json").is_file()
    assert not list(here.glob(".*"))


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("point", ["2 1 call os._exit", "15 3 call os._exit", "1 1 call os._exit"])
def test_after_the_result_was_printed(here, start, point):
    expected = (0, "injector.safetensors\n", "")
    assert stopped(here, start, point, *FIT, "--quiet", "--force") == expected
    code, out, err = stopped(here, start, point, *FIT, "--quiet")  # it exists
    assert (code, out, err.count("\n")) == (1, "", 1)


def test_while_others_are_waited_for(here):
    """Torch waits for other processes in code of its own."""
    np.savez(here / "f.npz", features=np.ones((1, 24), np.float32), labels=np.zeros(1, int))
    port = free_port()
    lone = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with subprocess.Popen(
        [*STARTS["module"], "eval", "--weights", "model.safetensors", "--features", "f.npz"],
        cwd=here, env={**os.environ, **lone}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=listened_to,
    ) as process:  # fmt: skip
        while process.poll() is None:  # until it listens for the other one
            with socket.socket() as other:
                if not other.connect_ex(("127.0.0.1", port)):
                    break
        process.terminate()
        out, err = process.communicate()
    assert (process.returncode, out, err.splitlines()[-1]) == (130, "", "icis: interrupted")


def test_one_that_has_failed_waits_for_the_first_until_torchrun_ends_it(here, monkeypatch):
    """Its exit code, 2, stays what it was."""
    place = {"WORLD_SIZE": "2", "RANK": "1", "TORCHELASTIC_RUN_ID": "x"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    assert stopped(here, "module", "15 1 call time.sleep", "fit") == (2, "", "")


def in_child(script: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", "import os, signal\nfrom icis_cli import interrupts\n" + script],
        capture_output=True, text=True, check=False, preexec_fn=listened_to,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_what_python_cannot_raise_comes_again():
    script = """
import threading
class Tidy:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
interrupts.handle()
interrupts.begin()
try:
    Tidy()
    threading.Event().wait()
except KeyboardInterrupt:
    interrupts.leave(interrupts.tell())
"""
    assert in_child(script) == INTERRUPTED


@pytest.mark.parametrize("error", ["RuntimeError", "IcisError"])
def test_what_python_makes_another_error_of_is_still_an_interrupt(here, error):
    """As it does with one that comes while a class is made."""
    script = f"""
import sys, icis_cli
from icis_cli.cli import main
from icis_cli.errors import IcisError
def opened(*_arguments, **_options):
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt as interrupt:
        raise {error}("Error calling __set_name__") from interrupt
icis_cli.open_checkpoint = opened
sys.argv = ["icis", "inspect", {str(here / "model.safetensors")!r}]
main.main()
"""
    assert in_child(script) == INTERRUPTED


def test_what_a_library_swallows_comes_before_anything_is_put_in_place():
    script = """
interrupts.handle()
interrupts.begin()
try:
    signal.raise_signal(signal.SIGINT)
except BaseException:
    pass
for block in (interrupts.uninterrupted, interrupts.printing):
    try:
        with block():
            print("never")
    except KeyboardInterrupt:
        print("interrupted")
"""
    assert in_child(script) == (0, "interrupted\ninterrupted\n", "")


def test_a_second_signal_leaves_the_cleaning_up_alone_and_a_step_after_a_step_is_stopped():
    script = """
interrupts.handle()
interrupts.begin()
try:
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        try:
            raise OSError
        except OSError:
            signal.raise_signal(signal.SIGTERM)
        print("cleaned up")
except KeyboardInterrupt:
    print("raised")
interrupts._state.signal = None
with interrupts.printing():
    signal.raise_signal(signal.SIGTERM)
    print("result")
signal.raise_signal(signal.SIGTERM)
try:
    interrupts.begin()
except KeyboardInterrupt:
    print("the next step")
"""
    assert in_child(script) == (0, "cleaned up\nraised\nresult\nthe next step\n", "")


def test_a_result_that_nobody_takes_can_be_stopped():
    script = """
import sys, threading
reading, writing = os.pipe()
os.dup2(writing, 1)
interrupts.handle()
interrupts.begin()
def stop():
    os.set_blocking(reading, True)
    while interrupts._takes(sys.stdout):
        pass
    signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
threading.Thread(target=stop, daemon=True).start()
try:
    with interrupts.printing():
        print("x" * 10_000_000, flush=True)
except KeyboardInterrupt:
    interrupts.leave(interrupts.tell())
"""
    assert in_child(script) == INTERRUPTED


def test_ignored_signals_stay_ignored_and_the_api_handles_none():
    script = """
import sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
before = signal.getsignal(signal.SIGINT), sys.unraisablehook
from icis_cli.cli.main import run
assert run(["--version"]) == 0
assert before == (signal.getsignal(signal.SIGINT), sys.unraisablehook)
interrupts.handle()
assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
"""
    code, _, err = in_child(script)
    assert (code, err) == (0, "")

"""Commands that are killed, starved of disk, raced and stopped: outputs are whole or not there."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tools.forkserver import ONE_CORE

from icis_cli import open_checkpoint
from tests.records import sha256
from tests.test_signals import STARTS, listened_to

#: A body large enough for the copy to take a while.
MEGABYTES = 60
ENVIRONMENT = {**os.environ, **ONE_CORE}
FIT = ("fit", "--weights", "model.safetensors", "--attrs", "a.npy", "--method", "ridge")
INJECT = ("inject", "--out", "new.safetensors")
#: SIGKILLs of each command; signals of each kind to each program; KiB on a disk; expansions.
KILLS = 30
STOPS = 100
SIZES = (0, 1, 100, 30_000, 61_000)
MANY = 200

LONG = (*FIT[:5], "--cv", "0", "--epochs", "8000")


def start(
    arguments: Sequence[str], cwd: Path, program: Sequence[str] = STARTS["module"]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*program, *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=listened_to,
    )


def run(arguments: Sequence[str], cwd: Path) -> tuple[int, str]:
    process = start(arguments, cwd)
    _, err = process.communicate()
    return process.returncode, err.decode()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a checkpoint, descriptors, an injector and an expanded checkpoint."""
    folder = tmp_path_factory.mktemp("made")
    generator = torch.Generator().manual_seed(0)
    save_file(
        {
            "body.weight": torch.randn(MEGABYTES << 18, generator=generator),
            "fc.weight": torch.randn(40, 16, generator=generator),
            "fc.bias": torch.randn(40, generator=generator),
        },
        folder / "model.safetensors",
    )
    np.save(folder / "a.npy", np.random.default_rng(0).standard_normal((50, 6)))
    assert run(FIT, folder)[0] == 0
    assert run(INJECT, folder)[0] == 0
    return folder


@pytest.fixture
def here(made, tmp_path) -> Path:
    """The inputs alone, in a new folder."""
    for name in ("model.safetensors", "a.npy", "injector.safetensors"):
        os.link(made / name, tmp_path / name)
    return tmp_path


def require_whole_or_absent(here: Path, made: Path, name: str) -> bool:
    """Check what a killed command may leave; tell whether the output is there."""
    for source in ("model.safetensors", "a.npy"):
        assert sha256(here / source) == sha256(made / source)
    if not (here / name).exists():
        return False
    assert sha256(here / name) == sha256(made / name)
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "output"), [(FIT, "injector.safetensors"), (INJECT, "new.safetensors")]
)
def test_killed_at_any_moment(here, made, record_property, command, output):
    random = np.random.default_rng(0)
    if command is FIT:
        (here / output).unlink()
    began = time.monotonic()
    assert run(command, here)[0] == 0
    whole = time.monotonic() - began
    there = 0
    record_property("cases", KILLS)
    for _ in range(KILLS):
        (here / output).unlink(missing_ok=True)
        (here / f"{output}.icis.json").unlink(missing_ok=True)
        process = start(command, here)
        time.sleep(whole * random.uniform(0.5, 1.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        there += require_whole_or_absent(here, made, output)
    assert there < KILLS  # else nothing was killed
    code, err = run((*command, "--force"), here)
    assert code == 0, err
    assert require_whole_or_absent(here, made, output)


@pytest.mark.slow
def test_a_long_fit_goes_on_after_a_kill_with_the_same_bytes(here, made):
    (here / "injector.safetensors").unlink()
    assert run((*LONG, "--out", "expected.safetensors"), here)[0] == 0
    process = start((*LONG, "--out", "killed.safetensors"), here)
    progress = here / "killed.safetensors.progress"
    while not any(progress.glob("*.state.safetensors")):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            pytest.fail("it ended without having kept where it was")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert progress.is_dir()
    assert not (here / "killed.safetensors").exists()
    code, err = run((*LONG, "--out", "killed.safetensors", "--resume"), here)
    assert code == 0, err
    assert sha256(here / "killed.safetensors") == sha256(here / "expected.safetensors")
    assert not progress.exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="nothing tells what is handled")
@pytest.mark.parametrize("program", STARTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_at_any_moment(here, made, record_property, program, number):
    """From the moment at which icis handles signals, up to the end."""
    random = np.random.default_rng([number, len(program)])
    before = {path.name for path in here.iterdir()} - {"injector.safetensors"}
    record_property("cases", STOPS)
    times: dict[tuple[str, ...], float] = {}
    ends: Counter[tuple[int, bool]] = Counter()
    for case in range(STOPS):
        command, output = ((FIT, "injector.safetensors"), (INJECT, "new.safetensors"))[case % 2]
        (here / "injector.safetensors").unlink(missing_ok=True)
        if command is INJECT:
            os.link(made / "injector.safetensors", here / "injector.safetensors")
        process = start(command, here, STARTS[program])
        wait_until_handled(process)
        began = time.monotonic()
        if command in times:
            time.sleep(times[command] * random.uniform(0, 1.02))
            process.send_signal(number)
        out, err = process.communicate()
        times.setdefault(command, time.monotonic() - began)
        complete = output.encode() in out
        told = process.returncode, out, err
        assert process.returncode == (0 if complete else 130), told
        assert complete or err.endswith(b"icis: interrupted\n"), told
        assert b"Traceback" not in err, told
        made_here = {path.name for path in here.iterdir()} - before
        if command is INJECT:
            made_here.remove("injector.safetensors")
        if complete or made_here:  # it was in place when the signal came
            files = {output} if command is FIT else {output, f"{output}.icis.json"}
            assert made_here == files, told
            assert require_whole_or_absent(here, made, output)
        ends[process.returncode, bool(made_here)] += 1
        for name in made_here:
            (here / name).unlink()
    assert ends[130, False]  # on a busy machine the moments are not spread evenly
    print(program, number.name, dict(ends))


def wait_until_handled(process: subprocess.Popen[bytes]) -> None:
    """Wait until the process catches signals; what comes before is Python's own start."""
    status = Path(f"/proc/{process.pid}/status")
    last = 1 << (signal.SIGHUP - 1)  # of those that icis handles
    while process.poll() is None:
        (caught,) = (line for line in status.read_text().splitlines() if line[:7] == "SigCgt:")
        if int(caught.split()[1], 16) & last:
            return


@pytest.mark.parametrize("kilobytes", SIZES)
def test_a_full_disk(here, made, kilobytes):
    before = {path.name: sha256(path) for path in here.iterdir()}

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))

    done = subprocess.run(
        [sys.executable, "-m", "icis_cli", *INJECT],
        cwd=here, env=ENVIRONMENT, capture_output=True, preexec_fn=limit, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"new.safetensors" in done.stderr
    assert b"Traceback" not in done.stderr
    assert {path.name: sha256(path) for path in here.iterdir()} == before


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no folder of this kind")
def test_a_folder_in_which_nothing_can_be_made(here):
    before = {path.name: sha256(path) for path in here.iterdir()}
    for command in (INJECT[:1], FIT):
        code, err = run((*command, "--out", "/proc/self/new.safetensors"), here)
        assert code == 1
        assert "/proc/self/new.safetensors" in err
        assert "Traceback" not in err
    assert {path.name: sha256(path) for path in here.iterdir()} == before


def test_two_at_once_into_one_output(here, made):
    both = [start(INJECT, here) for _ in range(2)]
    errors = [process.communicate()[1].decode() for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 1], [0, 0]), errors
    if codes == [0, 0]:  # one had ended before the other looked: not at once after all
        pytest.skip("they did not meet")
    assert any("appeared while" in error or "exists already" in error for error in errors)
    assert require_whole_or_absent(here, made, "new.safetensors")
    assert {p.name for p in here.iterdir()} == {
        "model.safetensors", "a.npy", "injector.safetensors", "new.safetensors",
        "new.safetensors.icis.json",
    }  # fmt: skip


@pytest.mark.slow
def test_many_in_a_row_and_at_once(here, made, tmp_path_factory):
    """200 expansions in one process take no more memory, files or descriptors; then 8 at once."""
    from icis_cli import Injector, expand

    injector = Injector.load(here / "injector.safetensors")
    peaks: list[int] = []
    opened: list[int] = []
    for number in range(MANY):
        expand(open_checkpoint(here / "model.safetensors"), injector).write(
            here / "again.safetensors", force=True
        )
        if number in (19, MANY - 1):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            opened.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208
    assert opened[0] == opened[1]
    assert peaks[1] - peaks[0] < 20_000  # KiB
    assert len(list(here.iterdir())) == 5
    every = [start((*INJECT[:1], "--out", f"new{n}.safetensors"), here) for n in range(8)]
    for process in every:
        process.communicate()
    assert [process.returncode for process in every] == [0] * 8
    expected = sha256(made / "new.safetensors")
    assert {sha256(here / f"new{n}.safetensors") for n in range(8)} == {expected}
    assert len(list(here.iterdir())) == 5 + 16

"""Processes that share the work: how, what they tell, and what becomes of errors."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pickle
import random
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import icis_cli as api
from icis_cli import IcisError
from icis_cli.cli import streams
from icis_cli.cli.output import StdoutError
from icis_cli.errors import FeatureError, QualityGateError, UsageError
from icis_cli.workers import ALONE, Workers, _Failure, is_first, joined_workers, process_count
from tests.conftest import Completed, World, fork_server, icis, run, write_classifier
from tests.test_compare import write_samples

#: What torchrun sets where nothing is said; sums then have the same order in one process, too.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than 2 CUDA devices"),
    ),
]


def torchrun(*arguments: object, cwd: Path) -> Completed:
    """Run the command in two processes, as torchrun starts them."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "icis_cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    return Completed(done.returncode, done.stdout, done.stderr)


def free_port() -> int:
    """Return a port of this machine, of those that the system gives to nobody by itself.

    Chance comes from the system: a run of the tests beside this one must not take the same port.
    """
    with socket.socket() as probe:
        while True:
            port = random.SystemRandom().randrange(20_000, 32_000)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def started(count: int, program: str, *arguments: object, cwd: Path) -> list[Completed]:
    """Run a program in processes that find each other as those of torchrun do."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)}
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [fork_server().programs / program, *map(str, arguments)],
                    cwd=cwd,
                    env={**os.environ, **ONE_THREAD, **shared, "RANK": rank, "LOCAL_RANK": rank},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for rank in map(str, range(count))
        ]
        ends = [process.communicate() for process in processes]
    return [
        Completed(process.returncode, *end) for process, end in zip(processes, ends, strict=True)
    ]


def together(*arguments: object, cwd: Path) -> Completed:
    """Run the command in two processes that share the work; return how the first ended."""
    first, other = started(2, "icis", *arguments, cwd=cwd)
    assert (other.code, other.out, other.err) == (first.code, "", "")
    return first


def exit_codes(report: str) -> set[int]:
    """The exit codes that torchrun reports of processes that failed by themselves."""
    return {int(code) for code in re.findall(r"exitcode +: (\d+)", report)}


def without_seconds(values):
    """Return JSON values without times."""
    if isinstance(values, dict):
        return {k: without_seconds(v) for k, v in values.items() if not k.endswith("_seconds")}
    return [without_seconds(v) for v in values] if isinstance(values, list) else values


@pytest.fixture(scope="module")
def expanded(tmp_path_factory, world: World) -> Path:
    """A folder with ``model.pt``, ``attrs.csv``, ``new.pt`` and ``test.npz``."""
    folder = write_classifier(tmp_path_factory.mktemp("expanded"), world)
    write_samples(folder / "test.npz", world)
    checkpoint = api.open_checkpoint(folder / "model.pt")
    head = api.find_head(checkpoint)
    classes = api.align(head.rows, api.read_descriptors(folder / "attrs.csv"))
    injector = api.fit(checkpoint, head, classes, api.Ridge())
    api.expand(checkpoint, injector).write(folder / "new.pt")
    return folder


@pytest.fixture
def here(expanded, tmp_path) -> Path:
    """A copy of it."""
    shutil.copytree(expanded, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def network(tmp_path):
    """``net.pth``, a random network with new classes, and ``images``: 2 of each of 3 classes."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None, num_classes=5)
    names = [f"thing {n}" for n in range(5)]
    labels = {"arch": "resnet18", "classes": names}
    torch.save({"state_dict": model.state_dict(), **labels}, tmp_path / "net.pth")
    (tmp_path / "names.txt").write_text("\n".join(names))
    (tmp_path / "new.txt").write_text("thing 4")
    generator = np.random.default_rng(0)
    for name in ("thing 0", "thing 2", "thing 4"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for n in range(2):
            pixels = generator.integers(0, 255, (2, 3, 3), dtype=np.uint8)
            picture = Image.fromarray(pixels).resize((40, 30), Image.Resampling.NEAREST)
            picture.save(tmp_path / "images" / name / f"{n}.png")
    return tmp_path


IMAGES = ["eval", "--weights", "net.pth", "--classes", "names.txt", "--unseen", "new.txt"]
IMAGES += ["--images", "images", "--batch-size", "2", "--json"]


# --- torchrun ----------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
def test_features_are_shared_and_a_missed_gate_is_missed_by_all(here, device):
    command = ["eval", "--weights", "new.pt", "--features", "test.npz", "--json"]
    command += ["--min-harmonic", "1", "--device", device]
    alone = icis(*command, cwd=here, **ONE_THREAD)
    both = torchrun(*command, cwd=here)
    assert alone.code == 3
    assert both.out == alone.out  # once, and nothing else
    assert json.loads(both.out)["samples"] == 230
    assert exit_codes(both.err) == {3}
    assert both.err.count("icis: error: quality gate missed: harmonic is") == 1


@pytest.mark.parametrize("device", DEVICES)
def test_images_are_shared(network, device):
    alone = icis(*IMAGES, "--device", device, cwd=network, **ONE_THREAD)
    both = together(*IMAGES, "--device", device, cwd=network)
    assert (alone.code, both.code) == (0, 0), both.err
    assert both.out == alone.out
    assert json.loads(both.out)["samples"] == 6


def test_an_error_of_one_process_is_that_of_all_and_told_once(network):
    (network / "images" / "thing 4" / "1.png").write_bytes(b"no image")
    both = together(*IMAGES, "--device", "cpu", cwd=network)
    assert both.code == 1
    error = json.loads(both.out)["error"]
    assert error["type"] == "FeatureError"
    assert error["message"].startswith("images/thing 4/1.png: is no readable image")
    assert both.err.count("icis: error: images/thing 4/1.png") == 1
    assert "interrupted" not in both.err


@pytest.mark.parametrize("device", DEVICES)
def test_runs_of_a_comparison_are_shared(here, device):
    command = ["compare", "--weights", "model.pt", "--attrs", "attrs.csv", "--json"]
    command += ["--features", "test.npz", "--method", "icis", "--method", "ridge"]
    command += ["--seeds", "0-1", "--cv", "0", "--csv", "runs.csv", "--device", device]
    alone = icis(*command, cwd=here, **ONE_THREAD)
    assert alone.code == 0, alone.err
    rows = [list(csv.DictReader((here / "runs.csv").read_text().splitlines()))]
    (here / "runs.csv").unlink()
    both = together(*command, cwd=here)
    assert both.code == 0, both.err
    found = json.loads(both.out)
    assert without_seconds(found) == without_seconds(json.loads(alone.out))
    assert [row["seeds"] for row in found["methods"]] == [[0, 1], [0]]
    rows.append(list(csv.DictReader((here / "runs.csv").read_text().splitlines())))
    assert without_seconds(rows[0]) == without_seconds(rows[1])
    assert len(rows[1]) == 3


def test_a_process_that_is_killed_does_not_leave_the_others_waiting(tmp_path):
    script = (
        "import os, signal\n"
        "from icis_cli.errors import IcisError\n"
        "from icis_cli.workers import joined_workers\n"
        "try:\n"
        "    with joined_workers() as workers:\n"
        "        print(workers.gather(workers.rank), flush=True)\n"
        "        if workers.rank == 1:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        workers.gather(None)\n"
        "except IcisError as error:\n"
        "    print(error, flush=True)\n"
        "os._exit(0)\n"
    )
    first, other = started(2, "python", "-c", script, cwd=tmp_path)
    assert (other.code, other.out) == (-9, "[0, 1]\n")
    assert first.code == 0
    assert first.out.startswith("[0, 1]\nanother of the 2 processes has ended or hangs (")


# --- One process -------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [0, 1, 5, 12])
def test_every_item_is_done_once(count, items):
    work = list(range(items))
    parts = [Workers(rank, count).part(work) for rank in range(count)]
    assert [n for part in parts for n in part] == work
    hands = [Workers(rank, count).deal(work) for rank in range(count)]
    assert max(map(len, hands)) - min(map(len, hands)) <= 1

    class Other(Workers):
        def gather(self, part):
            assert part == hands[self.rank]
            return hands

    for rank in range(count):
        assert Other(rank, count).gather_dealt(hands[rank]) == work


def test_without_torchrun_a_process_is_alone(monkeypatch):
    for size in (None, "", "1"):
        if size is None:
            monkeypatch.delenv("WORLD_SIZE", raising=False)
        else:
            monkeypatch.setenv("WORLD_SIZE", size)
        assert process_count() == 1
        assert is_first()
        with joined_workers("cuda") as workers:  # alone, it is not asked whether CUDA is there
            assert workers is ALONE
            assert workers.gather("part") == ["part"]
    with pytest.raises(FeatureError, match="as it was"), joined_workers():
        raise FeatureError("f", "as it was")


def test_an_environment_that_is_not_torchruns_is_refused(monkeypatch):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UsageError, match=r"WORLD_SIZE: expected a number.*found 'two'"):
        process_count()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"RANK: expected a number.*found nothing"):
        joined_workers().__enter__()
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(IcisError, match="2 processes do not find each other"):
        joined_workers().__enter__()
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("command", ["fit", "inject", "benchmark", "demo", "inspect"])
def test_commands_for_one_process_are_refused_to_several(command, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run([command]) == 2
    error = capsys.readouterr().err
    assert f"icis {command} is the work of one process, and here are 2" in error
    assert "run it without torchrun" in error


def test_only_the_first_process_prints(tmp_path):
    places = [{"WORLD_SIZE": "2", "RANK": str(rank)} for rank in (0, 1)]
    first, other = (icis("fit", "--json", cwd=tmp_path, **place) for place in places)
    assert (first.code, other.code) == (2, 2)
    assert json.loads(first.out)["error"]["type"] == "UsageError"
    assert (other.out, other.err) == ("", "")
    assert icis("--help", cwd=tmp_path, **places[1]).out == ""


@pytest.mark.parametrize(
    ("code", "rank", "waited"), [(2, 1, [20.0]), (0, 1, []), (130, 1, []), (2, 0, [])]
)
def test_a_failing_process_lets_the_first_print(monkeypatch, code, rank, waited):
    """Until torchrun ends it, once the first has ended: tests/test_signals.py."""
    place = {"WORLD_SIZE": "2", "RANK": str(rank), "TORCHELASTIC_RUN_ID": "x"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    told: list[float] = []
    monkeypatch.setattr(streams, "wait", told.append)
    streams.let_first_end(code)
    assert told == waited


@pytest.mark.parametrize(
    "error",
    [
        FeatureError("a.png", "is no readable image", "mend it"),
        QualityGateError("missed"),
        UsageError("wrong", "do it right"),
        StdoutError(OSError(28, "No space left on device")),
    ],
)
def test_errors_reach_other_processes_as_they_are(error):
    again = pickle.loads(pickle.dumps(_Failure.of(error, 1))).error()
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


def test_unforeseen_errors_reach_other_processes_as_text():
    again = _Failure.of(KeyError("key"), 1).error()
    assert type(again) is IcisError
    assert again.message == "process 1: KeyError: 'key'"

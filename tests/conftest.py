"""Fixtures that many tests share: a small classifier, its descriptors, and the command."""

from __future__ import annotations

import os
import random
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from tools.forkserver import ForkServer

from icis_cli.cli import main

SHARED = Path(os.environ.get("ICIS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
#: What ``icis`` has; ``icis --help`` lists the same (test_terminal.py).
COMMANDS = (
    "fit", "inject", "eval", "inspect", "verify", "report", "compare", "benchmark", "describe",
    "demo",
)  # fmt: skip
COMPATIBILITY = Path(__file__).parents[1] / "docs" / "compatibility.md"


@dataclass(frozen=True)
class Compatibility:
    """What works with which checkpoints, as the tests find it.

    A test that has seen a family work adds its line, which must be in docs/compatibility.md; with
    ``--write-compatibility`` the lines found are written there instead.
    """

    lines: dict[str, set[str]]
    written: bool

    def add(
        self, group: str, family: str, container: str, *, found: str, loads: bool, agrees: bool
    ) -> None:
        """Add a line: the key of the head, whether the new file loads and answers as it must."""
        told = ("yes" if value else "no" for value in (loads, agrees))
        self._add(group, family, container, f"`{found}`", *told)

    def refuse(self, group: str, family: str, container: str, why: str) -> None:
        """Add a line about what is refused."""
        self._add(group, family, container, why, "refused", "refused")

    def _add(self, group: str, *cells: str) -> None:
        line = "| " + " | ".join(cells) + " |"
        if self.written:
            self.lines.setdefault(group, set()).add(line)
        else:
            known = COMPATIBILITY.read_text(encoding="utf-8") if COMPATIBILITY.is_file() else ""
            assert line in known.splitlines(), (
                f"docs/compatibility.md lacks {line}: make compatibility"
            )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-compatibility", action="store_true", help="write docs/compatibility.md"
    )


_FOUND = pytest.StashKey[Compatibility]()


#: Every run tries the same, however slow the machine is; make fuzz looks for what is new.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("fixed")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let chance be the same for a test and its fixtures, whatever ran before."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FOUND] = Compatibility({}, config.getoption("--write-compatibility"))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if fork_server.cache_info().currsize:
        fork_server().close()
    found = session.config.stash[_FOUND]
    if not found.lines or exitstatus:
        return
    titles = "| family | container | head found at | loads strictly | answers agree |"
    parts = ["<!-- from here on written by the tests -->"]
    for group, lines in sorted(found.lines.items()):
        table = [titles, "| --- " * 5 + "|", *sorted(lines, key=str.casefold)]
        parts += [f"## {group}", "\n".join(table)]
    text, *_ = COMPATIBILITY.read_text(encoding="utf-8").partition(parts[0])
    COMPATIBILITY.write_text(text + "\n\n".join(parts) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def compatibility(request: pytest.FixtureRequest) -> Compatibility:
    """Where a test says that a family of checkpoints works."""
    return request.config.stash[_FOUND]


@dataclass(frozen=True)
class Completed:
    """What a command left behind."""

    code: int
    out: str
    err: str


def run(arguments: list[str]) -> int:
    """Run the command in this process, the fastest way; return its exit code."""
    return main.run(arguments)


@cache
def fork_server() -> ForkServer:
    """Return where commands run as in processes of their own, a tenth of a second each."""
    return ForkServer()


def icis(*arguments: object, cwd: Path, **environment: str) -> Completed:
    """Run the command as a user does, in a child of the fork server.

    What is about the start of a process (what is imported, signals) starts a real one.
    """
    ended = fork_server().run(*arguments, cwd=cwd, environment={**os.environ, **environment})
    return Completed(ended.code, ended.out.decode(), ended.err.decode())


def in_bash(script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a script that calls ``icis``, in a child of the fork server."""
    return subprocess.run(
        ["bash", "-c", script],
        cwd=cwd,
        env=fork_server().on_path(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )


@dataclass(frozen=True)
class World:
    """A classifier whose rows follow linearly from descriptors, so that new rows can be known.

    Attributes:
        descriptors: (K+U, d).
        rows: (K+U, D+1) true joined rows.
        seen: K.
        names: K+U names.
    """

    descriptors: np.ndarray
    rows: np.ndarray
    seen: int
    names: tuple[str, ...]

    def state(
        self, dtype: torch.dtype = torch.float32, *, bias: bool = True
    ) -> dict[str, torch.Tensor]:
        """A state dict with a body and the head ``fc`` of the seen classes."""
        rows = torch.from_numpy(self.rows[: self.seen].astype(np.float32))
        state = {
            "body.weight": torch.arange(24, dtype=torch.float32).reshape(2, 3, 2, 2),
            "body.count": torch.tensor(7),
            "fc.weight": rows[:, :-1].contiguous().to(dtype),
        }
        if bias:
            state["fc.bias"] = rows[:, -1].contiguous().to(dtype)
        return state


@pytest.fixture(scope="session")
def world() -> World:
    generator = np.random.default_rng(5)
    seen, unseen, d, width = 40, 6, 8, 24
    descriptors = generator.standard_normal((seen + unseen, d)).astype(np.float32)
    mix = generator.standard_normal((d, width + 1)).astype(np.float32)
    rows = descriptors @ mix / np.sqrt(d)
    names = tuple(f"kind {letter}{n}" for n in range(23) for letter in "ab")
    return World(descriptors, rows.astype(np.float32), seen, names)


def write_classifier(folder: Path, world: World) -> Path:
    """Write ``model.pt`` (40 classes) and ``attrs.csv`` (46 classes, seen ones first) there."""
    torch.save(world.state(), folder / "model.pt")
    lines = [
        f"{name},{','.join(f'{value:.6f}' for value in row)}"
        for name, row in zip(world.names, world.descriptors, strict=True)
    ]
    header = "class," + ",".join(f"attribute {n}" for n in range(8))
    (folder / "attrs.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder


@pytest.fixture
def folder(tmp_path: Path, world: World) -> Path:
    """A folder with ``model.pt`` and ``attrs.csv``."""
    return write_classifier(tmp_path, world)


@pytest.fixture(scope="session")
def cub() -> Path:
    """The real CUB data, beside the project where there is any."""
    path = SHARED / "cub-vgg"
    if not path.is_dir():
        pytest.skip(f"no real data at {path}")
    return path

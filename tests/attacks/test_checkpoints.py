"""Hostile checkpoints: one line that names the file and the fault, and nothing else happens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tools.forkserver import Ended, ForkServer

from tests.attacks.checkpoints import CANARY, CHECKPOINTS, Make

#: What an error may take beside the file: libraries that are loaded then, buffers.
ALLOWED_KIB = 100 << 10


def members(groups: Mapping[str, Mapping[str, Make]]) -> list[tuple[str, str]]:
    """Return the group and the name of each attack."""
    return [(group, name) for group, cases in groups.items() for name in cases]


def snapshot(folder: Path) -> dict[str, int]:
    """Return all files and folders under a folder with their sizes."""
    return {
        str(path.relative_to(folder)): path.lstat().st_size for path in sorted(folder.rglob("*"))
    }


def require_one_line(ended: Ended, name: str, size: int) -> None:
    """Check what every attack must end with."""
    text = ended.err.decode()
    assert ended.code == 1, text
    assert ended.out == b""
    assert text.startswith("icis: error: "), text
    assert text.count("\n") == 1, text
    assert name.split("\x1b")[-1] in text
    assert "a fault of icis" not in text, text
    assert text[:-1].isprintable(), text
    assert len(text) < 4000
    assert ended.peak < ALLOWED_KIB + 3 * size // 1024


@pytest.mark.parametrize(("group", "name"), members(CHECKPOINTS))
def test_a_hostile_checkpoint(tmp_path, server: ForkServer, group, name):
    np.savetxt(tmp_path / "a.csv", np.eye(12), delimiter=",")
    file = CHECKPOINTS[group][name](tmp_path)
    before = snapshot(tmp_path)
    path = tmp_path / file
    size = sum(before.values()) if path.is_dir() or path.is_file() else 0
    given = ("--weights", file, "--attrs", "a.csv", "--method", "ridge")
    ended = server.run("fit", *given, cwd=tmp_path)
    require_one_line(ended, Path(file).name, size)
    assert snapshot(tmp_path) == before
    assert CANARY not in before

"""Same inputs and options, same bytes: whatever the folder, locale, umask and hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from tests.attacks.checkpoints import state
from tests.records import sha256

SURROUNDINGS = [
    {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "UTC"},
    {"PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo", "PYTHONUTF8": "1"},
]
FIT = ("--weights", "model.safetensors", "--attrs", "a.npy", "--classes", "names.txt")


QUICK = ("--method", "icis", "--epochs", "2", "--hidden", "16", "--cv", "2")


def digests(
    folder: Path, surroundings: dict[str, str], umask: int, method: tuple[str, ...]
) -> dict[str, str]:
    """Fit and inject in a new folder, and return the sha256 of what was written."""
    folder.mkdir()
    save_file(state(), folder / "model.safetensors")
    np.save(folder / "a.npy", np.random.default_rng(0).standard_normal((13, 6)))
    names = "".join(f"Küche {number}\n" for number in range(13))
    (folder / "names.txt").write_text(names, encoding="utf-8")
    for command in (("fit", *FIT, *method), ("inject", "--out", "new.safetensors")):
        done = subprocess.run(
            [sys.executable, "-m", "icis_cli", *command, "--quiet"],
            cwd=folder,
            env={**os.environ, **surroundings},
            capture_output=True,
            umask=umask,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
    written = {"injector.safetensors", "new.safetensors", "new.safetensors.icis.json"}
    assert {path.name for path in folder.iterdir()} > written
    for name in written:
        assert (folder / name).stat().st_mode & 0o777 == 0o666 & ~umask
    return {name: sha256(folder / name) for name in written}


@pytest.mark.parametrize("method", [("--method", "ridge"), QUICK], ids=["ridge", "icis"])
def test_the_same_bytes_everywhere(tmp_path, method):
    first = digests(tmp_path / "a", SURROUNDINGS[0], 0o022, method)
    second = digests(tmp_path / "another folder ü", SURROUNDINGS[1], 0o077, method)
    assert first == second

"""Running an example, and what must come of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import icis_cli as api
from tests.conftest import Completed, fork_server
from tests.synthetic import SEEN, UNSEEN

EXAMPLES = Path(__file__).parents[2] / "examples"
TOO_MUCH = 0.999  # no classifier of these tests reaches it

#: A checkpoint and a method that take half a second, where it does not matter which.
FAST = "model.safetensors"
RIDGE = "--method ridge"

#: What fit is told beside what the example tells it; without, it takes ten times as long.
FITS = [RIDGE, pytest.param("", marks=pytest.mark.family, id="as it stands")]


def started(*command: object, cwd: Path, **environment: object) -> Completed:
    """Run a program that finds ``icis`` and ``python`` as in an activated environment.

    These run in children of the fork server. No server of MLflow or DVC is known.
    """
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "DVC"))
    }
    given = {key: str(value) for key, value in environment.items()}
    known = fork_server().on_path(clean)
    done = subprocess.run(
        [
            shutil.which(str(command[0]), path=known["PATH"]) or str(command[0]),
            *map(str, command[1:]),
        ],
        cwd=cwd,
        env={**known, "DVC_NO_ANALYTICS": "true", **given},
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    return Completed(done.returncode, done.stdout, done.stderr)


def document(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def needs(program: str) -> str:
    """Return where a program is, or skip the test."""
    beside = Path(sys.executable).parent
    found = shutil.which(program, path=os.pathsep.join([str(beside), os.environ["PATH"]]))
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def require_plus_rows(old: Path, new: Path) -> None:
    found = api.verify(api.open_checkpoint(old), new)
    found.require()
    assert (found.rows_before, found.rows_after) == (SEEN, SEEN + UNSEEN)

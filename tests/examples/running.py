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
from tests.conftest import Completed
from tests.synthetic import SEEN, UNSEEN

EXAMPLES = Path(__file__).parents[2] / "examples"
TOO_MUCH = 0.999  # no classifier of these tests reaches it

#: A checkpoint and a method that take half a second, where it does not matter which.
FAST = "model.safetensors"
RIDGE = "--method ridge"


def started(*command: object, cwd: Path, **environment: object) -> Completed:
    """Run a program that finds ``icis`` as in an activated environment, and no server."""
    given = {key: str(value) for key, value in environment.items()}
    found = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "DVC"))
    }
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**clean, "PATH": found, "DVC_NO_ANALYTICS": "true", **given},
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

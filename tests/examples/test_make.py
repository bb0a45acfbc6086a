"""The Makefile, and what it makes again."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import Completed
from tests.examples.running import (
    EXAMPLES,
    FAST,
    RIDGE,
    TOO_MUCH,
    document,
    needs,
    require_plus_rows,
    started,
)
from tests.test_schemas import validate


def make(here: Path, *arguments: str) -> tuple[Completed, list[str]]:
    """Run the Makefile; return which commands of icis ran, too."""
    options = ("--no-print-directory", f"FIT={RIDGE}", f"WEIGHTS={FAST}")
    done = started("make", "-f", EXAMPLES / "make" / "Makefile", *options, *arguments, cwd=here)
    return done, re.findall(r"^icis (\w+)", done.out, re.MULTILINE)


@pytest.fixture(scope="module")
def made_once(inputs, tmp_path_factory) -> Path:
    needs("make")
    folder = tmp_path_factory.mktemp("make") / "work"
    shutil.copytree(inputs, folder)
    done, ran = make(folder)
    assert done.code == 0, done.err
    assert sorted(ran) == ["eval", "fit", "inject", "inspect", "verify"]
    return folder


@pytest.fixture
def made(made_once, tmp_path) -> Path:
    """A folder in which everything is made; a copy has the times of the original."""
    return Path(shutil.copytree(made_once, tmp_path / "work"))


def test_make_makes_a_verified_checkpoint_and_then_nothing_more(made):
    require_plus_rows(made / FAST, made / "icis-out" / "model.injected.safetensors")
    for name in ("inspect", "verify"):
        validate(name, document(made / "icis-out" / f"{name}.json"))
    validate("eval", document(made / "icis-out" / "passed.json"))
    before = {path: path.stat().st_mtime_ns for path in (made / "icis-out").iterdir()}
    done, ran = make(made)
    assert (done.code, done.out, ran) == (0, "", [])
    assert {path: path.stat().st_mtime_ns for path in (made / "icis-out").iterdir()} == before


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("test.npz", ["eval"]),
        ("classes.csv", ["eval", "fit", "inject", "verify"]),
        (FAST, ["eval", "fit", "inject", "inspect", "verify"]),
    ],
)
def test_make_makes_again_what_depends_on_a_file_that_changed(made, changed, expected):
    (made / changed).touch()
    done, ran = make(made)
    assert done.code == 0, done.err
    assert sorted(ran) == expected
    assert make(made)[1] == []


def test_make_makes_again_what_depends_on_an_option_and_fails_where_the_gate_is_missed(made):
    done, ran = make(made, f"MIN_HARMONIC={TOO_MUCH}")
    assert done.code == 2  # make's own: a recipe failed
    assert ran == ["eval"]
    assert "quality gate missed" in done.err
    assert not (made / "icis-out" / "passed.json").exists()
    done, ran = make(made, "INJECT=--calibration 1")
    assert done.code == 0, done.err
    assert sorted(ran) == ["eval", "inject", "verify"]

"""The pipeline in one script."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Completed
from tests.examples.running import (
    EXAMPLES,
    FAST,
    FITS,
    RIDGE,
    TOO_MUCH,
    document,
    require_plus_rows,
    started,
)
from tests.synthetic import SEEN
from tests.test_schemas import validate


def pipeline(here: Path, *arguments: str, **environment: object) -> Completed:
    script = EXAMPLES / "shell" / "pipeline.sh"
    return started("bash", script, *arguments, cwd=here, **environment)


@pytest.mark.parametrize("options", FITS)
def test_the_shell_pipeline_ends_with_a_verified_checkpoint_and_a_document_per_command(
    here, options
):
    done = pipeline(here, "model.pt", "classes.csv", "test.npz", OUT="found", FIT=options)
    assert done.code == 0, done.err
    assert done.out == "found/model.injected.pt\n"
    require_plus_rows(here / "model.pt", here / "found" / "model.injected.pt")
    for command in ("fit", "inject", "verify", "eval"):
        validate(command, document(here / "found" / f"{command}.json"))
    (gate,) = document(here / "found" / "eval.json")["gates"]
    assert gate["passed"]
    assert gate["minimum"] == 0.3


def test_the_shell_pipeline_ends_with_3_where_samples_say_that_it_is_not_good_enough(here):
    environment = {"MIN_HARMONIC": TOO_MUCH, "FIT": RIDGE}
    done = pipeline(here, FAST, "classes.csv", "test.npz", **environment)
    assert done.code == 3
    assert done.out == ""
    assert "quality gate missed: harmonic is" in done.err
    validate("eval", document(here / "icis-out" / "eval.json"))


def test_the_shell_pipeline_judges_by_held_out_classes_without_samples(here):
    done = pipeline(here, FAST, "classes.csv", OUT="found", FIT=RIDGE)
    assert done.code == 0, done.err
    assert not (here / "found" / "eval.json").exists()
    retrieval = document(here / "found" / "fit.json")["held_out"]["retrieval"]
    environment = {"MIN_HELD_OUT": retrieval + 0.001, "FIT": RIDGE}
    done = pipeline(here, FAST, "classes.csv", OUT="again", **environment)
    assert done.code == 3
    assert "not good enough" in done.err
    assert not list((here / "again").glob("model.*"))


def test_the_shell_pipeline_accepts_no_rows_that_are_as_good_as_guessing(here):
    """However low the least share that is asked for: the table is in another order."""
    head, *lines = (here / "classes.csv").read_text(encoding="utf-8").splitlines()
    mixed = [*lines[1:SEEN:2], *lines[0:SEEN:2], *lines[SEEN:]]
    (here / "mixed.csv").write_text("\n".join([head, *mixed]) + "\n", encoding="utf-8")
    done = pipeline(here, FAST, "mixed.csv", OUT="found", FIT=RIDGE, MIN_HELD_OUT=0)
    assert done.code == 3, done.err
    assert "not good enough" in done.err
    assert document(here / "found" / "fit.json")["verdict"]["step"] == "guess"


def test_the_shell_pipeline_refuses_what_it_must_not_touch_and_tells_what_is_wrong(here):
    assert pipeline(here, "model.pt").code == 2
    (here / "kept").mkdir()
    assert pipeline(here, "model.pt", "classes.csv", OUT="kept").code == 1
    assert list((here / "kept").iterdir()) == []
    done = pipeline(here, "model.pt", "absent.csv", OUT="found")
    assert done.code == 1
    assert "icis: error: absent.csv" in done.err
    validate("error", document(here / "found" / "fit.json"))

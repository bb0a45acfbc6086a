"""The workflow for GitHub, run step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.examples.running import (
    EXAMPLES,
    FITS,
    TOO_MUCH,
    document,
    needs,
    require_plus_rows,
    started,
)

yaml = pytest.importorskip("yaml")


@pytest.fixture
def workflow() -> Any:
    text = (EXAMPLES / "github-actions" / "add-classes.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def run_job(
    workflow: Any, here: Path, least: object, options: str = "", first: str = "Fit"
) -> tuple[bool, list[str], str]:
    """Run the steps as GitHub does, from one on: what they need is installed and checked out.

    Fit gets further options, if there are any.
    Returns whether the job passed, which steps ran, and what went to stderr.
    """
    values = {key: str(value) for key, value in workflow["env"].items()}
    assert values["MIN_HARMONIC"] == "${{ inputs.min_harmonic || '0.3' }}"
    values |= {"MIN_HARMONIC": str(least), "GITHUB_STEP_SUMMARY": str(here / "summary.md")}
    job = workflow["jobs"]["add-classes"]
    assert job["defaults"]["run"]["shell"] == "bash"
    names = [step.get("name") for step in job["steps"]]
    passed, ran, told = True, [], ""
    for step in job["steps"][names.index(first) :]:
        condition = step.get("if", "success()")
        assert condition in ("success()", "always()")
        if not passed and condition == "success()":
            continue
        ran.append(step["name"])
        if "run" in step:
            assert "${{" not in step["run"]
            script = step["run"].replace("icis fit", f"icis fit {options}")
            shell = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script)
            done = started(*shell, cwd=here, **values)
            passed &= done.code == 0
            told += done.err
    return passed, ran, told


@pytest.fixture
def clone(here) -> Path:
    """The files where the workflow has them."""
    for source, target in (
        ("model.pt", "models/resnet50.pt"), ("classes.csv", "data/classes.csv"),
        ("test.npz", "data/test.npz"),
    ):  # fmt: skip
        (here / target).parent.mkdir(exist_ok=True)
        (here / source).rename(here / target)
    return here


@pytest.mark.parametrize("options", FITS)
def test_the_github_job_keeps_a_verified_checkpoint_if_the_gate_is_passed(clone, workflow, options):
    needs("jq")
    passed, ran, told = run_job(workflow, clone, 0.3, options)
    assert passed, told
    env = workflow["env"]
    require_plus_rows(clone / env["WEIGHTS"], clone / env["NEW"])
    harmonic = document(clone / "eval.json")["gzsl"]["harmonic"]
    summary = (clone / "summary.md").read_text()
    assert f"| harmonic | {harmonic}" in summary
    assert "| harmonic at least 0.3 | true |" in summary
    assert "Keep the new checkpoint" in ran
    steps = {step.get("name"): step for step in workflow["jobs"]["add-classes"]["steps"]}
    kept = steps["Keep the new checkpoint"]["with"]["path"].replace("${{ env.NEW }}", env["NEW"])
    assert all((clone / path).is_file() for path in kept.split())

    passed, ran, told = run_job(workflow, clone, TOO_MUCH, first="Quality gate")
    assert not passed
    assert "quality gate missed" in told
    assert ran == ["Quality gate", "Summary", "Keep what was found"]
    assert f"| harmonic at least {TOO_MUCH} | false |" in (clone / "summary.md").read_text()


def test_the_github_workflow_may_only_read_and_runs_for_its_own_files(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    watched = set(workflow[True]["push"]["paths"])  # YAML 1.1 reads "on" as true
    assert watched == {workflow["env"][name] for name in ("WEIGHTS", "TABLE", "SAMPLES")}

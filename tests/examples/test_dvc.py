"""The stages for DVC, run by DVC where there is one, and by hand."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Completed
from tests.examples.running import EXAMPLES, FAST, document, needs, require_plus_rows, started
from tests.test_schemas import validate

yaml = pytest.importorskip("yaml")


@pytest.fixture
def stages(here) -> Path:
    """The stages, with parameters for a checkpoint and a method that are fast."""
    shutil.copy(EXAMPLES / "dvc" / "dvc.yaml", here)
    params = (EXAMPLES / "dvc" / "params.yaml").read_text(encoding="utf-8")
    for before, after in (
        ("weights: model.pt", f"weights: {FAST}"),
        ("new: model.injected.pt", "new: new.safetensors"),
        ("method: icis", "method: ridge"),
    ):
        assert before in params
        params = params.replace(before, after)
    (here / "params.yaml").write_text(params, encoding="utf-8")
    return here


def filled(part: Any, params: Any) -> Any:
    """Put parameters where DVC puts them."""
    if isinstance(part, str):

        def value(match: re.Match[str]) -> str:
            found = params
            for key in match[1].split("."):
                found = found[key]
            return str(found)

        return re.sub(r"\$\{([\w.]+)\}", value, part)
    if isinstance(part, list):
        return [filled(one, params) for one in part]
    if isinstance(part, dict):
        return {filled(key, params): filled(one, params) for key, one in part.items()}
    return part


def paths(entries: list[Any]) -> set[str]:
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def test_each_stage_of_dvc_reads_what_it_says_and_writes_what_it_says(stages):
    params = yaml.safe_load((stages / "params.yaml").read_text())
    content = filled(yaml.safe_load((stages / "dvc.yaml").read_text()), params)
    there = {path.name for path in stages.iterdir()}
    assert list(content["stages"]) == ["fit", "inject", "verify", "eval"]
    for stage in content["stages"].values():
        assert paths(stage["deps"]) <= there
        assert set(stage.get("params", [])) <= set(params)
        done = started("sh", "-c", stage["cmd"], cwd=stages)
        assert done.code == 0, done.err
        now = {path.name for path in stages.iterdir()}
        assert now - there == paths(stage.get("outs", []) + stage.get("metrics", []))
        there = now
    require_plus_rows(stages / FAST, stages / "new.safetensors")
    for name in ("fit", "verify", "eval"):
        validate(name, document(stages / f"{name}.json"))


def test_dvc_runs_the_stages_and_again_only_those_that_a_change_reaches(stages):
    dvc = needs("dvc")
    assert started(dvc, "init", "--no-scm", "--quiet", cwd=stages).code == 0

    def repro() -> tuple[Completed, list[str]]:
        done = started(dvc, "repro", cwd=stages)
        return done, re.findall(r"Running stage '(\w+)'", done.out)

    done, ran = repro()
    assert done.code == 0, done.err
    assert ran == ["fit", "inject", "verify", "eval"]
    require_plus_rows(stages / FAST, stages / "new.safetensors")
    assert repro()[1] == []
    shown = started(dvc, "metrics", "show", "--json", cwd=stages)
    figures = json.loads(shown.out)[""]["data"]["eval.json"]["data"]
    assert figures["gzsl"]["harmonic"] == document(stages / "eval.json")["gzsl"]["harmonic"]
    params = (stages / "params.yaml").read_text()
    (stages / "params.yaml").write_text(params.replace("min_harmonic: 0.3", "min_harmonic: 0.999"))
    done, ran = repro()
    assert done.code != 0
    assert ran == ["eval"]
    assert "quality gate missed" in done.err

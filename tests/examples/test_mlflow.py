"""The script that logs a run to MLflow."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import icis_cli as api
from tests.conftest import Completed
from tests.examples.running import EXAMPLES, TOO_MUCH, require_plus_rows, started
from tests.synthetic import UNSEEN

#: The script, with a fit that takes a second; then what is in the store, read back from there.
RUN = """
import dataclasses, functools, json, os, runpy, sys
import icis_cli
quick = dataclasses.replace(icis_cli.DEFAULT, epochs=5, min_steps=50)
icis_cli.fit = functools.partial(icis_cli.fit, method=icis_cli.Icis(quick))
sys.argv[:] = sys.argv[1:]
main = runpy.run_path(sys.argv[0])["main"]
code = main()
from mlflow import MlflowClient
client = MlflowClient("mlruns")
(experiment,) = client.search_experiments(filter_string="name = 'add classes'")
(run,) = client.search_runs([experiment.experiment_id])
losses = [[m.step, m.value] for m in client.get_metric_history(run.info.run_id, "loss")]
files = [one.path for one in client.list_artifacts(run.info.run_id)]
told = {"id": run.info.run_id, "status": run.info.status, "losses": losses, "files": files}
print(json.dumps({**told, "params": run.data.params, "metrics": run.data.metrics}))
sys.exit(code)
"""


def logged(here: Path, *options: object) -> tuple[Completed, Any]:
    """Run the script; return the run that is in the store after it, too."""
    script = EXAMPLES / "mlflow" / "log_run.py"
    files = ("--weights", "model.pt", "--attrs", "classes.csv", "--features", "test.npz")
    done = started("python", "-c", RUN, script, *files, *options, cwd=here)
    assert done.out, done.err
    told, kept = done.out.splitlines()
    run = json.loads(kept)
    assert told == run["id"]
    return done, run


needs_mlflow = pytest.mark.skipif(
    find_spec("mlflow") is None, reason="the extra mlflow is not installed"
)


@needs_mlflow
def test_a_run_is_in_the_store_of_mlflow_and_failed_if_it_misses_the_gate(here):
    done, run = logged(here, "--min-harmonic", TOO_MUCH)
    assert done.code == 3
    assert "quality gate missed" in done.err
    assert run["status"] == "FAILED"
    require_plus_rows(here / "model.pt", here / "model.injected.pt")
    known = api.known_head(api.open_checkpoint(here / "model.injected.pt"))
    found = api.evaluate_features(known, api.read_features(here / "test.npz"))
    assert run["metrics"]["gzsl_harmonic"] == found.harmonic
    assert 0 < run["metrics"]["held_out_retrieval"] <= 1
    assert run["params"]["method"] == "icis"
    assert run["params"]["new_classes"] == str(UNSEEN)
    steps, losses = zip(*run["losses"], strict=True)
    assert steps == tuple(range(1, len(losses) + 1))
    assert losses[-1] < losses[0]
    assert run["files"] == ["model.injected.pt.icis.json"]


@needs_mlflow
def test_a_run_that_passes_the_gate_is_finished_in_mlflow(here):
    done, run = logged(here, "--min-harmonic", 0.3)
    assert done.code == 0, done.err
    assert run["status"] == "FINISHED"
    assert run["metrics"]["gzsl_harmonic"] >= 0.3

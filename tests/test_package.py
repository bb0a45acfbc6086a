"""The package as a whole: its public names, what importing it costs, and broken installations."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

import icis_cli
from icis_cli import runtime
from icis_cli.errors import InstallationError

PUBLIC = [
    "DEFAULT", "PAPER", "AlignedClasses", "Benchmark", "Calibration", "Certainty", "Checkpoint",
    "Comparison", "Costa", "Descriptors", "Evaluation", "Expansion", "Features", "Head",
    "HeldOut", "HeldOutFigures", "Icis", "IcisError", "Injector", "Inspection", "KnownHead",
    "Mean", "Mlp", "Nearest", "PreprocessingOptions", "Problem", "Recipe", "Report", "Ridge",
    "RowComparison", "Selection", "Smo", "SubReg", "Terms", "Verification", "ViewSpace", "Wavg",
    "Wdae", "Xlsa17", "align", "benchmark", "calibrate", "compare", "compare_rows",
    "describe_further", "describe_names", "evaluate_features", "evaluate_images", "expand",
    "find_examples", "find_head", "find_images", "fit", "hold_out", "inspect_checkpoint",
    "join_views", "judge", "known_head", "open_checkpoint", "planned_report", "problem_of",
    "read_descriptors", "read_features", "read_lines", "read_views", "read_xlsa17", "remove",
    "report_of", "select_method", "select_views", "tune", "verify", "write_html",
]  # fmt: skip


def test_public_names_are_these_and_each_is_there_and_documented():
    assert sorted(icis_cli.__all__) == sorted(PUBLIC)
    for name in PUBLIC:
        public = getattr(icis_cli, name)
        if callable(public):
            assert public.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = icis_cli.nothing


def test_the_installed_version_is_the_packages_own():
    assert metadata.version("icis-cli") == icis_cli.__version__


@pytest.mark.parametrize(
    "statement",
    [
        "from icis_cli import open_checkpoint, find_head, read_descriptors, align, expand",
        "from icis_cli import Injector",
        "from icis_cli import Icis, Nearest, evaluate_features, known_head",
        "from icis_cli import Ridge, benchmark, compare, problem_of, read_xlsa17",
    ],
)
def test_torch_is_not_imported_before_it_is_needed(statement):
    check = f"import sys; {statement}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def break_torchvision(monkeypatch, message):
    """Make the import of torchvision fail as its library does."""

    def broken(name):
        if name == "torchvision":
            raise RuntimeError(message)

    monkeypatch.setattr("importlib.import_module", broken)


def test_torch_and_torchvision_that_do_not_fit_are_explained(monkeypatch):
    break_torchvision(monkeypatch, "operator torchvision::nms does not exist")
    with pytest.raises(InstallationError, match="built for another torch") as caught:
        runtime.import_torchvision()
    assert "pip install" in caught.value.hint
    assert "torch torchvision" in caught.value.hint


def test_other_runtime_errors_at_import_are_not_explained_away(monkeypatch):
    break_torchvision(monkeypatch, "something else")
    with pytest.raises(RuntimeError, match="something else"):
        runtime.import_torchvision()


def test_a_missing_extra_is_named():
    with pytest.raises(InstallationError, match="needs the package nowhere_to_be_found") as caught:
        runtime.import_extra("nowhere_to_be_found.io", "demo", "this file")
    assert caught.value.hint == "pip install 'icis-cli[demo]'"


def test_cuda_is_refused_where_there_is_none(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.choose_device("auto") == "cpu"
    with pytest.raises(InstallationError, match="no CUDA device"):
        runtime.choose_device("cuda")

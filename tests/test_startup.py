"""What a command loads before it needs it: help and usage errors answer at once, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from safetensors.torch import save_file

from icis_cli.cli import recipe_options
from icis_cli.methods.recipes import RECIPES
from icis_cli.methods.registry import METHODS
from icis_cli.methods.spaces import INPUTS

COMMANDS = (
    "fit", "inject", "inspect", "eval", "verify", "report", "compare", "benchmark", "describe",
    "demo",
)  # fmt: skip

HEAVY = ("PIL", "numpy", "safetensors", "scipy", "torch", "torchvision")

PROBE = f"""
import sys
from icis_cli.cli.main import run
code = run(sys.argv[1:])
print("|", code, *(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)
"""

FIT = ("fit", "--weights", "model.pt", "--attrs", "a.csv")
COMPARE = ("compare", "--weights", "model.pt", "--attrs", "a.csv")
EVAL = ("eval", "--weights", "model.pt")


def loaded(*arguments: object, cwd: Path) -> tuple[int, set[str]]:
    """Run a command in a process of its own; return its exit code and the heavy modules in it."""
    command = [sys.executable, "-c", PROBE, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    code, *modules = done.stderr.rpartition("|")[2].split()
    return int(code), set(modules)


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), *((name, "--help") for name in COMMANDS)]
)
def test_help_loads_nothing_heavy(arguments, tmp_path):
    assert loaded(*arguments, cwd=tmp_path) == (0, set())


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("fit",),
        ("inspect",),
        (*FIT, "--bogus"),
        (*FIT, "--seed", "x"),
        (*FIT, "--device", "gpu"),
        (*FIT, "--cv", "1"),
        (*FIT, "--method", "nonsense"),
        (*FIT, "--recipe", "nonsense"),
        (*FIT, "--loss", "nonsense"),
        (*FIT, "--inputs", "nonsense"),
        (*FIT, "--method", "auto", "--lr", "1"),
        ("inject", "--calibration", "nonsense"),
        ("inject", "--calibration", "1", "--expected-accuracy", "0.5"),
        EVAL,
        (*EVAL, "--features", "f.npz", "--reference", "r.pt"),
        (*EVAL, "--features", "f.npz", "--min-zsl", "2"),
        (*COMPARE, "--cv", "1"),
        (*COMPARE, "--method", "nonsense"),
        (*COMPARE, "--method", "icis", "--method", "icis"),
        (*COMPARE, "--seeds", "4-0"),
        ("benchmark", "folder", "--cv", "1"),
        ("benchmark", "folder", "--seeds", "x"),
    ],
    ids=" ".join,
)
def test_a_usage_error_loads_nothing_heavy(arguments, tmp_path):
    assert loaded(*arguments, cwd=tmp_path) == (2, set())


@pytest.mark.parametrize(
    "arguments",
    [
        (*FIT, "--ensemble", "3", "--method", "ridge"),
        (*FIT, "--method", "ridge", "--epochs", "3"),
        (*FIT, "--lr", "-1"),
        (*FIT, "--without", "nonsense"),
        (*FIT, "--cv", "0", "--select"),
        (*FIT, "--attrs", "a.csv"),
        (*FIT, "--attrs", "b.csv", "--unseen-attrs", "c.csv"),
        ("inject", "--remove"),
        (*COMPARE, "--method", "conse"),
        ("benchmark", "folder", "--recipe", "nonsense"),
    ],
    ids=" ".join,
)
def test_a_usage_error_that_needs_the_methods_loads_no_torch(arguments, tmp_path):
    code, modules = loaded(*arguments, cwd=tmp_path)
    assert code == 2
    assert modules <= {"numpy"}


def test_the_names_that_are_checked_early_are_those_of_the_methods():
    assert tuple(METHODS) == recipe_options.METHOD_NAMES
    assert tuple(RECIPES) == recipe_options.RECIPE_NAMES
    assert INPUTS == recipe_options._INPUTS


def write_descriptors(path: Path, names: tuple[str, ...], values: np.ndarray) -> None:
    if path.suffix == ".json":
        content = {n: row.tolist() for n, row in zip(names, values, strict=True)}
        path.write_text(json.dumps(content))
    elif path.suffix == ".npz":
        np.savez(path, descriptors=values)
    elif path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {"att": values.T})
    else:
        mark = {".csv": ",", ".tsv": "\t"}[path.suffix]
        head = mark.join(["class", *(f"x{n}" for n in range(values.shape[1]))])
        rows = [
            mark.join([n, *map(str, row.tolist())]) for n, row in zip(names, values, strict=True)
        ]
        path.write_text("\n".join([head, *rows]) + "\n")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".npy", ".npz", ".json", ".mat"])
def test_ridge_on_safetensors_loads_no_torch(suffix, tmp_path, world):
    save_file(world.state(), tmp_path / "model.safetensors")
    attrs = tmp_path / f"d{suffix}"
    write_descriptors(attrs, world.names, world.descriptors)
    arguments = ("--weights", "model.safetensors", "--attrs", attrs, "--method", "ridge")
    assert loaded("fit", *arguments, cwd=tmp_path) == (0, {"numpy", "safetensors"})
    assert (tmp_path / "injector.safetensors").exists()


def test_inject_and_inspect_on_safetensors_load_no_torch(folder, world):
    save_file(world.state(), folder / "model.safetensors")
    arguments = ("--weights", "model.safetensors", "--attrs", "attrs.csv", "--method", "ridge")
    light = (0, {"numpy", "safetensors"})
    assert loaded("fit", *arguments, cwd=folder) == light
    assert loaded("inspect", "model.safetensors", cwd=folder) == light
    assert loaded("inject", "--out", "new.safetensors", cwd=folder) == light
    assert loaded("inspect", "new.safetensors", "--json", cwd=folder) == light
    remove = ("--remove", "--weights", "new.safetensors", "--out", "old.safetensors")
    assert loaded("inject", *remove, cwd=folder) == light
    assert (folder / "old.safetensors").exists()


def test_inspect_of_a_pytorch_file_says_that_the_probe_would_see_torch(folder):
    code, modules = loaded("inspect", "model.pt", cwd=folder)
    assert code == 0
    assert "torch" in modules

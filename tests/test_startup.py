"""What a command loads before it needs it: help and usage errors answer at once, without torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from safetensors.torch import save_file

import icis_cli as api
from tests.conftest import COMMANDS, run

METHODS = (
    api.Costa, api.Icis, api.Mean, api.Mlp, api.Nearest, api.Ridge, api.Smo, api.SubReg, api.Wavg,
    api.Wdae,
)  # fmt: skip

HEAVY = ("PIL", "numpy", "safetensors", "scipy", "torch", "torchvision")

#: Runs commands that its stdin names, each in a child of its own that starts with what the module
#: of the command line and the printing of help load; answers with the exit code and all the heavy
#: modules that there are then.
PROBES = f"""
import json, os, sys
import rich.progress, typer.rich_utils
from icis_cli.cli.main import run
for line in sys.stdin:
    folder, arguments = json.loads(line)
    reading, writing = os.pipe()
    if not os.fork():
        try:
            os.chdir(folder)
            for stream in (0, 1):
                os.dup2(os.open(os.devnull, os.O_RDWR), stream)
            code = run(arguments)
            answer = [code, [name for name in {HEAVY!r} if name in sys.modules]]
            os.write(writing, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        print(answer.read(), flush=True)
    os.wait()
"""

Loaded = Callable[..., tuple[int, set[str]]]

FIT = ("fit", "--weights", "model.pt", "--attrs", "a.csv")
COMPARE = ("compare", "--weights", "model.pt", "--attrs", "a.csv")
EVAL = ("eval", "--weights", "model.pt")


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    """Run a command in a new child; return its exit code and the heavy modules in it."""
    with subprocess.Popen(
        [sys.executable, "-c", PROBES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, answers = process.stdin, process.stdout

        def probe(*arguments: object, cwd: Path) -> tuple[int, set[str]]:
            print(json.dumps([str(cwd), [*map(str, arguments)]]), file=asked, flush=True)
            code, modules = json.loads(answers.readline())
            return code, set(modules)

        yield probe


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), *((name, "--help") for name in COMMANDS)]
)
def test_help_loads_nothing_heavy(loaded, arguments, tmp_path):
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
def test_a_usage_error_loads_nothing_heavy(loaded, arguments, tmp_path):
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
def test_a_usage_error_that_needs_the_methods_loads_no_torch(loaded, arguments, tmp_path):
    code, modules = loaded(*arguments, cwd=tmp_path)
    assert code == 2
    assert modules <= {"numpy"}


@pytest.mark.parametrize(
    ("option", "some"),
    [
        ("--method", {one.name for one in METHODS}),
        ("--recipe", {api.DEFAULT.name, api.PAPER.name}),
        ("--inputs", {api.DEFAULT.inputs, api.PAPER.inputs}),
        ("--loss", {api.DEFAULT.loss, api.PAPER.loss}),
    ],
)
def test_the_names_that_are_checked_early_are_those_that_there_are(folder, capsys, option, some):
    """Early: before what they are names of is loaded."""
    fit = ["fit", "--weights", str(folder / "model.pt"), "--attrs", str(folder / "attrs.csv")]
    assert run([*fit, option, "nonsense"]) == 2
    (listed,) = re.findall(r"expected one of (.*)", capsys.readouterr().err)
    names = set(listed.split(" - ")[0].split(", "))
    assert names >= some
    for name in names:
        assert run([*fit, "--dry-run", "--quiet", option, name]) == 0, name


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
def test_ridge_on_safetensors_loads_no_torch(loaded, suffix, tmp_path, world):
    save_file(world.state(), tmp_path / "model.safetensors")
    attrs = tmp_path / f"d{suffix}"
    write_descriptors(attrs, world.names, world.descriptors)
    arguments = ("--weights", "model.safetensors", "--attrs", attrs, "--method", "ridge")
    assert loaded("fit", *arguments, cwd=tmp_path) == (0, {"numpy", "safetensors"})
    assert (tmp_path / "injector.safetensors").exists()


def test_inject_and_inspect_on_safetensors_load_no_torch(loaded, folder, world):
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


def test_inspect_of_a_pytorch_file_says_that_the_probe_would_see_torch(loaded, folder):
    code, modules = loaded("inspect", "model.pt", cwd=folder)
    assert code == 0
    assert "torch" in modules

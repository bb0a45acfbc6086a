"""Bad input, one row each: exit 1 (2 for usage), one line that names the file, nothing written."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch

from tests.conftest import run, write_classifier

ESCAPE = "\x1b[31mred\x9b0m\n:smile:[bold]"
FIT = "fit --weights model.pt --method nearest --out new.safetensors"
EVAL = "eval --weights new.pt --features f.npz"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, world) -> Path:
    """``model.pt``, ``attrs.csv``, ``injector.safetensors``, ``new.pt`` and good features."""
    folder = write_classifier(tmp_path_factory.mktemp("fitted"), world)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        fit = "fit --weights model.pt --method nearest --attrs attrs.csv"
        assert run(fit.split()) == 0
        assert run(["inject", "--out", "new.pt"]) == 0
    np.savez(folder / "f.npz", features=np.ones((46, 24), np.float32), labels=np.arange(46))
    return folder


@pytest.fixture
def here(fitted, tmp_path, monkeypatch) -> Path:
    """A copy of what was fitted."""
    shutil.copytree(fitted, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() if p.is_file() else b"" for p in folder.iterdir()}


def text(name: str, content: str | bytes) -> Callable[[], None]:
    """Make a file of this content."""

    def make() -> None:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def npy(values: object, name: str = "d.npy") -> Callable[[], None]:
    return lambda: np.save(name, np.asarray(values))


def features(**arrays: object) -> Callable[[], None]:
    good = {"features": np.ones((2, 24), np.float32), "labels": np.arange(2)}
    return lambda: np.savez("f.npz", **{**good, **arrays})  # type: ignore[arg-type]


def state(**tensors: torch.Tensor) -> Callable[[], None]:
    return lambda: torch.save(tensors, "bad.pt")


def nothing() -> None:
    """The command itself is what is wrong."""


def cut(name: str, source: Callable[[], None], keep: int) -> Callable[[], None]:
    """Make a file and cut it off."""

    def make() -> None:
        source()
        Path(name).write_bytes(Path(name).read_bytes()[:keep])

    return make


#: The names of the 40 classes of ``model.pt``.
KINDS = [f"kind {letter}{number}" for number in range(20) for letter in "ab"]
RANDOM = np.random.default_rng(0).standard_normal((46, 8))
WITH_NAN = np.where(np.arange(8) == 3, np.nan, RANDOM)
WITH_ZERO = RANDOM * (np.arange(46) != 7)[:, None]
RAGGED = "a,1,2\nb,1\n"
DEEP = "[" * 100_000 + "]" * 100_000
HUGE_NPY = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + (
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 40000000), }".ljust(117)
    + b"\n"
)  # fmt: skip
OBJECTS = np.array([[{}, 1]], dtype=object)
CSV = f"{FIT} --attrs d.csv"
JSON = f"{FIT} --attrs d.json"
NPY = f"{FIT} --attrs d.npy"
NPZ = f"{FIT} --attrs d.npz"
MAT = f"{FIT} --attrs d.mat"
GOOD = f"{FIT} --attrs attrs.csv"
BAD = f"{GOOD} --weights bad.pt"
ICIS = "fit --weights model.pt --attrs attrs.csv"
ONE = torch.ones(1, 24)

#: name: (what to make first, command, what the error line must hold)
DATA: dict[str, tuple[Callable[[], None], str, str]] = {
    "no checkpoint": (nothing, f"{GOOD} --weights no.pt", "no.pt: no such file"),
    "no descriptors": (nothing, f"{FIT} --attrs no.csv", "no.csv: no such file"),
    "descriptors are a folder": (lambda: Path("d.csv").mkdir(), CSV, "d.csv: is a folder"),
    "name too long": (nothing, f"{FIT} --attrs {'x' * 300}.csv", "File name too long"),
    "unknown format": (text("d.xlsx", "x"), f"{FIT} --attrs d.xlsx", "d.xlsx: unknown descriptor"),
    "text as checkpoint": (text("bad.pt", "hello"), BAD, "bad.pt: is neither a PyTorch file"),
    "empty checkpoint": (text("bad.pt", ""), BAD, "bad.pt: is neither"),
    "no such head": (nothing, f"{GOOD} --head fd", "model.pt: no layer 'fd'"),
    "no linear layer": (state(conv=torch.ones(3, 3, 2, 2)), BAD, "bad.pt: expected a linear layer"),
    "K = 1": (state(**{"fc.weight": ONE}), BAD, "the head has 1 row, expected at least 2"),
    "d = 1": (npy(RANDOM[:, :1]), NPY, "d.npy: a descriptor has 1 number(s), expected at least 2"),
    "U = 0": (npy(RANDOM[:40]), NPY, "d.npy describes only the 40 classes"),
    "fewer than K": (npy(RANDOM[:39]), NPY, "d.npy describes 39 classes, but the head has 40"),
    "three dimensions": (npy(np.ones((2, 3, 4))), NPY, "d.npy: expected a matrix"),
    "complex": (npy(RANDOM + 1j), NPY, "d.npy: expected a matrix"),
    "text array": (npy([["a", "b"]]), NPY, "d.npy: expected a matrix"),
    "NaN": (npy(WITH_NAN), NPY, "d.npy: row 0, column 3: NaN or infinite (and 45 more"),
    "too large for float32": (npy(RANDOM * 1e200), NPY, "d.npy: row 0, column 0: NaN or infinite"),
    "too large to compare": (npy(RANDOM * 1e30), NPY, "d.npy: the length of 46 descriptor row(s)"),
    "too small to compare": (npy(RANDOM * 1e-30), NPY, "d.npy: the length of 46 descriptor row"),
    "a zero row": (npy(WITH_ZERO), NPY, "d.npy: 1 descriptor row(s) are all zero: row 7"),
    "all constant": (npy(np.ones((46, 8))), NPY, "d.npy: all 46 descriptors are equal"),
    "no row": (npy(np.ones((0, 8))), NPY, "d.npy: holds no descriptor row"),
    "objects in npy": (npy(OBJECTS), NPY, "d.npy: is no readable numpy file"),
    "objects in npz": (lambda: np.savez("d.npz", a=OBJECTS), NPZ, "d.npz: 'a' cannot be read"),
    "cut npy": (cut("d.npy", npy(RANDOM), 500), NPY, "d.npy: is no readable numpy file"),
    "empty npy": (text("d.npy", ""), NPY, "d.npy: is no readable numpy file"),
    "huge npy": (text("d.npy", HUGE_NPY), NPY, "d.npy: is no readable numpy file"),
    "cut npz": (
        cut("d.npz", lambda: np.savez("d.npz", a=RANDOM), 500), NPZ, "d.npz: is no readable numpy"
    ),
    "no zip": (text("d.npz", b"PK\x03\x04 no zip"), NPZ, "d.npz: is no readable numpy file"),
    "empty npz": (lambda: np.savez("d.npz"), NPZ, "d.npz: expected one matrix"),
    "ragged CSV": (text("d.csv", RAGGED), CSV, "d.csv: line 2 has 2 cells, expected 3"),
    "text for a number": (text("d.csv", "a,1,2\nb,1,x"), CSV, "d.csv: line 2: expected a number"),
    "empty CSV": (text("d.csv", "\n"), CSV, "d.csv: is empty"),
    "CSV no text": (text("d.csv", b"\xff\xfe\x00"), CSV, "d.csv: is no readable text table"),
    "a name twice": (text("d.csv", "a,1,2\nb,1,3\na,1,4"), CSV, "d.csv: class name 'a' occurs 2"),
    "an empty name": (text("d.csv", "a,1,2\n,1,3\nc,1,4"), CSV, "d.csv: row 1 has an empty class"),
    "no JSON": (text("d.json", "{"), JSON, "d.json: is no readable JSON"),
    "deep JSON": (text("d.json", DEEP), JSON, "d.json: is no readable JSON"),
    "JSON key twice": (text("d.json", '{"a":[1,2],"a":[3,4]}'), JSON, "the key 'a' occurs twice"),
    "ragged JSON": (text("d.json", "[[1,2],[3]]"), JSON, "d.json: row 1 has 1 numbers, expected 2"),
    "text in JSON": (text("d.json", '{"a":[1,"x"]}'), JSON, "d.json: class 'a': expected a list"),
    "null in JSON": (text("d.json", '{"a":{"x":null}}'), JSON, "d.json: class 'a': expected"),
    "JSON number": (text("d.json", "7"), JSON, "d.json: holds no classes"),
    "huge in JSON": (text("d.json", f"[[{10**400},1]]"), JSON, "d.json: holds a whole number"),
    "NaN in JSON": (text("d.json", "[[NaN,1],[2,1]]"), JSON, "d.json: row 0, column 0: NaN"),
    "no MATLAB": (text("d.mat", "hello" * 99), MAT, "d.mat: is no readable MATLAB v5 file"),
    "MATLAB without att": (lambda: scipy.io.savemat("d.mat", {"x": 1}), MAT, "d.mat: expected"),
    "cut MATLAB": (
        cut("d.mat", lambda: scipy.io.savemat("d.mat", {"att": RANDOM.T}), 900), MAT,
        "d.mat: is no readable MATLAB v5 file (it ends early) - download it again",
    ),
    "MATLAB 7.3": (
        text("d.mat", b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n"), MAT,
        "d.mat: is no readable MATLAB v7.3 file (",
    ),
    "sparse MATLAB": (
        lambda: scipy.io.savemat("d.mat", {"att": scipy.sparse.csc_array(RANDOM.T)}), MAT,
        "d.mat: 'att' is or holds a sparse matrix, expected a full matrix",
    ),
    "complex MATLAB": (
        lambda: scipy.io.savemat("d.mat", {"att": RANDOM.T + 1j}), MAT,
        "d.mat: 'att' is or holds complex",
    ),
    "names twice": (text("s", "zebra\n" * 40), f"{GOOD} --seen s", "--seen lists 'zebra' twice"),
    "names not there": (
        text("s", "\n".join(f"z{n}" for n in range(40))), f"{GOOD} --seen s",
        "40 of 40 class names are not in attrs.csv",
    ),
    "too few seen": (text("s", "kind a0"), f"{GOOD} --seen s", "--seen lists 1 classes"),
    "no list": (nothing, f"{GOOD} --seen s.txt", "s.txt: no such file, expected one with"),
    "a name for a list": (
        nothing, f"{GOOD} --unseen zebra",
        "zebra: no such file, expected one with names, one a line - write the names into a text"
    ),
    "a title in a list": (
        text("s", "Class\n" + "\n".join(KINDS)), f"{GOOD} --seen s",
        "but the head has 40 rows - take out what attrs.csv does not describe: 'Class' (a title?)",
    ),
    "a table for a list": (
        nothing, f"{GOOD} --seen attrs.csv", "--seen: expected names, found lines of a table (fir"
    ),
    "empty list": (text("s.txt", "\n"), f"{GOOD} --unseen s.txt", "s.txt: is empty"),
    "list no text": (text("s.txt", b"\xff"), f"{GOOD} --unseen s.txt", "s.txt: is no readable"),
    "another width": (
        text("d.csv", "a,1,2"), f"{GOOD} --unseen-attrs d.csv",
        "d.csv has 2 columns, but attrs.csv has 8",
    ),
    "output exists": (text("i", "x"), f"{GOOD} --out i", "i: exists already - pass --force"),
    "output is input": (nothing, f"{GOOD} --force --out model.pt", "model.pt: the output is"),
    "output is a list": (
        text("s", "44"), f"{GOOD} --force --unseen s --out s", "s: the output is the input itself"
    ),
    "attrs is a folder": (
        nothing, f"{FIT} --attrs .",
        ".: is a folder, expected a file with one row per class - name a file in it, e.g. attrs.csv"
    ),
    "attrs is a sheet": (
        text("d.xlsx", "PK"), f"{FIT} --attrs d.xlsx",
        "d.xlsx: unknown descriptor format '.xlsx' - save the sheet as CSV"
    ),
    "attrs is a list of names": (
        text("names.txt", "horse\nzebra"), f"{FIT} --attrs names.txt",
        "names.txt: holds no numbers: it looks like a list of class names - to describe"
    ),
    "seen is nearly ImageNet": (
        nothing, f"{GOOD} --seen ImageNet", "ImageNet: no such file - for the 1000 classes of"
    ),
    "weights are an injector": (
        nothing, "fit --weights injector.safetensors --attrs attrs.csv --out i.safetensors",
        "injector.safetensors: is an injector, made by icis fit, expected a checkpoint"
    ),
    "injected into an injector": (
        nothing, "inject --weights injector.safetensors --out i.safetensors",
        "injector.safetensors: is an injector, made by icis fit, expected a checkpoint"
    ),
    "injector is a folder": (
        nothing, "inject --injector . --out x.pt",
        ".: is a folder, expected the file that icis fit wrote - name the file: injector.safetens"
    ),
    "no folder": (nothing, f"{GOOD} --out no/i", "no/i: its folder does not exist"),
    "new exists": (nothing, "inject --out new.pt", "new.pt: exists already"),
    "new is old": (nothing, "inject --force --out ./model.pt", "model.pt: the output is the input"),
    "new is injector": (
        nothing, "inject --force --out injector.safetensors", "injector.safetensors: the output is"
    ),
    "no container": (nothing, "inject --out x.bogus", "x.bogus: the suffix '.bogus' nam"),
    "no injector": (nothing, "inject --injector i.safetensors", "i.safetensors: no such file"),
    "damaged injector": (text("i", "{}"), "inject --injector i", "i: is no readable injector"),
    "other checkpoint": (
        state(**{"fc.weight": torch.ones(40, 24), "fc.bias": torch.ones(40)}),
        "inject --weights bad.pt", "bad.pt: its head 'fc' is not the one",
    ),
    "no record": (nothing, "inject --remove --weights model.pt", "model.pt: has no record"),
    "inject other width": (
        npy(RANDOM[:, :5]), "inject --attrs d.npy", "d.npy: has 5 columns, but the injector"
    ),
    "no features": (nothing, f"{EVAL}x", "f.npzx: no such file"),
    "features no npz": (text("f.npz", "x"), EVAL, "f.npz: is no readable numpy file"),
    "features of another width": (
        features(features=np.ones((2, 23))), EVAL, "f.npz: features have 23 columns"
    ),
    "labels no class": (features(labels=np.array([0, 46])), EVAL, "f.npz: 1 labels are no"),
    "labels no name": (features(labels=["kind a0", "x"]), EVAL, "f.npz: 1 labels are no"),
    "NaN features": (features(features=np.full((2, 24), np.nan)), EVAL, "f.npz: 'features' holds"),
    "features too large": (
        features(features=np.full((2, 24), -1e200)), EVAL,
        "f.npz: 'features' holds 1e+200 (or its negative), expected numbers that fit float32",
    ),
    "logits too large": (
        features(features=np.full((2, 24), 2e38, np.float32)), EVAL,
        "f.npz: the logits of sample 0 (counted from 0) are too large for float32",
    ),
    "no images": (nothing, "eval --weights new.pt --images dir", "dir: no such folder"),
    "rows without names": (
        nothing, "eval --weights model.pt --features f.npz", "model.pt does not say which classes"
    ),
}  # fmt: skip

USAGE = {
    "attrs twice": (f"{GOOD} --attrs ./attrs.csv", "attrs.csv is given twice"),
    "method": (f"{ICIS} --method x", "--method x: expected one of"),
    "recipe": (f"{ICIS} --recipe x", "--recipe x: expected one of"),
    "recipe of a control": (f"{GOOD} --epochs 3", "--method nearest has no recipe"),
    "lr": (f"{ICIS} --lr nan", "--lr nan: expected a positive number"),
    "calibration": (
        "inject --calibration some", "--calibration some: expected 'auto', 'none' or a number"
    ),
    "accuracy of none": (
        "inject --expected-accuracy 0.5 --calibration none",
        "--expected-accuracy is for --calibration auto",
    ),
    "accuracy in per cent": (
        "inject --expected-accuracy 76", "--expected-accuracy 76.0: expected a fraction"
    ),
    "accuracy nan": ("inject --expected-accuracy nan", "--expected-accuracy nan: expected"),
    "accuracy 0": ("inject --expected-accuracy 0", "--expected-accuracy 0.0: expected"),
    "folds": (f"{GOOD} --cv 1", "--cv 1: expected 0 for none, or at least 2 folds"),
    "ensemble": (f"{GOOD} --ensemble 3", "--ensemble 3: --method nearest gives the same rows"),
    "choice without folds": (f"{ICIS} --method auto --cv 0", "nothing can be chosen with --cv 0"),
    "calibration nan": ("inject --calibration nan", "--calibration nan: expected"),
    "calibration huge": ("inject --calibration 1e40", "--calibration 1e40: expected"),
    "device": (f"{GOOD} --device tpu", "--device tpu: expected one of auto, cpu, cuda"),
    "remove with an accuracy": (
        "inject --remove --weights new.pt --expected-accuracy 0.5", "leave out what to add"
    ),
    "remove without weights": ("inject --remove", "--remove needs --weights"),
    "nothing to evaluate on": ("eval --weights new.pt", "give one of --features, --images and"),
    "mean nan": (
        "eval --weights new.pt --images . --mean nan,0,0", "--mean nan,0,0: expected numbers from 0"
    ),
    "a name that is no text": (
        "fit --weights caf\udce9.pt --attrs attrs.csv",
        r"caf\xe9.pt: its name is not UTF-8 - rename it, or give a link to it",
    ),
    "two to evaluate on": (f"{EVAL} --images .", "give one of --features, --images and"),
    "reference and features": (f"{EVAL} --reference model.pt", "give one of --features"),
    "gate": (f"{EVAL} --min-harmonic 45", "--min-harmonic 45.0: expected a fraction"),
    "gate nan": (f"{EVAL} --min-zsl nan", "--min-zsl nan: expected a fraction"),
    "no command": ("", "expected a command - see icis --help"),
    "unknown command": ("nonsense", "No such command 'nonsense'. - see icis --help"),
    "option before the command": ("--json fit", "No such option: --json"),
    "no option": ("fit", "Missing option '--weights'. - see icis fit --help"),
    "no descriptors": ("fit --weights model.pt", "nothing describes the classes - give"),
    "seed negative": (f"{GOOD} --seed -1", "Invalid value for '--seed'"),
    "seed huge": (f"{GOOD} --seed {10**30}", "Invalid value for '--seed'"),
    "seed no number": (f"{GOOD} --seed x", "Invalid value for '--seed'"),
    "unknown option": (f"{GOOD} --bogus\x1b[31m", r"No such option: --bogus\x1b[31m"),
    "argument": (f"{GOOD} extra\x9b", r"found 'extra\x9b' - see icis fit --help"),
    "no value": ("fit --weights", "requires an argument. - see icis fit --help"),
    "help as a command": ("help", "no such command: help - write icis --help"),
    "help of a command": ("help inject", "no such command: help - write icis inject --help"),
    "version as a command": ("version", "no such command: version - write icis --version"),
    "files without options": (
        "fit a.pth b.csv c.txt",
        "takes options alone, found a.pth b.csv c.txt - write --weights a.pth --attrs b.csv --seen",
    ),
    "an injector without its option": (
        "inject i.safetensors m.safetensors", "write --injector i.safetensors --weights m.safetens"
    ),
    "a pattern of several files": (
        f"{FIT} --attrs a.csv b.csv", "found b.csv - write --attrs b.csv"
    ),
    "two checkpoints": (f"{FIT} other.pt", "found other.pt - see icis fit --help"),
    "gate on rows": (
        "eval --weights new.pt --reference model.pt --min-zsl 0.5", "the quality gates need samples"
    ),
}  # fmt: skip


def told(folder: Path, command: str, code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail with one line, with nothing written, and return that line."""
    before = snapshot(folder)
    assert run(command.split()) == code
    err = capsys.readouterr().err
    (line,) = [line for line in err.splitlines() if not line.startswith(("warning: ", "note: "))]
    assert line.startswith("icis: error: ")
    assert "Traceback" not in line
    assert "fault of icis" not in line
    assert line.isprintable()
    if command:
        assert run([*command.split(), "--json"]) == code
        said = capsys.readouterr()
        assert said.err.splitlines()[-1].startswith("icis: error: ")
        assert json.loads(said.out)["error"]["message"] in said.err
    assert snapshot(folder) == before
    return line


@pytest.mark.parametrize("case", DATA)
def test_bad_data(here, capsys, case):
    make, command, expected = DATA[case]
    make()
    assert expected in told(here, command, 1, capsys)


@pytest.mark.parametrize("case", USAGE)
def test_bad_usage(here, capsys, case):
    command, expected = USAGE[case]
    assert expected in told(here, command, 2, capsys)


@pytest.mark.parametrize(
    ("rows", "options", "expected"),
    [
        (RANDOM[:40], "--cv 41", "40 seen classes cannot be held out in 41 folds - pass --cv 5"),
        (RANDOM[:4], "--cv 5", "4 seen classes cannot be held out in 5 folds - pass --cv 4"),
        (RANDOM[:2], "--cv 2", "2 seen classes cannot be held out in 2 folds - pass --cv 0"),
        (RANDOM[:2], "--method auto", "nothing can be chosen without holding seen classes out"),
        (RANDOM[:2], "--method auto --cv 2", "2 seen classes cannot be held out in 2 folds"),
        (np.ones((40, 8)), "--method auto", "all rows of the head are alike: nothing can be"),
        (np.ones((40, 8)), "--method ridge --select", "all rows of the head are alike: nothing"),
    ],
)
def test_too_little_to_hold_out_or_choose_by(here, capsys, rows, options, expected):
    """What was understood has been told by then; the error is still one line, the last one."""
    torch.save({"fc.weight": torch.from_numpy(rows.astype(np.float32))}, "bad.pt")
    before = snapshot(here)
    command = [*BAD.split(), *options.split()]
    assert run(command) == 1
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith("icis: error: ")
    assert expected in err.splitlines()[-1]
    assert err.count("icis: error: ") == 1
    assert "fault of icis" not in err
    assert run([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "TrainingError"
    assert snapshot(here) == before


def test_names_never_reach_the_terminal_raw(here, world, capsys):
    """Neither escape sequences nor line breaks nor markup, in any mode and any command."""
    names = [f"{name}{ESCAPE}" for name in world.names]
    attrs = here / "a\x1b[2J:smile:[red].json"
    attrs.write_text(json.dumps(dict(zip(names, world.descriptors.tolist(), strict=True))))
    new = "n\x1b[2J:smile:[red].pt"
    fit = ["fit", "--weights", "model.pt", "--attrs", str(attrs), "--method", "nearest", "--force"]
    commands = [
        fit,
        [*fit, "--out", "i\x1b]0;x\x07.safetensors"],
        ["inject", "--out", new, "--force"],
        ["eval", "--weights", new, "--features", "f.npz"],
        [*fit, "--weights", new],
        ["fit", "--weights", "\x1b[1m\x9b.pt", "--attrs", str(attrs)],
        ["fit", "--weights", "model.pt", "--attrs", "\udcff\x85.csv"],
    ]
    for command in commands:
        for mode in ([], ["--json"], ["--quiet"]):
            run([*command, *mode])
            said = capsys.readouterr()
            odd = {c for c in said.out + said.err if not c.isprintable()} - {"\n"}
            assert not odd, (command, mode)
            assert "\U0001f604" not in said.out + said.err  # rich's :smile:
            if mode:
                assert said.out.count("\n") <= 1
    assert (here / new).is_file()

"""``icis compare``: what it prints, writes and refuses, on the small classifier."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
import torch

from icis_cli.cli.comparison_options import seeds_of
from icis_cli.comparison.result import FIGURES
from icis_cli.errors import UsageError
from tests.conftest import icis, run
from tests.test_compare import write_samples

COMPARE = ["compare", "--weights", "model.pt", "--attrs", "attrs.csv", "--device", "cpu"]
FEATURES = ["--features", "test.npz"]
CLOSED = ["--method", "ridge", "--method", "nearest"]


@pytest.fixture
def here(folder, world, monkeypatch):
    """The folder with ``model.pt``, ``attrs.csv`` and ``test.npz``; work there."""
    write_samples(folder / "test.npz", world)
    monkeypatch.chdir(folder)
    return folder


def run_json(capsys, *arguments):
    assert run([*COMPARE, *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_holds_fractions_means_and_runs(here, capsys):
    found = run_json(capsys, *FEATURES, *CLOSED, "--method", "mlp", "--seeds", "0-1", "--cv", "0")
    assert (found["schema_version"], found["command"]) == (1, "compare")
    assert [row["method"] for row in found["methods"]] == ["ridge", "nearest", "mlp"]
    assert [row["seeds"] for row in found["methods"]] == [[0], [0], [0, 1]]
    assert found["samples"] == 230
    assert found["calibration"] == "auto"
    for row in found["methods"]:
        assert set(row["mean"]) == set(row["std"]) == set(FIGURES)
        assert 0 <= row["mean"]["harmonic"] <= row["mean"]["best_harmonic"] <= 1
        assert {"seed", "chosen", *FIGURES} <= set(row["runs"][0])
    mlp = found["methods"][2]
    values = [run_["zsl_top1"] for run_ in mlp["runs"]]
    assert mlp["mean"]["zsl_top1"] == pytest.approx(sum(values) / 2)
    assert found["methods"][0]["std"]["harmonic"] is None


def test_without_features_held_out_classes_tell(here, capsys):
    assert run([*COMPARE, *CLOSED]) == 0
    out = capsys.readouterr().out
    assert "held-out seen classes, 40 seen + 6 new classes" in out
    assert re.search(r"ridge +0\.\d{3} +\d+\.\d +\d\.\d\d +\d\.\d", out)
    found = run_json(capsys, *CLOSED)
    assert found["samples"] == 0
    figures = found["methods"][0]["runs"][0]
    assert figures["harmonic"] is None
    assert figures["held_out_cosine"] > 0.5
    assert run([*COMPARE, *CLOSED, "-q"]) == 0
    shown = [figures[f"held_out_{name}"] for name in ("cosine", "retrieval", "norm_ratio")]
    first = capsys.readouterr().out.splitlines()[0]
    expected = f"ridge cosine {shown[0]:.4f} retrieval {shown[1]:.4f} norm_ratio {shown[2]:.4f}"
    assert first == expected
    assert run([*COMPARE, "--method", "conse"]) == 2
    assert "--method conse needs --features" in capsys.readouterr().err


def test_cv_decides_what_is_held_out(here, capsys):
    off = run_json(capsys, *FEATURES, "--method", "ridge", "--cv", "0")["methods"][0]["mean"]
    assert off["held_out_cosine"] is None
    assert off["gamma"] != 0
    three = run_json(capsys, "--method", "wavg", "--cv", "3")["methods"][0]["mean"]
    assert three["held_out_cosine"] is not None


def test_quiet_prints_a_line_a_method(here, capsys):
    assert run([*COMPARE, *FEATURES, *CLOSED, "--quiet"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line.split()[0] for line in lines] == ["ridge", "nearest"]
    number = r"[01]\.\d{4}"
    labelled = rf"\w+ harmonic {number} ausuc {number} zsl {number}"
    assert all(re.fullmatch(labelled, line) for line in lines)
    assert captured.err == ""


def test_markdown_is_a_table(here, capsys):
    assert run([*COMPARE, *FEATURES, *CLOSED, "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| method | T1 | u | s | H | AUSUC | best H | raw H | time s |"
    assert lines[3].startswith("| --- | ---: |")
    assert lines[4].startswith("| ridge | ")
    assert len(lines[4].split("|")) == len(lines[2].split("|"))


def test_csv_has_a_line_a_run_and_is_not_replaced_unasked(here, capsys):
    command = [*COMPARE, *FEATURES, *CLOSED, "--csv", "runs.csv", "--quiet"]
    assert run(command) == 0
    with (here / "runs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["method"] for row in rows] == ["ridge", "nearest"]
    assert 0 <= float(rows[0]["harmonic"]) <= 1
    assert list(rows[0]) == ["method", "chosen", "members", "seed", *FIGURES]
    before = (here / "runs.csv").read_bytes()
    capsys.readouterr()
    assert run(command) == 1
    assert "or another --csv" in capsys.readouterr().err
    assert (here / "runs.csv").read_bytes() == before
    assert run([*command, "--force", "--calibration", "none"]) == 0
    assert (here / "runs.csv").read_bytes() != before
    (here / "model.pt.icis.json").write_text("{}")
    for source in ("attrs.csv", "test.npz", "model.pt", "model.pt.icis.json"):
        assert run([*COMPARE, *FEATURES, *CLOSED, "--csv", source, "--force"]) == 1
        assert "the output is the input itself" in capsys.readouterr().err


def test_labels_that_are_no_class_are_refused(here, world, capsys):
    rows = np.arange(46)
    write_samples(here / "test.npz", world, rows=rows, labels=rows + 1)
    assert run([*COMPARE, *FEATURES, *CLOSED]) == 1
    assert "1 labels are no class of this checkpoint, first 46" in capsys.readouterr().err
    names = np.array([f"{name}s" for name in world.names])
    write_samples(here / "test.npz", world, rows=rows, labels=names)
    assert run([*COMPARE, *FEATURES, *CLOSED, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "FeatureError"


def test_labels_by_name_are_those_by_number(here, world, capsys):
    numbered = run_json(capsys, *FEATURES, *CLOSED)["methods"][0]["mean"]
    rows = np.repeat(np.arange(46), 5)
    write_samples(here / "test.npz", world, labels=np.array(world.names)[rows])
    named = run_json(capsys, *FEATURES, *CLOSED)["methods"][0]["mean"]
    assert named["harmonic"] == numbered["harmonic"]


def test_features_of_another_width_are_refused(here, world, capsys):
    write_samples(here / "test.npz", world, width=20)
    assert run([*COMPARE, *FEATURES, *CLOSED]) == 1
    assert "features have 20 columns, but the head 'fc' takes 24" in capsys.readouterr().err


def test_without_samples_of_new_classes_there_is_no_harmonic_mean(here, world, capsys):
    write_samples(here / "test.npz", world, rows=np.repeat(np.arange(40), 3))
    found = run_json(capsys, *FEATURES, *CLOSED)["methods"][0]["mean"]
    assert found["seen"] > 0.3
    for figure in ("zsl_top1", "unseen", "harmonic", "ausuc", "best_harmonic", "raw_harmonic"):
        assert found[figure] is None
    assert run([*COMPARE, *FEATURES, *CLOSED]) == 0
    assert re.search(r"ridge +- +- +\d", capsys.readouterr().out)
    assert run([*COMPARE, *FEATURES, *CLOSED, "-q"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("ridge harmonic unknown ausuc unknown zsl unknown\n")
    assert said.err == (
        "warning: no sample is of a new class: T1, u and H need samples of new classes\n"
    )
    write_samples(here / "test.npz", world, rows=np.arange(40, 46))
    assert run([*COMPARE, *FEATURES, *CLOSED, "--json"]) == 0
    assert "warning: no sample is of a seen class: s and H need" in capsys.readouterr().err


def test_one_new_class_is_enough(here, capsys):
    (here / "new.txt").write_text("41\n")
    features = np.load("test.npz")
    kept = np.isin(features["labels"], [*range(40), 41])
    np.savez("test.npz", features=features["features"][kept], labels=features["labels"][kept])
    found = run_json(capsys, *FEATURES, *CLOSED, "--method", "conse", "--unseen", "new.txt")
    assert found["unseen_classes"] == 1
    assert all(row["mean"]["zsl_top1"] == 1 for row in found["methods"])
    assert all(row["mean"]["harmonic"] is not None for row in found["methods"])


def test_a_head_without_bias_gets_no_offset(here, world, capsys):
    torch.save(world.state(bias=False), here / "model.pt")
    assert run([*COMPARE, *FEATURES, *CLOSED, "-q"]) == 0
    assert "warning: the head has no bias to add an offset to" in capsys.readouterr().err
    found = run_json(capsys, *FEATURES, *CLOSED, "--method", "conse")
    ridge = found["methods"][0]["mean"]
    assert ridge["gamma"] != 0
    assert ridge["harmonic"] <= ridge["best_harmonic"]
    assert run([*COMPARE, *FEATURES, *CLOSED, "--calibration", "1.5"]) == 1
    assert "the head has no bias" in capsys.readouterr().err


def test_several_descriptor_files_are_weighed(here, world, capsys):
    noise = np.random.default_rng(0).standard_normal((46, 8)).astype(np.float32)
    np.save(here / "noise.npy", noise)
    found = run_json(capsys, "--attrs", "noise.npy", *FEATURES, *CLOSED)
    assert sum(found["view_weights"]) == pytest.approx(1)
    assert run([*COMPARE, "--attrs", "noise.npy", *CLOSED]) == 0
    assert "descriptor files are weighed" in capsys.readouterr().err


def test_new_classes_in_files_of_their_own(here, world, capsys):
    np.save(here / "seen.npy", world.descriptors[:40])
    np.save(here / "new.npy", world.descriptors[40:])
    own = ["compare", "--weights", "model.pt", "--attrs", "seen.npy", "--unseen-attrs", "new.npy"]
    assert run([*own, *FEATURES, *CLOSED]) == 1
    assert "label samples by class name" in capsys.readouterr().err
    assert run([*own, *CLOSED, "-q"]) == 0
    capsys.readouterr()
    assert run([*own, "--attrs", "attrs.csv", *CLOSED]) == 2
    assert "--attrs is given 2 time(s), --unseen-attrs 1" in capsys.readouterr().err


def test_two_seen_classes_are_compared_without_a_choice(here, world, capsys):
    state = world.state()
    state["fc.weight"], state["fc.bias"] = state["fc.weight"][:2], state["fc.bias"][:2]
    torch.save(state, here / "model.pt")
    assert run([*COMPARE, *FEATURES, *CLOSED, "--method", "conse", "-q"]) == 0
    warned = capsys.readouterr().err
    assert "warning: ridge: with 2 seen classes no offset can be found" in warned
    assert run([*COMPARE, *CLOSED]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "-: not held out, because there are too few seen classes to hold out" in said
    assert "--cv" not in said
    assert run([*COMPARE, *FEATURES, "--method", "auto"]) == 1
    assert "auto cannot choose a method without holding seen classes out (2 classes, 0 folds)" in (
        capsys.readouterr().err
    )


def test_why_classes_were_not_held_out_is_told(here, capsys):
    for options, told in (
        ([*CLOSED], ""),
        ([*CLOSED, "--method", "wdae"], "-: not held out, because refits take long (--cv 5 does"),
        ([*CLOSED, "--cv", "0"], "-: not held out (--cv 5 does it)"),
    ):
        assert run([*COMPARE, *options]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert told in said
        assert ("not held out" in said) == bool(told)


def test_features_whose_logits_overflow(here, world, capsys):
    features = np.load("test.npz")
    values = features["features"].copy()
    values[7] = 2e38 * np.sign(world.rows[3, :-1])
    np.savez("test.npz", features=values, labels=features["labels"])
    for method in ("ridge", "conse"):
        assert run([*COMPARE, *FEATURES, "--method", method]) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert "test.npz: the logits of sample 7 (counted from 0) are too large" in said


@pytest.mark.parametrize(
    ("command", "default"),
    [
        ("compare", "all, plus auto, and conse where there are --features."),
        ("benchmark", "auto, icis, ridge."),
    ],
)
def test_help_says_what_is_run_and_printed(capsys, monkeypatch, command, default):
    monkeypatch.setenv("COLUMNS", "300")
    assert run([command, "--help"]) == 0
    said = capsys.readouterr().out
    for text in (f"Default: {default}", "Print one line a method.", "lengths of new rows are even"):
        assert text in said


def test_rows_that_were_injected_are_warned_about(here, capsys):
    fit = ["fit", "--weights", "model.pt", "--attrs", "attrs.csv", "--method", "nearest", "-q"]
    (here / "two.txt").write_text("40\n41\n")
    assert run([*fit, "--unseen", "two.txt"]) == 0
    assert run(["inject", "-q"]) == 0
    capsys.readouterr()
    again = ["compare", "--weights", "model.injected.pt", "--attrs", "attrs.csv", *CLOSED, "-q"]
    assert run(again) == 0
    assert "2 of the 42 rows were injected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "magic"], "--method magic: expected one of icis, ridge"),
        (["--method", "ridge", "--method", "ridge"], "--method ridge is given twice"),
        (["--seeds", "4-0"], "--seeds 4-0: expected rising numbers"),
        (["--calibration", "much"], "--calibration much: expected 'auto'"),
        (["--calibration", "nan"], "--calibration nan"),
        (["--expected-accuracy", "70"], "expected a fraction"),
        (["--expected-accuracy", "0.7", "--calibration", "none"], "is for --calibration auto"),
        (["--cv", "1"], "--cv 1: expected 2 or more folds"),
        (["--ensemble", "0"], "--ensemble"),
        (["--ensemble", "101"], "--ensemble"),
    ],
)
def test_wrong_options_are_usage_errors(here, capsys, options, said):
    assert run([*COMPARE, *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0", (0,)), ("0-4", (0, 1, 2, 3, 4)), ("2,0", (2, 0)), ("7, 1-2", (7, 1, 2))],
)
def test_seeds_are_lists_and_ranges(text, seeds):
    assert seeds_of(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "1-", "-1", "1,1", "0-2,1", "1.5", "²", "0-1000", str(2**32), "1" * 30]
)
def test_other_seeds_are_refused(text):
    with pytest.raises(UsageError, match="--seeds"):
        seeds_of(text)


def test_the_command_as_a_user_starts_it(here):
    done = icis(*COMPARE, *FEATURES, *CLOSED, "--method", "auto", "--cv", "2", cwd=here)
    assert done.code == 0, done.err
    assert done.out.startswith("accuracy on 230 samples (%), 40 seen + 6 new classes")
    assert max(map(len, done.out.splitlines())) <= 80
    assert "\x1b" not in done.out
    assert re.search(r"^auto: (icis|ridge) ", done.out, re.M)
    assert done.err.startswith("head fc: 40 classes of 24 inputs; 6 new classes;")

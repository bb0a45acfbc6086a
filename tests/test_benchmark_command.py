"""``icis benchmark``: the paper's protocol on small data sets, and on CUB where it is there."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

import icis_cli as api
from icis_cli import Nearest
from icis_cli.comparison.benchmark import base_problem
from icis_cli.comparison.result import FIGURES
from icis_cli.evaluation.metrics import per_class_mean
from tests.conftest import run
from tests.test_protocol import ATTRIBUTES, NAMES, SEEN, UNSEEN, cells, write

scipy_io = pytest.importorskip("scipy.io")

FAST = ["--method", "ridge", "--method", "nearest", "--device", "cpu"]


@pytest.fixture
def xlsa17(tmp_path, monkeypatch):
    """A folder ``xlsa17/data`` with the data sets TOY and TOO; work beside it."""
    for name in ("TOY", "TOO"):
        write(tmp_path / "xlsa17" / "data" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "xlsa17"


def write_as_published(folder):
    """A data set of AWA2's size and the paper's width: 50 classes, 2048 numbers."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(50), 4)
    features = np.abs(generator.standard_normal((200, 2048)))
    features[:, :50] += 20 * np.eye(50)[labels]
    numbers = np.arange(200).reshape(50, 4)
    splits = {
        "trainval_loc": numbers[:40, :3],
        "test_seen_loc": numbers[:40, 3:],
        "test_unseen_loc": numbers[40:],
    }
    return write(
        folder,
        {"features": features.T, "labels": (labels + 1)[:, None]},
        {
            "att": generator.random((ATTRIBUTES, 50)),
            "allclasses_names": cells([f"animal {n}" for n in range(50)]),
            **{name: rows.reshape(-1, 1) + 1 for name, rows in splits.items()},
        },
    )


def test_the_base_head_and_the_test_samples_are_those_of_the_splits(xlsa17):
    data = api.read_xlsa17(xlsa17 / "data" / "TOY")
    problem = base_problem(data, seed=0)
    assert problem.names == tuple(NAMES[k] for k in (*SEEN, *UNSEEN))
    assert problem.pairs.rows.shape == (4, 13)
    assert (problem.pairs.unseen == data.descriptors[list(UNSEEN)]).all()
    assert problem.samples is not None
    features, labels = problem.samples.features, problem.samples.labels
    assert len(labels) == 4 * 3 + 2 * 10
    seen = labels < 4
    logits = features[seen] @ problem.pairs.rows[:, :12].T + problem.pairs.rows[:, 12]
    right = logits.argmax(axis=1) == labels[seen]
    assert per_class_mean(right, labels[seen], 4) == 1
    # class k lies at 10 * e_k: a sample's label is told by its features
    classes = np.array([*SEEN, *UNSEEN])
    assert (classes[labels] == features.argmax(axis=1)).all()


def test_every_seed_has_a_base_head_of_its_own(xlsa17):
    data = api.read_xlsa17(xlsa17 / "data" / "TOY")
    told = []
    found = api.benchmark(data, (api.Ridge(), Nearest()), (0, 2), watch=lambda *t: told.append(t))
    assert [row.seeds for row in found.comparison.rows] == [(0, 2), (0, 2)]
    first, second = found.comparison.rows[0].runs
    assert first.gamma != second.gamma
    assert told == [
        (0, 6, "base head, seed 0"), (1, 6, "ridge, seed 0"), (2, 6, "nearest, seed 0"),
        (3, 6, "base head, seed 2"), (4, 6, "ridge, seed 2"), (5, 6, "nearest, seed 2"),
    ]  # fmt: skip
    assert found.published is None
    assert found.base_seconds > 0


def test_all_data_sets_of_a_folder(xlsa17, capsys):
    assert run(["benchmark", str(xlsa17), *FAST, "--seeds", "0-1", "--csv", "runs.csv"]) == 0
    captured = capsys.readouterr()
    titles = re.findall(
        r"^(\w+): accuracy on 32 samples \(%\), 4 seen \+ 2 new", captured.out, re.M
    )
    assert titles == ["TOO", "TOY"]
    assert max(map(len, captured.out.splitlines())) <= 80
    assert "TOY: 28 samples of 4 seen classes to train the base head on, 12 numbers" in captured.err
    with open("runs.csv", newline="") as stream:  # noqa: PTH123
        rows = list(csv.DictReader(stream))
    assert [(row["data_set"], row["method"], row["seed"]) for row in rows] == [
        (name, method, seed)
        for name in ("TOO", "TOY")
        for method in ("ridge", "nearest")
        for seed in "01"
    ]
    assert run(["benchmark", str(xlsa17), *FAST, "--csv", "runs.csv"]) == 1
    assert "exists already" in capsys.readouterr().err


def test_json_has_one_object_a_data_set(xlsa17, capsys):
    assert run(["benchmark", str(xlsa17), *FAST, "--data-set", "toy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema_version"], found["command"]) == (1, "benchmark")
    (data,) = found["data_sets"]
    assert (data["name"], data["width"], data["seen_classes"]) == ("TOY", 12, 4)
    assert data["published"] is None
    assert [row["method"] for row in data["methods"]] == ["ridge", "nearest"]
    assert set(data["methods"][0]["mean"]) == set(FIGURES)


def test_quiet_and_markdown(xlsa17, capsys):
    assert run(["benchmark", str(xlsa17), *FAST, "-q"]) == 0
    captured = capsys.readouterr()
    starts = [line.split()[:2] for line in captured.out.splitlines()]
    labelled = r"TO[OY] (ridge|nearest) harmonic [01]\.\d{4} ausuc [01]\.\d{4} zsl [01]\.\d{4}"
    assert all(re.fullmatch(labelled, line) for line in captured.out.splitlines())
    assert starts == [[name, m] for name in ("TOO", "TOY") for m in ("ridge", "nearest")]
    assert run(["benchmark", str(xlsa17), *FAST, "--data-set", "TOY", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("TOY: accuracy on 32 samples")
    assert lines[4].startswith("| ridge | ")


def test_published_figures_stand_beside_and_say_of_what_they_are(tmp_path, capsys):
    folder = write_as_published(tmp_path / "AWA2")
    assert run(["benchmark", str(folder), "--method", "nearest"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^published +64\.6 +35\.6 +93\.3 +51\.6 +- +- +- +-", out, re.M)
    said = " ".join(out.split())
    assert "arXiv 2308.10599" in said
    assert "need not be the paper's own" in said
    assert max(map(len, out.splitlines())) <= 80
    assert run(["benchmark", str(folder), "--method", "nearest", "--json"]) == 0
    published = json.loads(capsys.readouterr().out)["data_sets"][0]["published"]
    assert published["harmonic"] == 0.516


def test_other_features_of_one_data_set(xlsa17, capsys):
    folder = xlsa17 / "data" / "TOY"
    other = folder.parents[2] / "other.mat"
    (folder / "res101.mat").rename(other)
    command = ["benchmark", str(folder), *FAST, "-q"]
    assert run(command) == 1
    assert "expected res101.mat" in capsys.readouterr().err
    assert run([*command, "--features", str(other)]) == 0
    capsys.readouterr()
    assert run(["benchmark", str(xlsa17), *FAST, "--features", str(other)]) == 2
    assert "--features is of one data set, but 2 are to be run" in capsys.readouterr().err
    assert run([*command, "--features", str(other), "--csv", str(other), "--force"]) == 1
    assert "the output is the input itself" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["res101.mat", "att_splits.mat", "vgg.mat"])
def test_no_file_that_is_read_is_replaced(xlsa17, capsys, name):
    folder = xlsa17 / "data" / "TOO"
    if name == "vgg.mat":
        (folder / "res101.mat").rename(folder / name)
    before = (folder / name).read_bytes()
    for where in (folder, xlsa17):
        assert run(["benchmark", str(where), *FAST, "--csv", str(folder / name), "--force"]) == 1
        assert f"{name}: the output is the input itself" in capsys.readouterr().err
        assert (folder / name).read_bytes() == before


def test_features_whose_logits_overflow(xlsa17, capsys):
    folder = xlsa17 / "data" / "TOY"
    content = scipy_io.loadmat(folder / "res101.mat")
    splits = scipy_io.loadmat(folder / "att_splits.mat")
    content["features"][:, int(splits["test_unseen_loc"].ravel()[0]) - 1] = 3e38
    kept = {key: content[key] for key in ("features", "labels")}
    scipy_io.savemat(folder / "res101.mat", kept)
    assert run(["benchmark", str(folder), "--method", "ridge", "--method", "conse"]) == 1
    err = capsys.readouterr().err.splitlines()
    assert "res101.mat: the logits of sample 12 (counted from 0) are too large" in err[-1]


def test_one_unseen_class(tmp_path, capsys):
    content = scipy_io.loadmat(write(tmp_path / "TOY") / "att_splits.mat")
    labels = scipy_io.loadmat(tmp_path / "TOY" / "res101.mat")["labels"].ravel()
    unseen = content["test_unseen_loc"].ravel()
    kept = unseen[labels[unseen.astype(int) - 1] == UNSEEN[0] + 1]
    write(tmp_path / "TOY", splits={"test_unseen_loc": kept[:, None]})
    assert run(["benchmark", str(tmp_path / "TOY"), *FAST, "--json"]) == 0
    (data,) = json.loads(capsys.readouterr().out)["data_sets"]
    assert data["unseen_classes"] == 1
    assert data["methods"][0]["mean"]["zsl_top1"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data-set", "SUN"], "--data-set SUN: expected one of TOO, TOY"),
        (["--recipe", "best"], "--recipe best: expected one of default, paper"),
        (["--recipe", "paper", "--method", "ridge"], "--recipe needs --method icis"),
        (["--method", "magic"], "--method magic"),
        (["--seeds", "x"], "--seeds x"),
    ],
)
def test_wrong_options_are_usage_errors(xlsa17, capsys, options, said):
    assert run(["benchmark", str(xlsa17), *options]) == 2
    assert said in capsys.readouterr().err


def test_two_folders_of_one_name_are_told_apart_by_the_user(tmp_path, capsys):
    for place in ("data/TOY", "xlsa17/data/TOY"):
        write(tmp_path / place)
    assert run(["benchmark", str(tmp_path), *FAST]) == 2
    assert "two data sets are called TOY" in capsys.readouterr().err


def test_no_data_set(tmp_path, capsys):
    assert run(["benchmark", str(tmp_path)]) == 1
    assert "holds no data set" in capsys.readouterr().err


def test_the_recipe_is_that_of_icis(xlsa17, monkeypatch, capsys):
    used = []
    original = api.Icis.fit

    def fit(self, *arguments, **options):
        used.append(self.recipe)
        quick = replace(self.recipe, epochs=1, min_steps=0)
        return original(replace(self, recipe=quick), *arguments, **options)

    monkeypatch.setattr(api.Icis, "fit", fit)
    command = ["benchmark", str(xlsa17), "--data-set", "TOY", "--method", "icis", "-q"]
    assert run([*command, "--recipe", "paper"]) == 0
    assert set(used) == {api.PAPER}
    used.clear()
    assert run([*command, "--ensemble", "2", "--cv", "0"]) == 0
    assert used == [api.DEFAULT, api.DEFAULT]


@pytest.mark.slow
def test_cub_by_one_command(cub, tmp_path, capsys):
    folder = tmp_path / "CUB"
    folder.mkdir()
    everything = np.load(cub / "features.npz")
    scipy_io.savemat(
        folder / "res101.mat",
        {
            "features": everything["features"].T.astype(np.float32),
            "labels": everything["labels"][:, None] + 1.0,
        },
    )
    (folder / "att_splits.mat").write_bytes((cub / "att_splits.mat").read_bytes())
    assert run(["benchmark", str(folder), "--method", "ridge", "--json"]) == 0
    (data,) = json.loads(capsys.readouterr().out)["data_sets"]
    assert data["published"] is None  # other features than the paper's
    mean = data["methods"][0]["mean"]
    assert mean["zsl_top1"] >= 0.50
    assert mean["harmonic"] >= 0.9 * mean["best_harmonic"]
    assert mean["harmonic"] > mean["raw_harmonic"]

"""Comparison of methods, the library, on the small classifier."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

import icis_cli as api
from icis_cli import Mean, Nearest
from icis_cli.comparison.compare import Contender, default_contenders
from icis_cli.comparison.result import FIGURES, Accuracy, ComparisonRow, Run, csv_of, merged
from icis_cli.errors import FeatureError, HeadError, TrainingError
from icis_cli.injection.choosing import choose
from icis_cli.report.comparisons import comparison_report
from icis_cli.validation.selection import AUTO_MEMBERS

#: Networks that are hardly trained: what they learn does not matter.
QUICK = api.Mlp(replace(api.Mlp().recipe, epochs=2, min_steps=0))


def write_samples(path, world, *, rows=None, labels=None, width=None):
    """Features near the true rows; labels are descriptor row numbers unless given."""
    generator = np.random.default_rng(1)
    rows = np.repeat(np.arange(46), 5) if rows is None else np.asarray(rows)
    weight = world.rows[:, :-1]
    features = weight[rows] + 0.5 * generator.standard_normal((len(rows), weight.shape[1]))
    features = features[:, :width].astype(np.float32)
    np.savez(path, features=features, labels=rows if labels is None else labels)
    return path


@pytest.fixture
def here(folder, world, monkeypatch):
    """The folder with ``model.pt``, ``attrs.csv`` and ``test.npz``; work there."""
    write_samples(folder / "test.npz", world)
    monkeypatch.chdir(folder)
    return folder


def parts(folder, weights="model.pt"):
    checkpoint = api.open_checkpoint(folder / weights)
    head = api.find_head(checkpoint)
    return checkpoint, head, api.align(head.rows, api.read_descriptors(folder / "attrs.csv"))


@pytest.fixture
def problem(here):
    _, head, classes = parts(here)
    return api.problem_of(head, classes, api.read_features(here / "test.npz"))


def accuracy(**changed):
    return replace(Accuracy(0.5, 0.4, 0.6, 0.48, 0.3, 0.5, 0.1), **changed)


def a_run(method="ridge", seed=0, found=None, chosen=None):
    return Run(method, chosen, 1, seed, found or accuracy(), None, 1.5, 0.25, 0.5)


# --- The library -------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "seed"), [("ridge", 0), ("auto", 1)])
def test_figures_are_those_of_fit_inject_and_eval(here, problem, monkeypatch, method, seed):
    trained = api.Mlp(replace(api.Mlp().recipe, epochs=40, hidden=32, min_steps=0))
    auto = (trained, api.Mean())
    monkeypatch.setattr("icis_cli.comparison.compare.AUTO", auto)
    checkpoint, head, classes = parts(here)
    methods, members = (auto, AUTO_MEMBERS) if method == "auto" else ((api.Ridge(),), 1)
    choice = choose(head, classes, methods, members=members, seed=seed)
    injector = api.fit(
        checkpoint, head, classes, choice.method, seed=seed, views=choice.views, held=choice.held,
        members=members,
    )  # fmt: skip
    api.expand(checkpoint, injector).write(here / "new.pt")
    features = api.read_features(here / "test.npz")
    expected = api.evaluate_features(api.known_head(api.open_checkpoint(here / "new.pt")), features)
    contender: Contender = "auto" if method == "auto" else api.Ridge()
    found = api.compare(problem, [contender], (seed,)).rows[0].runs[0]
    assert found.accuracy is not None
    for figure in ("zsl_top1", "seen", "unseen", "harmonic", "ausuc", "best_harmonic"):
        assert getattr(found.accuracy, figure) == pytest.approx(getattr(expected, figure), abs=1e-6)
    assert found.chosen == ("mlp" if method == "auto" else None)
    api.expand(checkpoint, injector, calibration="none").write(here / "raw.pt")
    raw = api.evaluate_features(api.known_head(api.open_checkpoint(here / "raw.pt")), features)
    assert found.accuracy.raw_harmonic == pytest.approx(raw.harmonic, abs=1e-6)


def test_no_label_of_a_sample_changes_what_is_fitted(problem, monkeypatch):
    monkeypatch.setattr("icis_cli.comparison.compare.AUTO", (QUICK, api.Ridge()))
    samples = problem.samples
    other = replace(samples, labels=np.roll(samples.labels, 5 * 40))
    found = api.compare(problem, ["auto", api.Ridge()])
    again = api.compare(replace(problem, samples=other), ["auto", api.Ridge()])
    for one, two in zip(found.rows, again.rows, strict=True):
        assert one.runs[0].gamma == two.runs[0].gamma
        assert one.runs[0].held_out == two.runs[0].held_out
        assert one.chosen == two.chosen
        assert one.runs[0].accuracy != two.runs[0].accuracy


def test_methods_come_in_order_and_closed_forms_run_once(problem):
    told = []
    contenders: list[Contender] = [Nearest(), QUICK, "conse"]
    found = api.compare(problem, contenders, (3, 1), watch=lambda *told_: told.append(told_))
    assert [row.method for row in found.rows] == ["nearest", "mlp", "conse"]
    assert [row.seeds for row in found.rows] == [(3,), (3, 1), (3,)]
    names = ["nearest, seed 3", "mlp, seed 3", "mlp, seed 1", "conse, seed 3"]
    assert told == [(n, 4, name) for n, name in enumerate(names)]
    runs = found.rows[1].runs
    assert runs[0].accuracy != runs[1].accuracy
    assert runs[0].fit_seconds > 0
    assert (found.seen_classes, found.unseen_classes, found.samples) == (40, 6, 230)


def test_ensembles_are_for_what_is_trained_by_chance(problem):
    found = api.compare(problem, [api.Ridge(), QUICK], terms=api.Terms(members=2))
    assert [row.runs[0].members for row in found.rows] == [1, 2]


def test_calibration_none_and_a_number(problem):
    none, fixed = (
        api.compare(problem, [api.Ridge()], terms=api.Terms(calibration=wanted)).rows[0].runs[0]
        for wanted in ("none", 100.0)
    )
    assert none.accuracy is not None
    assert fixed.accuracy is not None
    assert none.gamma == 0
    assert none.accuracy.harmonic == none.accuracy.raw_harmonic
    assert fixed.gamma == 100
    assert fixed.accuracy.seen == 0
    assert fixed.accuracy.unseen == fixed.accuracy.zsl_top1


def test_all_that_makes_sense_is_the_default(problem):
    names = [c if isinstance(c, str) else c.name for c in default_contenders(problem)]
    assert names[:3] == ["auto", "icis", "ridge"]
    assert names[-1] == "conse"
    assert len(names) == len(set(names)) == 12
    without = default_contenders(replace(problem, samples=None))
    assert "conse" not in without
    assert "auto" not in default_contenders(problem, folds=0)
    few = replace(
        problem,
        pairs=replace(
            problem.pairs, rows=problem.pairs.rows[:2], descriptors=problem.pairs.descriptors[:2]
        ),
    )
    assert "auto" not in default_contenders(few)
    alike = replace(problem, pairs=replace(problem.pairs, rows=problem.pairs.rows * 0))
    assert "auto" not in default_contenders(alike)
    with pytest.raises(TrainingError):
        api.compare(alike, ["auto"])


def test_what_cannot_be_compared_is_refused(problem):
    with pytest.raises(ValueError, match="nothing to compare"):
        api.compare(problem, [])
    with pytest.raises(ValueError, match="nothing to compare"):
        api.compare(problem, [Mean()], ())
    with pytest.raises(ValueError, match="needs samples"):
        api.compare(replace(problem, samples=None), ["conse"])
    with pytest.raises(ValueError, match="no samples"):
        replace(problem, samples=None).evaluate_conse()


def test_a_row_that_is_not_finite_names_the_method(problem, monkeypatch):
    def without_numbers(self, descriptors):
        return np.full((len(descriptors), 25), np.nan, dtype=np.float32)

    monkeypatch.setattr(Nearest.predictor, "predict", without_numbers)
    with pytest.raises(TrainingError, match="--method nearest predicts a row that is not finite"):
        api.compare(problem, [Nearest()])


def test_mean_and_deviation_leave_out_what_is_not_there():
    runs = (a_run(seed=0), a_run(seed=1, found=accuracy(harmonic=0.52, zsl_top1=math.nan)))
    row = ComparisonRow("icis", runs)
    assert row.mean()["harmonic"] == pytest.approx(0.5)
    assert row.std()["harmonic"] == pytest.approx(0.04 / math.sqrt(2))
    assert row.mean()["zsl_top1"] == 0.5
    assert row.std()["zsl_top1"] is None
    assert row.mean()["held_out_cosine"] is None
    assert row.to_json()["runs"][1]["zsl_top1"] is None
    assert list(row.mean()) == list(FIGURES)


def test_comparisons_are_merged_by_method():
    one = api.Comparison((ComparisonRow("a", (a_run("a", 0),)),), 4, 2, 9)
    two = api.Comparison((ComparisonRow("a", (a_run("a", 1),)),), 4, 2, 9)
    assert merged([one, two]).rows[0].seeds == (0, 1)
    other = replace(two, rows=(ComparisonRow("b", (a_run("b"),)),))
    for wrong in ([], [one, other]):
        with pytest.raises(ValueError, match="different methods"):
            merged(wrong)
    assert csv_of({"SUN": one}).decode().splitlines()[1].startswith("SUN,a,,1,0,0.5,")


def test_the_library_refuses_what_does_not_fit(here):
    _, head, classes = parts(here)
    features = api.read_features(here / "test.npz")
    with pytest.raises(FeatureError, match="columns"):
        api.problem_of(head, classes, replace(features, values=features.values[:, :5]))
    bare = replace(head, bias=None)
    with pytest.raises(HeadError, match="no bias"):
        api.compare(api.problem_of(bare, classes), [api.Ridge()], terms=api.Terms(calibration=1.0))


# --- Tables ------------------------------------------------------------------------------------


def test_a_table_with_deviations_fits_into_80_columns():
    def row(name, chosen=None):
        runs = (
            a_run(name, 0, accuracy(zsl_top1=0.613, seen=0.999), chosen),
            a_run(name, 1, accuracy(zsl_top1=0.487, seen=0.889), chosen),
        )
        return ComparisonRow(name, tuple(replace(run, fit_seconds=1234.5) for run in runs))

    found = api.Comparison((row("auto", "ridge"), row("icis"), row("ridge")), 150, 50, 4731)
    console = Console(width=80, no_color=True)
    with console.capture() as capture:
        console.print(comparison_report(found, "CUB"))
    lines = capture.get().splitlines()
    assert (
        lines[0].rstrip() == "CUB: accuracy on 4731 samples (%), 150 seen + 50 new classes, 2 seeds"
    )
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in lines[3:6]] == [
        [*name.split(), "55.0±8.9", "40.0±0.0", "94.4±7.8", "48.0±0.0", "30.0±0.0", "50.0±0.0",
         "10.0", "1234"]
        for name in ("auto: ridge", "icis", "ridge")
    ]  # fmt: skip


def test_a_mixed_choice_is_told():
    runs = (a_run("auto", 0, chosen="icis"), a_run("auto", 1, chosen="ridge"))
    found = api.Comparison((ComparisonRow("auto", runs),), 150, 50, 10)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(comparison_report(found))
    assert "auto: mixed" in capture.get()
    assert "auto took 1 x icis, 1 x ridge" in capture.get()

"""Selection by held-out classes, ensembles, and the options of ``icis fit`` for both."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from icis_cli import (
    DEFAULT,
    Icis,
    Injector,
    Mean,
    Nearest,
    Ridge,
    hold_out,
    select_method,
    select_views,
)
from icis_cli.cli.recipe_options import methods_of
from icis_cli.errors import TrainingError, UsageError
from icis_cli.methods.base import SeenPairs
from icis_cli.methods.ensemble import MeanOf, fit_ensemble
from icis_cli.methods.registry import restore
from icis_cli.validation.fairness import unseen_accuracy
from icis_cli.validation.selection import AUTO, CLEARLY, describe, view_spaces
from icis_cli.validation.standins import SIZE
from tests.conftest import run
from tests.synthetic import WIDTH, images_of, judged

SMALL = Icis(replace(DEFAULT, hidden=16, min_steps=0, epochs=2))
FIT = ["fit", "--weights", "model.pt", "--attrs", "attrs.csv"]
QUICK = ["--hidden", "16", "--epochs", "2"]


@pytest.fixture(scope="module")
def world_of_images():
    return judged("trained", 0)


@pytest.fixture
def pairs(world_of_images):
    return world_of_images.pairs


def direct(pairs, method):
    held = hold_out(method, pairs)
    return unseen_accuracy(images_of(pairs.rows, WIDTH), held, SIZE)


def test_scores_margins_and_errors_are_those_of_the_formula(pairs):
    methods = (Ridge(), Nearest(), Mean(), Ridge("linear"))
    selection = select_method(methods, pairs, WIDTH)
    scores = [direct(pairs, method) for method in methods]
    for candidate, method, score in zip(selection.candidates, methods, scores, strict=True):
        assert candidate.label == describe(method)
        assert candidate.score == pytest.approx(score.mean())
        difference = score - scores[0]
        assert candidate.margin == pytest.approx(difference.mean(), abs=1e-9)
        assert candidate.error == pytest.approx(difference.std() / np.sqrt(60), abs=1e-9)
    assert selection.candidates[0].margin == 0


def test_a_default_that_is_clearly_worse_is_left(pairs):
    for default in (Mean(), Nearest(), Ridge("rbf", eta=1e4)):
        selection = select_method((default, Ridge(), Ridge("rbf", eta=1e4)), pairs, WIDTH)
        assert selection.chosen == 1
        taken = selection.candidates[1]
        assert taken.margin > CLEARLY * taken.error
        np.testing.assert_array_equal(selection.held.rows, hold_out(Ridge(), pairs).rows)
        assert selection.to_json()["chosen"] == describe(Ridge())
    # The best of those that are clearly better is taken, not the first or the last.
    assert select_method((Mean(), Nearest(), Ridge(), Nearest()), pairs, WIDTH).chosen == 2
    # A bar too high to take keeps the default.
    assert select_method((Nearest(), Ridge()), pairs, WIDTH, clearly=1e6).chosen == 0


def test_a_default_that_others_beat_by_luck_alone_stays():
    """Rows that no descriptor tells anything about: the best of fifteen is the best by luck."""
    for seed in range(3):
        generator = np.random.default_rng(seed)
        rows = generator.standard_normal((50, WIDTH + 1)).astype(np.float32)
        descriptors = generator.standard_normal((50, 8)).astype(np.float32)
        noise = SeenPairs(descriptors, rows, descriptors[:0])
        candidates = Ridge().candidates()
        selection = select_method(candidates, noise, WIDTH)
        assert len(selection.candidates) == len(candidates) > 20
        assert max(candidate.margin for candidate in selection.candidates) > 0
        assert selection.chosen == 0


def test_equal_candidates_leave_the_default(pairs):
    selection = select_method((Ridge(), Ridge(), Ridge()), pairs, WIDTH)
    assert selection.chosen == 0
    assert {candidate.margin for candidate in selection.candidates} == {0}


def test_leave_one_out_has_no_rivals_and_keeps_the_default(pairs):
    """Folds of one class: each is trivially told apart, which must not look like a choice."""
    selection = select_method((Mean(), Ridge()), pairs, WIDTH, folds=60)
    assert selection.chosen == 0


def test_the_one_of_auto_that_is_clearly_better_is_taken(pairs):
    assert [type(method) for method in AUTO] == [Icis, Ridge]
    hardly_trained = Icis(replace(DEFAULT, hidden=4, min_steps=0, epochs=1))
    assert select_method((hardly_trained, Ridge()), pairs, WIDTH).chosen == 1
    assert select_method((Ridge(), hardly_trained), pairs, WIDTH).chosen == 0


def test_a_choice_is_told_about_and_deterministic(pairs):
    told = []
    methods = (Nearest(), SMALL, Ridge())
    first = select_method(methods, pairs, WIDTH, watch=lambda *step: told.append(step))
    assert told == [(n, 3, describe(method)) for n, method in enumerate(methods)]
    again = select_method(methods, pairs, WIDTH)
    assert again.to_json() == first.to_json()
    np.testing.assert_array_equal(again.held.rows, first.held.rows)


def test_equal_rows_and_no_candidates_are_refused(pairs):
    equal = replace(pairs, rows=np.ones_like(pairs.rows))
    with pytest.raises(TrainingError, match="all rows of the head are alike") as caught:
        select_method((Ridge(), Mean()), equal, WIDTH)
    assert caught.value.hint == "name a --method, without --select"
    with pytest.raises(ValueError, match="no candidate"):
        select_method((), pairs, WIDTH)


@pytest.mark.parametrize("informative", [0, 1])
def test_a_view_of_noise_gets_less_weight_than_one_that_tells(pairs, informative):
    generator = np.random.default_rng(7)
    count = len(pairs.rows)
    noise = generator.standard_normal((count, 40)).astype(np.float32)
    blocks = [noise, noise]
    blocks[informative] = pairs.descriptors
    spaces = view_spaces([block.shape[1] for block in blocks])
    assert spaces[0].weights == (0.5, 0.5)
    joined = np.concatenate(blocks, axis=1)
    selection = select_views(SeenPairs(joined, pairs.rows, joined[:3]), spaces, WIDTH)
    weights = spaces[selection.chosen].weights
    assert weights[informative] >= 0.75
    assert selection.candidates[selection.chosen].margin > 0


def test_two_views_that_tell_the_same_stay_equal(pairs):
    joined = np.concatenate([pairs.descriptors, pairs.descriptors], axis=1)
    spaces = view_spaces([16, 16])
    selection = select_views(SeenPairs(joined, pairs.rows, joined[:0]), spaces, WIDTH)
    assert selection.chosen == 0
    for candidate in selection.candidates:
        assert candidate.margin == pytest.approx(0, abs=1e-3)


def test_an_ensemble_is_the_mean_of_its_members(pairs):
    fitted = fit_ensemble(SMALL, pairs, 3, seed=5)
    members = [SMALL.fit(pairs, seed=seed) for seed in (15, 16, 17)]
    rows = [member.predictor.predict(pairs.unseen).astype(np.float64) for member in members]
    assert not np.allclose(rows[0], rows[1], atol=1e-3)
    np.testing.assert_allclose(
        fitted.predictor.predict(pairs.unseen), np.mean(rows, axis=0), atol=1e-5
    )
    assert fitted.training.losses == sum((m.training.losses for m in members), ())
    assert fitted.training.stopped.startswith("3 members, each: ")


def test_one_member_is_the_method_itself(pairs):
    one = fit_ensemble(SMALL, pairs, 1, seed=5).predictor
    np.testing.assert_array_equal(
        one.predict(pairs.unseen), SMALL.fit(pairs, seed=5).predictor.predict(pairs.unseen)
    )
    with pytest.raises(ValueError, match="0 members"):
        fit_ensemble(SMALL, pairs, 0, seed=5)


@pytest.mark.parametrize("members", [2, 3, 10])
def test_no_two_ensembles_share_a_member(pairs, monkeypatch, members):
    used: list[int] = []

    def fit(self, pairs, *, seed, device="cpu", watch=None):
        used.append(seed)
        return Mean().fit(pairs, seed=seed)

    monkeypatch.setattr(Icis, "fit", fit)
    for seed in range(20):
        fit_ensemble(SMALL, pairs, members, seed=seed)
    assert len(used) == len(set(used)) == 20 * members
    fit_ensemble(SMALL, pairs, members, seed=2**32 - 1)
    assert all(0 <= seed < 2**32 for seed in used)


def test_a_restored_ensemble_of_a_dozen_keeps_its_members_apart(pairs):
    """Members 1 and 10 to 12 begin alike in the file."""
    fitted = fit_ensemble(SMALL, pairs, 12, seed=0).predictor
    assert isinstance(fitted, MeanOf)
    settings = {**SMALL.settings(), "ensemble": 12}
    restored = restore("icis", fitted.tensors(), settings)
    np.testing.assert_array_equal(restored.predict(pairs.unseen), fitted.predict(pairs.unseen))
    for wrong in (13, 0, -1, 10**9):
        with pytest.raises((KeyError, ValueError)):
            restore("icis", fitted.tensors(), {**settings, "ensemble": wrong})


def test_ensembles_and_held_out_rows_survive_the_injector_file(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert run([*FIT, *QUICK, "--ensemble", "3", "--cv", "4", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["settings"]["ensemble"] == 3
    assert said["held_out"]["folds"] == 4
    assert said["training"]["epochs"] == 6
    loaded = Injector.load("injector.safetensors")
    assert isinstance(loaded.predictor, MeanOf)
    assert len(loaded.predictor.members) == 3
    assert loaded.held is not None
    assert loaded.held.rows.shape == (40, 25)
    loaded.save("again.safetensors")
    again = Injector.load("again.safetensors")
    assert again.predict(again.unseen_descriptors).tobytes() == (
        loaded.predict(loaded.unseen_descriptors).tobytes()
    )
    for field in ("classes", "fold", "rows"):
        np.testing.assert_array_equal(getattr(again.held, field), getattr(loaded.held, field))
    assert run([*FIT, *QUICK, "--cv", "0", "--force"]) == 0
    assert Injector.load("injector.safetensors").held is None
    assert run(["inject"]) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--cv", "1"], "--cv 1: expected 0 for none, or at least 2 folds"),
        (["--cv", "-1"], "Invalid value for '--cv'"),
        (["--cv", "0", "--select", "--method", "ridge"], "nothing can be chosen with --cv 0"),
        (["--cv", "0", "--method", "auto"], "nothing can be chosen with --cv 0"),
        (["--ensemble", "3", "--method", "ridge"], "gives the same rows whatever the seed"),
        (["--ensemble", "0"], "Invalid value for '--ensemble'"),
        (["--method", "auto", "--epochs", "3"], "--method auto has no recipe to change"),
        (["--method", "auto", "--recipe", "paper"], "--method auto has no recipe to change"),
    ],
)
def test_options_that_contradict_each_other(folder, monkeypatch, capsys, options, words):
    monkeypatch.chdir(folder)
    assert run([*FIT, *options]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""
    assert not (folder / "injector.safetensors").exists()


def test_select_through_the_command(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert run([*FIT, "--method", "ridge", "--select", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    tried = said["selection"]["candidates"]
    assert len(tried) == len(Ridge().candidates())
    assert said["selection"]["chosen"] in {candidate["label"] for candidate in tried}
    settings: dict[str, Any] = dict(Injector.load("injector.safetensors").settings)
    assert describe(Ridge(**settings)) == said["selection"]["chosen"]
    assert run([*FIT, "--method", "ridge", "--select", "--force"]) == 0
    assert "% of held-out classes; no other is clearly better" in " ".join(
        capsys.readouterr().err.split()
    )


def test_methods_to_choose_from_begin_with_the_default():
    fields = ("hidden", "epochs", "lr", "batch", "loss", "inputs", "without")
    unchanged: dict[str, Any] = dict.fromkeys(fields)
    assert methods_of("ridge", select=False, **unchanged) == [Ridge()]
    chosen = methods_of("ridge", select=True, **unchanged)
    assert chosen[0] == Ridge()
    assert len(chosen) == len(set(map(str, chosen))) > 20
    assert methods_of("auto", select=False, **unchanged) == list(AUTO)
    assert methods_of("auto", select=True, **unchanged)[: len(AUTO)] == list(AUTO)
    with pytest.raises(UsageError, match="--method magic: expected one of"):
        methods_of("magic", select=False, **unchanged)

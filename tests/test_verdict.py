"""The verdict on new rows: three steps, and every command says the same one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from icis_cli import (
    Evaluation,
    HeldOutFigures,
    KnownHead,
    evaluate_features,
    find_head,
    open_checkpoint,
    read_features,
)
from icis_cli.injection.calibration import Expected
from icis_cli.report.outlook import twin_warning, twins_of
from icis_cli.report.verdict import (
    Expectation,
    few_warnings,
    measured_verdict,
    order_doubts,
    step_of,
    verdict_of,
)
from tests.conftest import World, run


def figures(retrieval: float, candidates: float = 6.0, folds: int = 5) -> HeldOutFigures:
    return HeldOutFigures(0.2, retrieval, 0.9, 0.0, 0.0, 0.0, folds, candidates)


@pytest.mark.parametrize(
    ("found", "chance", "step"),
    [
        (0.025, 0.01, "weak"),
        (0.015, 0.01, "guess"),
        (0.05, 0.01, "promising"),
        (0.267, 1 / 6, "guess"),
        (0.967, 1 / 6, "promising"),
        (0.4, 1 / 6, "weak"),
        (0.5, 0.5, "guess"),
        (0.65, 0.5, "weak"),
        (1.0, 0.5, "promising"),
        (1.0, 1.0, "guess"),
    ],
)
def test_a_share_is_judged_by_how_far_it_is_above_chance(found, chance, step):
    assert step_of(found, chance) == step


def test_reasons_are_counts_that_everybody_understands():
    found = verdict_of(30, figures(29 / 30))
    assert found.step == "promising"
    assert found.reasons == ("29 of 30 hidden classes recognised among 6 (guessing: 5)",)
    assert found.warnings == ()
    assert found.doubt is None


def test_rows_by_chance_get_a_warning_with_both_causes():
    found = verdict_of(30, figures(8 / 30))
    assert found.step == "guess"
    (warning,) = found.warnings
    assert "8 of 30 hidden classes" in warning
    assert "wrong order" in warning
    assert "--seen FILE" in warning
    assert "add columns" in warning


@pytest.mark.parametrize(
    ("classes", "held", "doubts", "told"),
    [
        (30, figures(0.9), ("no",), "their order may be wrong"),
        (20, figures(0.9, 4.0), (), "only 20 known classes"),
        (30, None, (), "no class was hidden"),
        (2, None, (), "not possible with 2 classes"),
        (3, figures(1.0, 1.5, 2), (), "only 3 known classes"),
    ],
)
def test_whatever_speaks_against_rows_makes_them_doubtful(classes, held, doubts, told):
    found = verdict_of(classes, held, doubts)
    assert found.step == "weak"
    assert found.doubt is not None
    assert told in found.doubt
    # A test that went well outweighs a doubt; without one it is told in every mode.
    assert bool(found.warnings) == (bool(doubts) and held is None)


def test_a_doubt_about_the_order_is_told_where_no_test_outweighs_it():
    (warning,) = verdict_of(30, None, ("no",)).warnings
    assert "their order may be wrong" in warning


def test_estimates_speak_against_rows_that_hardly_answer_or_cost_too_much():
    good = Expected(0.46, 0.72, 0.56), Expected(0.5, 0.4, 0.44)
    assert Expectation(*good).sentence() == (
        "Estimate without images: about 72 of 100 pictures of new classes and 46 of 100 of old "
        "ones are answered rightly (without the offset: 40 and 50)"
    )
    assert verdict_of(30, figures(0.9), (), Expectation(*good)).step == "promising"
    costly = Expectation(Expected(0.2, 0.7, 0.3), good[1])
    assert "lose more than half" in " ".join(verdict_of(30, figures(0.9), (), costly).reasons)
    mute = Expectation(Expected(0.5, 0.05, 0.1), good[1])
    assert verdict_of(30, figures(0.9), (), mute).step == "weak"
    same = Expectation(good[1], good[1])
    assert "without the offset" not in same.sentence()


def test_one_view_that_fits_speaks_for_the_order():
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((40, 20)).astype(np.float32)
    noise = generator.standard_normal((40, 20)).astype(np.float32)
    assert len(order_doubts(noise, (20,), rows)) == 1
    assert order_doubts(rows, (20,), rows) == ()
    assert order_doubts(np.hstack([noise, rows]), (20, 20), rows) == ()


def test_little_to_learn_from_is_told():
    classes, columns = few_warnings(5, 2, 30)
    assert "only 5 known classes to learn from, for 30 new ones" in classes
    assert "only 2 columns" in columns
    assert few_warnings(24, 5, 30) == ()


def test_twins_are_found_whatever_the_sign_of_a_zero():
    seen = np.array([[0, 1], [1, 1], [0, 1]], np.float32)
    new = np.array([[-0.0, 1], [2, 2], [1, 1]], np.float32)
    twins = twins_of(seen, ("skunk", "cow", "badger"), new)
    assert twins == ("skunk", None, "cow")
    (warning,) = twin_warning(("raccoon", "yak", "camel"), twins)
    assert "raccoon like skunk, camel like cow; the new class will take pictures" in warning
    assert twin_warning(("a",), (None,)) == ()


def evaluated(tmp_path: Path, world: World, features: np.ndarray, labels: np.ndarray) -> Evaluation:
    torch.save(world.state(), tmp_path / "all.pt")
    np.savez(tmp_path / "test.npz", features=features.astype(np.float32), labels=labels)
    head = find_head(open_checkpoint(tmp_path / "all.pt"))
    known = KnownHead(head, world.names[:40], 30, tuple(range(40)))
    return evaluate_features(known, read_features(tmp_path / "test.npz"))


def test_samples_say_what_the_old_classes_lost(tmp_path, world):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 5)
    rows = world.rows[labels, :-1]
    found = evaluated(tmp_path, world, rows + 2 * generator.standard_normal(rows.shape), labels)
    head = find_head(open_checkpoint(tmp_path / "all.pt"))
    features = read_features(tmp_path / "test.npz").values[labels < 30]
    assert head.bias is not None
    logits = features @ head.weight[:30].T + head.bias[:30]
    right = float((logits.argmax(axis=1) == labels[labels < 30]).mean())
    assert found.seen_alone == pytest.approx(right)
    assert found.lost == pytest.approx(right - found.seen)
    assert found.lost > 0
    assert found.to_json()["gzsl"]["seen_alone"] == pytest.approx(right)
    verdict = measured_verdict(found, 10)
    assert f"by the old checkpoint {100 * right:.0f}" in " ".join(verdict.reasons)
    assert measured_verdict(replace(found, zsl_top1=0.12), 10).step == "guess"
    assert measured_verdict(replace(found, zsl_top1=0.9, unseen=0.05), 10).step == "weak"
    assert measured_verdict(replace(found, seen=float("nan")), 10).step == "weak"


@pytest.fixture
def shuffled(tmp_path, world: World, monkeypatch) -> Path:
    """A table in another order than the classifier's, and nothing that tells."""
    monkeypatch.chdir(tmp_path)
    torch.save(world.state(), "model.pt")
    order = np.random.default_rng(5).permutation(40)
    values = world.descriptors.copy()
    values[:40] = values[order]
    values[45] = values[3]
    np.savez("attrs.npz", values=values, names=np.array([*(world.names[n] for n in order),
                                                        *world.names[40:]]))  # fmt: skip
    return tmp_path


FIT = ["fit", "--weights", "model.pt", "--attrs", "attrs.npz", "--method", "ridge"]
BAD = "hardly better than guessing"


def test_rows_of_a_wrong_order_are_called_so_by_every_command(shuffled, world, capsys):
    assert run([*FIT, "--quiet", "--report", "fit.html"]) == 0
    said = capsys.readouterr()
    assert said.out == "injector.safetensors\n"
    assert f"warning: the new rows are {BAD}" in said.err
    assert run([*FIT, "--force", "--json"]) == 0
    fitted = json.loads(capsys.readouterr().out)
    assert fitted["verdict"]["step"] == "guess"
    assert any(BAD in warning for warning in fitted["warnings"])
    assert run([*FIT, "--force"]) == 0
    assert "next: icis inject" not in capsys.readouterr().err

    assert run(["inject", "--card"]) == 0
    said = capsys.readouterr()
    assert f"warning: the new rows are {BAD}" in said.err
    assert said.out.rstrip().endswith("fc with 40 -> 46 rows")
    assert "surer than" not in said.err
    assert "Estimate" not in said.err
    assert f"{world.names[45]} like " in said.err
    assert run(["inject", "--force", "--json"]) == 0
    injected = json.loads(capsys.readouterr().out)
    assert injected["verdict"]["step"] == "guess"
    assert injected["certainty"][5]["same_as_seen"] is not None
    assert [one["same_as_seen"] for one in injected["certainty"][:5]] == [None] * 5
    assert any(BAD in warning for warning in injected["warnings"])

    assert run(["report", "model.injected.pt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == injected["verdict"]
    headline = "Do not use: the new rows are hardly better than guessing."
    for page in ("fit.html", "model.injected.pt.report.html", "model.injected.pt.md"):
        text = Path(page).read_text(encoding="utf-8")
        assert headline in text, page
        assert "guessing: 5)" in text, page
        assert "Estimate without" not in text, page
    assert "surer than" not in Path("fit.html").read_text(encoding="utf-8")


def test_two_classes_are_too_few_and_that_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    torch.save({"fc.weight": torch.randn(2, 8), "fc.bias": torch.zeros(2)}, "model.pt")
    np.savez("attrs.npz", values=generator.random((4, 6)), names=np.array(list("abcd")))
    assert run(FIT) == 0
    said = capsys.readouterr().err
    assert re.search(r"held out +not possible with 2 classes", said)
    assert "warning: only 2 known classes to learn from, for 2 new ones" in said


def test_an_estimate_comes_last_and_is_in_the_report(tmp_path, world, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save(world.state(), "model.pt")
    np.savez("attrs.npz", values=world.descriptors, names=np.array(world.names))
    assert run([*FIT, "--report", "fit.html"]) == 0
    assert run(["inject"]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("Estimate without images: about ")
    assert run(["report", "model.injected.pt"]) == 0
    for page in ("fit.html", "model.injected.pt.report.html"):
        assert last in Path(page).read_text(encoding="utf-8"), page
    # Another offset than was found promises something else.
    assert run(["inject", "--force", "--calibration", "1"]) == 0
    assert run(["report", "model.injected.pt", "--force"]) == 0
    assert "Estimate" not in Path("model.injected.pt.report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command",
    [
        ["fit", "--weights", "absent", "--attrs", "attrs.npz"],
        ["fit", "--weights", "model.pt", "--attrs", "absent"],
        ["inject", "--attrs", "absent"],
        ["eval", "--weights", "model.injected.pt", "--features", "absent", "--report", "r.html"],
        ["report", "model.injected.pt", "--features", "absent"],
    ],
)
def test_an_input_that_is_not_there_is_told_before_an_output_that_is(shuffled, capsys, command):
    assert run([*FIT, "--quiet"]) == 0
    assert run(["inject", "--quiet"]) == 0
    for page in ("r.html", "model.injected.pt.report.html"):
        Path(page).write_text("mine")
    capsys.readouterr()
    assert run(command) == 1
    assert "absent: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [[*FIT, "--report", "x.txt"], ["report", "model.pt", "--out", "r.pdf"]]
)
def test_a_report_has_the_name_of_a_page(shuffled, capsys, command):
    assert run(command) == 2
    assert "a report is an HTML file - name it" in capsys.readouterr().err
    assert not Path("injector.safetensors").exists()

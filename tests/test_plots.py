"""Pictures made of characters: what they show, and that every terminal can show them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from icis_cli import (
    DEFAULT,
    Evaluation,
    Icis,
    Injector,
    align,
    find_head,
    fit,
    open_checkpoint,
    read_descriptors,
)
from icis_cli.evaluation.answers import Answers
from icis_cli.evaluation.result import evaluation_of
from icis_cli.report.courses import loss_course
from icis_cli.report.plots import FINE, PLAIN, curve_lines, glyphs_for, sparkline
from icis_cli.report.tables import evaluation_report

BOTH = pytest.mark.parametrize("glyphs", [FINE, PLAIN], ids=["fine", "plain"])


def evaluation(unseen_samples: int = 40, margin: float = 0.0) -> Evaluation:
    """Evaluate answers of 4 seen and 4 new classes, drawn by chance."""
    generator = np.random.default_rng(0)
    labels = np.concatenate([np.arange(40) % 4, 4 + np.arange(unseen_samples) % 4])
    margins = generator.standard_normal(len(labels)) + np.where(labels < 4, 1.0, -1.0) + margin
    own = np.where(generator.random(len(labels)) < 0.8, labels, labels ^ 1)
    seen, unseen = np.where(labels < 4, own, 0), np.where(labels < 4, 4, own)
    rank = (own != labels).astype(np.int64)
    answers = Answers(labels, seen, unseen, margins.astype(np.float32), rank, rank)
    return evaluation_of(answers, tuple("abcdefgh"), 4)


@BOTH
def test_bars_are_as_high_as_the_values(glyphs):
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], glyphs) == glyphs.bars
    assert sparkline([7.0, 0.0], glyphs) == glyphs.bars[-1] + glyphs.bars[0]
    assert sparkline([2.0] * 3, glyphs) == glyphs.bars[0] * 3


def test_many_values_make_few_bars_and_hardly_any_none():
    falling = sparkline(list(range(1000, 0, -1)), FINE)
    assert len(falling) == 30
    assert list(falling) == sorted(falling, reverse=True)
    assert set(falling) == set(FINE.bars)
    for values in ([], [1.0], [1.0, float("nan")], [float("inf"), 1.0]):
        assert sparkline(values, FINE) == ""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "no such", None])
def test_streams_that_lack_a_character_get_plain_ones(encoding):
    assert glyphs_for(encoding) is PLAIN
    assert PLAIN.all.isascii()
    assert glyphs_for("utf-8") is FINE


@BOTH
def test_the_curve_has_its_marks_where_the_figures_are(glyphs):
    found = evaluation(margin=1.0)
    lines = curve_lines(found, glyphs)
    rows = [line.partition(glyphs.side)[2] for line in lines if glyphs.side in line]
    assert len(rows) == 10
    (height,) = (number for number, row in enumerate(rows) if glyphs.own in row)
    assert height == int((1 - found.unseen) * 10)
    assert rows[height].index(glyphs.own) == int(found.seen * 48)
    highest = max(
        zip(found.curve.seen, found.curve.unseen, strict=True),
        key=lambda pair: pair[0] * pair[1] / max(sum(pair), 1e-9),
    )
    assert rows[int((1 - highest[1]) * 10)][int(highest[0] * 48)] == glyphs.best
    assert max(map(len, lines)) < 79


@BOTH
def test_the_curve_has_no_gap(glyphs):
    found = evaluation()
    rows = [line.partition(glyphs.side)[2] for line in curve_lines(found, glyphs)]
    filled = {column for row in rows for column, one in enumerate(row) if one.strip()}
    end = int(found.curve.seen[0] * 48)
    assert set(range(end + 1)) <= filled


@BOTH
def test_of_very_many_points_the_curve_is_the_same(glyphs):
    few = evaluation()
    curve = few.curve
    at = np.linspace(0, len(curve.seen) - 1, 50_000)
    dense = [np.interp(at, np.arange(len(curve.seen)), part) for part in (curve.seen, curve.unseen)]
    many = replace(few, curve=replace(curve, gamma=at, seen=dense[0], unseen=dense[1]))
    drawn = [curve_lines(one, glyphs) for one in (few, many)]
    assert sum(a != b for a, b in zip("".join(drawn[0]), "".join(drawn[1]), strict=True)) <= 2


def test_without_samples_of_new_classes_there_is_no_curve():
    assert curve_lines(evaluation(unseen_samples=0), FINE) == ()


def test_the_report_shows_it_where_somebody_looks():
    console = Console(width=80, record=True, file=None, quiet=True)
    with console.capture() as shown:
        console.quiet = False
        console.print(evaluation_report(evaluation(), FINE))
    assert FINE.own in shown.get()
    with console.capture() as shown:
        console.print(evaluation_report(evaluation()))
    assert FINE.own not in shown.get()


def test_the_course_of_an_ensemble_is_the_mean_of_its_members(folder, tmp_path):
    checkpoint = open_checkpoint(folder / "model.pt")
    head = find_head(checkpoint)
    classes = align(head.rows, read_descriptors(folder / "attrs.csv"))
    method = Icis(replace(DEFAULT, epochs=3, min_steps=0, hidden=8))
    made = fit(checkpoint, head, classes, method, members=2, folds=0)
    assert len(made.losses) == 6
    made.save(tmp_path / "i.safetensors")
    for injector in (made, Injector.load(tmp_path / "i.safetensors")):
        expected = [(a + b) / 2 for a, b in zip(made.losses[:3], made.losses[3:], strict=True)]
        assert loss_course(injector) == pytest.approx(expected)
    assert loss_course(replace(made, losses=made.losses[:5])) == made.losses[:5]
    assert loss_course(replace(made, losses=(1.0, float("nan")))) == ()
    assert loss_course(replace(made, losses=())) == ()

"""Calibration: evening and offset, against what must hold and against images it never saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from icis_cli import (
    Calibration,
    Costa,
    HeldOut,
    Mean,
    Nearest,
    Ridge,
    Smo,
    Wavg,
    calibrate,
    hold_out,
    tune,
)
from icis_cli.injection.calibration import EVENING, NONE
from icis_cli.methods.base import SeenPairs
from tests.synthetic import SEEN, WIDTH, Judged, judged

CLOSED = (Ridge(), Costa(), Wavg(), Smo(), Nearest(), Mean())


@pytest.fixture(scope="module")
def trained() -> Judged:
    return judged("trained", 0)


def predict(pairs, method=None):
    method = method or Ridge()
    rows = method.fit(pairs, seed=0).predictor.predict(pairs.unseen)
    return rows, hold_out(method, pairs)


def found(pairs, method=None, **options) -> Calibration:
    rows, held = predict(pairs, method)
    return calibrate(pairs.rows, rows, held, WIDTH, **options)


def even(rows, middle, reach, evening=EVENING):
    return Calibration("auto", 1.5, evening, reach).even(rows, middle, WIDTH)


@pytest.fixture
def rows(trained):
    return predict(trained.pairs)[0], trained.pairs.rows.mean(axis=0)


def test_evening_is_its_formula_row_by_row(rows):
    new, middle = rows
    evened = even(new, middle, 2.0)
    for row, result in zip(new, evened, strict=True):
        away = (row - middle).astype(np.float64)
        length = np.sqrt((away[:WIDTH] ** 2).sum())  # that of the weights: no bias in it
        np.testing.assert_allclose(result, middle + away * (2.0 / length) ** 0.4, rtol=1e-4)
    assert evened.dtype == np.float32
    lengths = np.linalg.norm((new - middle)[:, :WIDTH], axis=1)
    after = np.linalg.norm((evened - middle)[:, :WIDTH], axis=1)
    np.testing.assert_allclose(after, lengths**0.6 * 2.0**0.4, rtol=1e-4)
    assert np.log(after).std() == pytest.approx(0.6 * np.log(lengths).std(), rel=1e-3)


def test_evening_keeps_directions_and_the_order_of_lengths(rows):
    new, middle = rows
    evened = even(new, middle, 2.0)
    before, after = (r - middle for r in (new, evened))
    cosine = (before * after).sum(axis=1)
    cosine /= np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    np.testing.assert_allclose(cosine, 1, atol=1e-5)
    lengths = [np.linalg.norm(part[:, :WIDTH], axis=1) for part in (before, after)]
    np.testing.assert_array_equal(np.argsort(lengths[0]), np.argsort(lengths[1]))


def test_evening_does_not_depend_on_what_else_is_injected(rows):
    new, middle = rows
    whole = even(new, middle, 2.0)
    for n in range(len(new)):
        np.testing.assert_array_equal(even(new[n : n + 1], middle, 2.0)[0], whole[n])
    np.testing.assert_array_equal(even(new[::-1], middle, 2.0)[::-1], whole)


def test_a_row_that_is_the_mean_row_stays_and_so_do_all_without_evening(rows):
    new, middle = rows
    stays = np.stack([middle, new[0]])
    np.testing.assert_array_equal(even(stays, middle, 2.0)[0], middle)
    assert even(new, middle, 2.0, evening=0.0) is new
    assert even(new, middle, 0.0) is new
    assert NONE.apply(new, middle, WIDTH) is new


def test_the_offset_goes_to_the_bias_alone_and_nowhere_without_one(rows):
    new, middle = rows
    calibration = Calibration("auto", 1.5, EVENING, 2.0)
    before = new.copy()
    applied, evened = calibration.apply(new, middle, WIDTH), calibration.even(new, middle, WIDTH)
    np.testing.assert_array_equal(applied[:, :WIDTH], evened[:, :WIDTH])
    np.testing.assert_allclose(applied[:, WIDTH], evened[:, WIDTH] + 1.5, rtol=1e-6)
    np.testing.assert_array_equal(new, before)
    bare = new[:, :WIDTH]
    np.testing.assert_array_equal(calibration.apply(bare, middle[:WIDTH], WIDTH), evened[:, :WIDTH])
    fixed = Calibration("fixed", -2.0).apply(new, middle, WIDTH)
    np.testing.assert_array_equal(fixed[:, :WIDTH], new[:, :WIDTH])
    np.testing.assert_allclose(fixed[:, WIDTH], new[:, WIDTH] - 2, rtol=1e-6)
    np.testing.assert_array_equal(new, before)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["trained", "computed"])
def test_images_that_it_never_saw_find_the_offset_nearly_the_best(kind, seed):
    world = judged(kind, seed)
    new, held = predict(world.pairs)
    calibration = calibrate(world.pairs.rows, new, held, WIDTH)
    applied = calibration.apply(new, world.pairs.rows.mean(axis=0), WIDTH)
    reached, raw = world.harmonic(applied), world.harmonic(new)
    assert reached >= 0.9 * world.best_harmonic(new)
    assert reached > raw + 0.05
    assert calibration.warnings == ()
    assert calibration.after is not None
    assert calibration.before is not None
    assert calibration.after.harmonic > calibration.before.harmonic
    assert calibration.after.unseen > calibration.before.unseen


@pytest.mark.parametrize("kind", ["trained", "computed"])
def test_it_is_better_than_none_where_descriptors_tell_only_half(kind):
    """Half of what tells the classes apart is in no descriptor: H is less, never worse than raw."""
    world = judged(kind, 1, residual=1.0)
    new, held = predict(world.pairs)
    applied = calibrate(world.pairs.rows, new, held, WIDTH).apply(
        new, world.pairs.rows.mean(axis=0), WIDTH
    )
    assert world.harmonic(applied) > world.harmonic(new) + 0.1


def test_it_is_deterministic(trained):
    assert found(trained.pairs) == found(trained.pairs)


def test_the_range_of_offsets_holds_the_offset(trained):
    calibration = found(trained.pairs)
    assert calibration.gamma_range is not None
    low, high = calibration.gamma_range
    assert low < calibration.gamma < high


def test_a_shift_of_all_rows_changes_no_offset(trained):
    """No softmax notices it, and ridge's rows shift alike."""
    pairs = trained.pairs
    shift = np.random.default_rng(1).standard_normal(WIDTH + 1).astype(np.float32)
    shifted = found(replace(pairs, rows=pairs.rows + shift))
    plain = found(pairs)
    assert shifted.gamma == pytest.approx(plain.gamma, abs=0.02)
    assert shifted.reach == pytest.approx(plain.reach, rel=1e-4)


@pytest.mark.parametrize("factor", [0.01, 100])
def test_scaled_weights_with_the_same_biases_have_the_same_offset(trained, factor):
    """Features may be scaled the other way round: logits, and so the offset, are what they were."""
    pairs = trained.pairs
    scale = np.where(np.arange(WIDTH + 1) < WIDTH, np.float32(factor), np.float32(1))
    plain, scaled = found(pairs), found(replace(pairs, rows=pairs.rows * scale))
    assert scaled.gamma == pytest.approx(plain.gamma, abs=0.02)
    assert scaled.reach == pytest.approx(factor * plain.reach, rel=1e-4)
    applied = [
        c.apply(r, p.mean(axis=0), WIDTH)
        for c, r, p in (
            (plain, predict(pairs)[0], pairs.rows),
            (scaled, predict(replace(pairs, rows=pairs.rows * scale))[0], pairs.rows * scale),
        )
    ]
    np.testing.assert_allclose(applied[1] / scale, applied[0], rtol=1e-3, atol=0.03)


def test_weights_and_biases_scaled_alike(trained):
    """Without biases nothing changes. Biases grown until they decide alone raise the size, too."""
    pairs = trained.pairs
    bare = replace(pairs, rows=pairs.rows[:, :WIDTH])
    plain = found(bare).gamma
    assert found(replace(bare, rows=bare.rows * 50)).gamma == pytest.approx(plain, abs=0.02)
    gammas = [found(replace(pairs, rows=pairs.rows * f)).gamma for f in (1, 1000, 10_000)]
    assert gammas[2] > 5 * gammas[1] > 5 * gammas[0]
    assert gammas[2] == pytest.approx(10 * gammas[1], rel=0.4)


def test_the_less_accurate_a_classifier_the_smaller_the_offset(trained):
    pairs = trained.pairs
    gammas = [found(pairs, accuracy=x).gamma for x in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65)]
    assert gammas == sorted(gammas)
    assert gammas[0] < 0.5 * gammas[-1]
    sound = found(pairs)
    for accuracy in (0.65, 0.9, 1.0):
        assert found(pairs, accuracy=accuracy) == sound


@pytest.mark.parametrize("shape", [(40, 64), (200, 512), (10, 2048)])
def test_random_starts_get_no_offset_and_a_warning(shape):
    torch.manual_seed(1)
    layer = torch.nn.Linear(shape[1], shape[0])
    start = np.column_stack([layer.weight.detach().numpy(), layer.bias.detach().numpy()])
    descriptors = np.random.default_rng(0).standard_normal((shape[0] + 3, 9)).astype(np.float32)
    pairs = SeenPairs(descriptors[:-3], start, descriptors[-3:])
    new, held = predict(pairs)
    calibration = calibrate(start, new, held, shape[1])
    assert (calibration.kind, calibration.gamma) == ("auto", 0)
    assert "look like their random start" in calibration.warnings[0]


def test_rows_that_are_equal_get_no_offset_and_a_warning(trained):
    rows = np.tile(trained.pairs.rows[:1], (SEEN, 1))
    calibration = found(replace(trained.pairs, rows=rows))
    assert (calibration.gamma, calibration.evening) == (0, 0)
    (warning,) = calibration.warnings
    assert "all rows of the head are alike" in warning


def test_rows_that_are_all_equally_long_get_a_warning(trained):
    pairs = trained.pairs
    rows = pairs.rows.copy()
    rows[:, :WIDTH] /= np.linalg.norm(rows[:, :WIDTH], axis=1, keepdims=True)
    rows[:, :WIDTH] *= 5
    (warning,) = found(replace(pairs, rows=rows)).warnings
    assert "equally long" in warning
    assert not found(pairs).warnings


@pytest.mark.parametrize("method", CLOSED, ids=lambda method: method.name)
def test_every_closed_form_is_calibrated_without_fault(trained, method):
    pairs = trained.pairs
    new, held = predict(pairs, method)
    calibration = calibrate(pairs.rows, new, held, WIDTH)
    applied = calibration.apply(new, pairs.rows.mean(axis=0), WIDTH)
    assert np.isfinite(applied).all()
    assert np.isfinite(calibration.gamma)
    assert trained.harmonic(applied) >= trained.harmonic(new)
    if not isinstance(method, Mean | Nearest):
        assert trained.harmonic(applied) >= 0.5 * trained.best_harmonic(new)


def test_one_new_class_and_very_many(trained):
    pairs = trained.pairs
    new, held = predict(pairs)
    one = calibrate(pairs.rows, new[:1], held, WIDTH)
    assert np.isfinite(one.gamma)
    assert one.reach == found(pairs).reach  # of held-out rows, not of the new ones
    many = np.tile(new, (400, 1))
    assert calibrate(pairs.rows, many, held, WIDTH).gamma == pytest.approx(
        calibrate(pairs.rows, new, held, WIDTH).gamma, abs=0.1
    )


def test_new_classes_that_are_many_need_a_smaller_offset_than_one(trained):
    """The best of many new rows beats seen rows more often by itself."""
    pairs = trained.pairs
    new, held = predict(pairs)
    assert (
        calibrate(pairs.rows, new, held, WIDTH).gamma
        <= calibrate(pairs.rows, new[:1], held, WIDTH).gamma
    )


@pytest.mark.parametrize("wanted", ["auto", "none", 0.75])
def test_without_held_out_rows_those_of_ridge_stand_in(trained, wanted):
    pairs = trained.pairs
    new, held = predict(pairs)
    own, other = (tune(pairs, new, h, WIDTH, wanted) for h in (held, None))
    assert other.calibration.kind == {"auto": "auto", "none": "none"}.get(str(wanted), "fixed")
    assert other.certainty is not None
    if wanted == "auto":
        assert other.calibration.gamma == pytest.approx(own.calibration.gamma, abs=0.5)
        doubled = pairs.rows.mean(axis=0) + 2 * (new - pairs.rows.mean(axis=0))
        reach = tune(pairs, doubled, None, WIDTH).calibration.reach
        assert reach == pytest.approx(2 * other.calibration.reach, rel=1e-2)
    else:
        assert (other.calibration.reach, other.calibration.evening) == (0, 0)
        np.testing.assert_allclose(
            other.rows[:][:, WIDTH], new[:, WIDTH] + (wanted == 0.75) * 0.75, rtol=1e-6
        )
        np.testing.assert_array_equal(other.rows[:][:, :WIDTH], new[:, :WIDTH])


def test_two_seen_classes_are_too_few_and_it_says_so(trained):
    pairs = trained.pairs
    few = SeenPairs(pairs.descriptors[:2], pairs.rows[:2], pairs.unseen)
    new = Ridge().fit(few, seed=0).predictor.predict(few.unseen)
    tuned = tune(few, new, None, WIDTH)
    assert tuned.calibration.warnings == (
        "with 2 seen classes no offset can be found: none is added",
    )
    assert tuned.certainty is None
    np.testing.assert_array_equal(tuned.rows[:], new)


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_a_handful_of_seen_classes_is_calibrated_without_fault(trained, count):
    pairs = trained.pairs
    few = SeenPairs(pairs.descriptors[:count], pairs.rows[:count], pairs.unseen)
    new = Ridge().fit(few, seed=0).predictor.predict(few.unseen)
    tuned = tune(few, new, None, WIDTH)
    assert np.isfinite(tuned.rows[:]).all()
    assert tuned.certainty is not None
    assert not tuned.certainty.unlike.any()  # too few to say
    assert isinstance(hold_out(Ridge(), few, 3), HeldOut)

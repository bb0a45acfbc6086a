"""Stand-ins for images against images that are made explicitly, one by one."""

from __future__ import annotations

import numpy as np
import pytest

from icis_cli.validation.standins import SIZE, SPREAD, stand_ins
from tests.synthetic import images_of

SIZES = (0.5, SIZE, 40.0)


def head(seed=0, count=12, width=20, bias=True):
    """Rows of a classifier, with a mean row far from zero."""
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((count, width + bias)) * np.linspace(2, 0.2, width + bias)
    return (rows + 3 * generator.standard_normal(width + bias)).astype(np.float32)


def explicit(rows, width, images, size):
    """The logits of each stand-in on each row, by way of its features ``x``.

    ``x = size S v_c / lead + sqrt(size kappa / lead) V' z`` with ``S = V' V``; the noise has the
    covariance ``size kappa S / lead``. Lengths are in units of the rows' root mean square
    distance from their mean.
    """
    weights = rows[:, :width].astype(np.float64)
    unit = np.sqrt(((weights - weights.mean(axis=0)) ** 2).sum(axis=1).mean())
    weights /= unit
    centred = weights - weights.mean(axis=0)
    spread = sum(np.outer(v, v) for v in centred)
    own: list[float] = []
    other: list[float] = []
    for c, v in enumerate(centred):
        for k, w in enumerate(centred):
            (own if k == c else other).append(w @ spread @ v)
    lead = np.mean(own) - np.mean(other)
    logits = np.empty((len(images.labels), len(rows)))
    for n, label in enumerate(images.labels):
        z = images.noise[n].astype(np.float64) / np.sqrt(SPREAD / lead)
        x = size * spread @ centred[label] / lead + np.sqrt(size * SPREAD / lead) * centred.T @ z
        for m, row in enumerate(rows.astype(np.float64)):
            logits[n, m] = (row[:width] / unit - weights.mean(axis=0)) @ x
            if rows.shape[1] > width:
                logits[n, m] += row[width] - rows[:, width].mean()
    return logits


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_logits_are_those_of_explicit_images(size, bias):
    rows = head(bias=bias)
    images = images_of(rows, 20)
    np.testing.assert_allclose(
        images.on(rows).at(size), explicit(rows, 20, images, size), rtol=1e-3, atol=2e-3 * size
    )


def test_features_can_be_rebuilt_from_basis_and_coefficients():
    """A stand-in is ``x = basis' (size mean + sqrt(size) noise)``; any row answers to it."""
    rows = head()
    other = head(seed=9, count=5)
    images = images_of(rows, 20)
    for size in SIZES:
        x = (size * images.mean + np.sqrt(size) * images.noise).astype(np.float64) @ images.basis
        away = other - images.middle
        expected = x @ away[:, :20].T / images.scale + away[:, 20]
        np.testing.assert_allclose(images.on(other).at(size), expected, rtol=1e-3, atol=2e-2)


def test_the_noise_has_the_covariance_that_the_module_says():
    rows = head(count=5, width=4)
    images = images_of(rows, 4)
    assert len(images.labels) == 2000
    centred = (rows - rows.mean(axis=0))[:, :4].astype(np.float64)
    centred /= np.sqrt((centred**2).sum(axis=1).mean())
    spread = centred.T @ centred
    gram = centred @ centred.T @ centred @ centred.T
    lead = np.trace(gram) / 5 - (gram.sum() - np.trace(gram)) / 20
    noise = images.noise.astype(np.float64) @ images.basis
    expected = SPREAD / lead * spread
    np.testing.assert_allclose(np.cov(noise.T), expected, atol=0.1 * np.abs(expected).max())
    assert np.abs(noise.mean(axis=0)).max() < 0.1 * np.sqrt(np.abs(expected).max())


@pytest.mark.parametrize("count", [2, 3, 12, 700])
def test_the_size_is_the_mean_logit_of_the_true_class_above_the_others(count):
    rows = head(count=count)
    images = images_of(rows, 20)
    for size in SIZES:
        response = images.on(rows)
        logits = size * (response.mean @ response.product).astype(np.float64)  # no noise, no bias
        leads = []
        for c in range(count):
            mine = logits[images.labels == c][0]
            leads.append(mine[c] - np.delete(mine, c).mean())
        assert np.mean(leads) == pytest.approx(size, rel=1e-3)


def test_noise_is_drawn_once_and_differs_between_seeds_and_images():
    rows = head()
    first, again, other = (images_of(rows, 20, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.noise, again.noise)
    assert not np.allclose(first.noise, other.noise)
    np.testing.assert_array_equal(first.mean, other.mean)
    assert not np.allclose(first.noise[0], first.noise[1])
    assert first.labels[0] == first.labels[1]


@pytest.mark.parametrize(
    ("count", "classes", "each"), [(2, 2, 1000), (700, 700, 2), (1500, 1000, 2)]
)
def test_every_class_has_as_many_and_of_very_many_a_thousand_stand_for_all(count, classes, each):
    rows = head(count=count, width=6)
    images = images_of(rows, 6)
    labels, numbers = np.unique(images.labels, return_counts=True)
    assert (len(labels), set(numbers.tolist())) == (classes, {each})
    assert labels[-1] >= classes - 1
    response = images.on(rows)
    assert response.at(SIZE).shape == (classes * each, count)
    # Labels are head rows, not positions: the true class leads on average.
    mean = response.mean @ response.product
    assert (mean[np.arange(len(mean)), images.labels] - mean.mean(axis=1)).mean() > 0.49


@pytest.mark.parametrize("value", [0.0, 0.1, 7e10])
def test_rows_that_are_all_equal_tell_nothing_apart(value):
    rows = np.full((40, 25), value, dtype=np.float32)
    assert stand_ins(rows, 24) is None
    rows[:, 24] = np.arange(40)  # nor do biases
    assert stand_ins(rows, 24) is None
    odd = np.tile(np.random.default_rng(0).standard_normal(25).astype(np.float32), (37, 1))
    assert stand_ins(odd, 24) is None


def test_a_shift_of_all_rows_changes_no_logit():
    """Softmax does not notice it: margins, here even logits, stay."""
    rows = head()
    shift = np.random.default_rng(3).standard_normal(21).astype(np.float32)
    plain, shifted = (images_of(r, 20).on(r).at(SIZE) for r in (rows, rows + shift))
    np.testing.assert_allclose(shifted, plain, atol=2e-3)


@pytest.mark.parametrize("factor", [10.0, 1e-3, 1e6, 1e-20, 1e15])
def test_scaling_all_weights_changes_no_logit_of_a_given_size(factor):
    """Features may be as much smaller: the weights alone do not tell."""
    rows = head()
    scaled = rows * np.where(np.arange(21) < 20, np.float32(factor), np.float32(1))
    plain, other = (images_of(r, 20).on(r).at(SIZE) for r in (rows, scaled))
    np.testing.assert_allclose(other, plain, rtol=1e-3, atol=2e-3)
    bare, tenfold = (images_of(r, 20).on(r).at(SIZE) for r in (rows[:, :20], scaled[:, :20]))
    np.testing.assert_allclose(tenfold, bare, rtol=1e-3, atol=2e-3)


def test_larger_stand_ins_are_told_apart_better():
    rows = head(bias=False)
    images = images_of(rows, 20)
    right = [
        float((images.on(rows).at(size).argmax(axis=1) == images.labels).mean())
        for size in (0.1, 1, 10, 100)
    ]
    assert right == sorted(right)
    assert right[-1] > right[0] + 0.2

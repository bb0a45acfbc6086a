"""How sure each row is: explicit formulas, what must hold, and real classes of known accuracy."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.cub import load

from icis_cli import Certainty, Mean, Nearest, Ridge, hold_out
from icis_cli.methods.base import SeenPairs
from icis_cli.validation.certainty import assess
from tests.conftest import SHARED

D = 24


@pytest.fixture
def pairs(world):
    """Rows that descriptors tell only in part, so that some are surer than others."""
    rows = world.rows + 0.5 * np.random.default_rng(2).standard_normal(world.rows.shape)
    rows = rows.astype(np.float32)
    return SeenPairs(world.descriptors[:40], rows[:40], world.descriptors[40:])


def assessed(pairs, new=None, descriptors=None, method=None) -> Certainty:
    method = method or Ridge()
    if new is None:
        new = method.fit(pairs, seed=0).predictor.predict(pairs.unseen)
    descriptors = pairs.unseen[: len(new)] if descriptors is None else descriptors
    return assess(pairs.rows, pairs.descriptors, hold_out(method, pairs), new, descriptors, D)


def cosine(one, other):
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def test_standing_and_expected_cosine_are_those_of_loops(pairs):
    held = hold_out(Ridge(), pairs)
    new = Ridge().fit(pairs, seed=0).predictor.predict(pairs.unseen)
    seen = pairs.rows[:, :D].astype(np.float64)  # the bias does not count
    middle = seen.mean(axis=0)

    def signs(row, candidates):
        away = row[:D] - middle
        nearest = max(cosine(away, seen[c] - middle) for c in candidates)
        return np.array([nearest, np.log(np.sqrt(away @ away))])

    known = np.array(
        [signs(held.rows[n], np.flatnonzero(held.fold != held.fold[n])) for n in range(40)]
    )
    rest = [seen[held.fold != held.fold[n]].mean(axis=0) for n in range(40)]
    true = np.array([cosine(held.rows[n, :D] - m, seen[n] - m) for n, m in enumerate(rest)])
    centre, spread = known.mean(axis=0), known.std(axis=0)
    score = ((known - centre) / spread).sum(axis=1)
    slope = np.polyfit(score, true, 1)[0]
    assert slope > 0
    found = assessed(pairs, new)
    for n, row in enumerate(new):
        own = ((signs(row, range(40)) - centre) / spread).sum()
        assert found.standing[n] == pytest.approx((score < own).mean(), abs=1e-6)
        line = true.mean() + slope * (own - score.mean())
        expected = min(max(line, true.min()), true.max())
        assert found.cosine[n] == pytest.approx(expected, abs=1e-4)


def test_the_most_similar_seen_class_is_that_of_descriptors(pairs):
    found = assessed(pairs)
    for n, descriptor in enumerate(pairs.unseen):
        similar = [cosine(descriptor, other) for other in pairs.descriptors]
        assert found.nearest[n] == np.argmax(similar)
        assert found.similarity[n] == pytest.approx(max(similar), abs=1e-5)


def test_longer_rows_nearer_to_a_seen_one_are_surer(pairs):
    middle = pairs.rows.mean(axis=0)
    away = pairs.rows[3] - middle
    noise = np.random.default_rng(0).standard_normal(25).astype(np.float32)
    noise -= away * (noise @ away) / (away @ away)
    noise *= np.linalg.norm(away) / np.linalg.norm(noise)  # as long, and at right angles
    longer = np.stack([middle + f * away for f in (0.02, 0.1, 0.3, 0.6, 1, 2)])
    turns = (np.sin(angle) * away + np.cos(angle) * noise for angle in (0.5, 0.8, 1.1, np.pi / 2))
    nearer = np.stack([middle + 0.6 * turn for turn in turns])
    for rows in (longer, nearer):
        found = assessed(pairs, rows)
        for values in (found.standing, found.cosine):
            assert (np.diff(values) >= 0).all()
            assert values[-1] > values[0] + 0.1
            assert (values >= -1).all()
            assert (values <= 1).all()
    assert assessed(pairs, longer).standing[0] == 0


def test_the_order_and_number_of_new_classes_do_not_matter(pairs):
    whole = assessed(pairs)
    new = Ridge().fit(pairs, seed=0).predictor.predict(pairs.unseen)
    back = assessed(pairs, new[::-1], pairs.unseen[::-1])
    one = assessed(pairs, new[2:3], pairs.unseen[2:3])
    for field in ("standing", "cosine", "nearest", "similarity", "unlike"):
        values = getattr(whole, field)
        assert values.shape == (6,)
        # Products of other shapes are rounded otherwise.
        np.testing.assert_allclose(getattr(back, field)[::-1], values, atol=1e-6)
        np.testing.assert_allclose(getattr(one, field), values[2:3], atol=1e-6)


def test_shift_and_scale_of_all_weights_do_not_matter(pairs):
    """Nor does the bias."""
    plain = assessed(pairs)
    generator = np.random.default_rng(4)
    shift = generator.standard_normal(25).astype(np.float32)
    biased = pairs.rows.copy()
    biased[:, D] += generator.standard_normal(40).astype(np.float32)
    for rows in (pairs.rows + shift, pairs.rows * np.float32(30), biased):
        changed = assessed(SeenPairs(pairs.descriptors, rows, pairs.unseen))
        np.testing.assert_allclose(changed.standing, plain.standing, atol=0.03)
        np.testing.assert_allclose(changed.cosine, plain.cosine, atol=2e-3)


def test_rounding_does_not_rank_rows_that_are_all_copies_of_seen_ones(pairs):
    """Their likeness to a seen row is 1 up to rounding, which depends on the order of a sum."""
    plain = assessed(pairs, method=Nearest())
    for seed in range(4):
        order = np.append(np.random.default_rng(seed).permutation(D), D)  # the bias stays last
        turned = assessed(
            SeenPairs(pairs.descriptors, pairs.rows[:, order], pairs.unseen), method=Nearest()
        )
        np.testing.assert_array_equal(turned.standing, plain.standing)
        np.testing.assert_allclose(turned.cosine, plain.cosine, atol=1e-4)


def test_a_class_unlike_all_is_told_and_one_like_a_seen_class_is_not(world, pairs):
    generator = np.random.default_rng(3)
    basis = np.linalg.qr(generator.standard_normal((12, 12)))[0].astype(np.float32)
    narrow = world.descriptors[:40] @ basis[:8]  # all seen classes lie in 8 of 12 dimensions
    outside, inside = 3 * basis[10], narrow[7] + 0.01 * basis[9]
    both = np.stack([outside, inside])
    seen = SeenPairs(narrow, pairs.rows, both)
    found = assessed(seen)
    np.testing.assert_array_equal(found.unlike, [True, False])
    assert found.similarity[0] == pytest.approx(0, abs=1e-5)
    assert found.nearest[1] == 7
    # Of classes drawn like the seen ones hardly any are told to be unlike them.
    others = generator.standard_normal((500, 8)).astype(np.float32)
    rows = np.tile(pairs.rows[:1], (500, 1))
    assert assessed(pairs, rows, others).unlike.mean() < 0.1
    few = SeenPairs(narrow[:11], pairs.rows[:11], both)
    assert not assessed(few).unlike.any()  # 11 classes are too few to say


def test_equal_rows_and_equal_signs_give_finite_figures(pairs):
    """The mean row for all: no class is surer than another."""
    for rows, method in ((pairs.rows, Mean()), (np.tile(pairs.rows[:1], (40, 1)), Ridge())):
        found = assessed(SeenPairs(pairs.descriptors, rows, pairs.unseen), method=method)
        for values in (found.standing, found.cosine, found.similarity):
            assert np.isfinite(values).all()
        assert len(set(found.cosine.tolist())) == 1


def test_more_new_classes_than_fit_into_one_block(pairs):
    new = np.tile(Ridge().fit(pairs, seed=0).predictor.predict(pairs.unseen), (800, 1))
    found = assessed(pairs, new, np.tile(pairs.unseen, (800, 1)))
    plain = assessed(pairs)
    np.testing.assert_allclose(found.cosine, np.tile(plain.cosine, 800), atol=1e-5)
    np.testing.assert_array_equal(found.nearest, np.tile(plain.nearest, 800))


def spearman(one, other) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


def ranked(pairs, features, labels, width) -> tuple[float, float]:
    """How standing and expected cosine rank new classes by T1 on images never used otherwise."""
    new = Ridge().fit(pairs, seed=0).predictor.predict(pairs.unseen)
    answers = (features @ new[:, :width].T + new[:, width]).argmax(axis=1)
    accuracy = [(answers[labels == c] == c).mean() for c in range(len(new))]
    found = assess(
        pairs.rows, pairs.descriptors, hold_out(Ridge(), pairs), new, pairs.unseen, width
    )
    return spearman(found.standing, accuracy), spearman(found.cosine, accuracy)


def test_it_ranks_the_new_birds_by_their_true_accuracy(cub):
    data = load(cub)
    pairs = SeenPairs(data.classes.seen, data.head.rows, data.classes.unseen)
    place = {row: n for n, row in enumerate(data.classes.unseen_rows)}
    labels = np.array([place.get(int(label), -1) for label in data.features.labels])
    new = labels >= 0
    found = ranked(pairs, data.features.values[new], labels[new], data.head.weight.shape[1])
    assert min(found) > 0.2


@pytest.mark.skipif(not (SHARED / "imagenet-lite0").is_dir(), reason=f"no real data at {SHARED}")
def test_it_ranks_new_imagenet_classes_by_their_true_accuracy():
    from safetensors.numpy import load_file

    data = SHARED / "imagenet-lite0"
    head = load_file(data / "head_1000.safetensors")
    weight, bias = (next(v for v in head.values() if v.ndim == n) for n in (2, 1))
    rows = np.column_stack([weight, bias]).astype(np.float32)
    descriptors = np.load(data / "descriptors.npy").astype(np.float32)
    new = np.array([int(line) for line in (data / "unseen_indices.txt").read_text().split()])
    kept = np.setdiff1d(np.arange(1000), new)
    archive = np.load(data / "features.npz")
    place = {row: n for n, row in enumerate(new.tolist())}
    labels = np.array([place.get(int(label), -1) for label in archive["labels"]])
    features = archive["features"][labels >= 0].astype(np.float32)
    pairs = SeenPairs(descriptors[kept], rows[kept], descriptors[new])
    found = ranked(pairs, features, labels[labels >= 0], weight.shape[1])
    assert min(found) > 0.2

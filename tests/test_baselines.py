"""Every baseline against a slow, obvious version of its formula."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from icis_cli import DEFAULT, Costa, Ridge, Smo, SubReg, Wavg, Wdae
from icis_cli.methods.base import Method, SeenPairs
from icis_cli.methods.kernels import KERNELS, Kernel, median_distance
from icis_cli.methods.networks import Batch, EncoderDecoders
from icis_cli.methods.ridge import held_out_coefficients
from icis_cli.methods.smo import nearest_mixtures
from icis_cli.methods.spaces import RowSpace
from icis_cli.methods.subreg import SubspacePenalty, basis_of
from icis_cli.methods.wdae import train_graph


@pytest.fixture
def pairs():
    generator = np.random.default_rng(11)
    descriptors = generator.standard_normal((21, 6)).astype(np.float32)
    rows = generator.standard_normal((15, 9)).astype(np.float32) + 2
    return SeenPairs(descriptors[:15], rows, descriptors[15:])


def unit(values):
    values = values.astype(np.float64)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def fitted(method, pairs):
    return method.fit(pairs, seed=0).predictor


def predict(method, pairs):
    return fitted(method, pairs).predict(pairs.unseen)


def folds_of(count, parts=4):
    return np.array_split(np.random.default_rng(2).permutation(count), parts)


# --- kernels


def one_kernel(name, a, b, eta, median):
    """The kernel of two descriptors of unit length."""
    if name == "linear":
        return sum(x * y for x, y in zip(a, b, strict=True))
    if name == "rbf":
        return math.exp(-eta * sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / median)
    cosine = max(-1.0, min(1.0, sum(x * y for x, y in zip(a, b, strict=True))))
    angle = math.acos(cosine)
    return (math.sin(angle) + (math.pi - angle) * cosine) / math.pi


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_what_it_says_for_every_pair(name, pairs):
    kernel = Kernel(name, eta=0.7, median=1.3)
    values = kernel(pairs.unseen, pairs.descriptors)
    assert values.dtype == np.float64
    for i, a in enumerate(unit(pairs.unseen)):
        for j, b in enumerate(unit(pairs.descriptors)):
            assert values[i, j] == pytest.approx(one_kernel(name, a, b, 0.7, 1.3), abs=1e-12)
    itself = kernel(pairs.unseen, pairs.unseen)
    # arccos near 1 keeps half of the digits
    np.testing.assert_allclose(np.diag(itself), 1, atol=1e-7)
    np.testing.assert_allclose(kernel.diagonal(pairs.unseen), 1)
    assert np.linalg.eigvalsh(kernel(pairs.descriptors, pairs.descriptors)).min() > -1e-9


def test_arc_cosine_is_a_wide_layer_of_rectified_units(pairs):
    weights = np.random.default_rng(0).standard_normal((6, 400_000))
    hidden = np.maximum(unit(pairs.unseen) @ weights, 0)
    expected = 2 * hidden @ hidden.T / weights.shape[1]
    found = Kernel("arc-cosine")(pairs.unseen, pairs.unseen)
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize(("name", "alone"), [("linear", 0), ("arc-cosine", 0), ("rbf", 1)])
def test_a_zero_descriptor_is_like_nothing(name, alone, pairs):
    kernel, zero = Kernel(name), np.zeros((1, 6), dtype=np.float32)
    assert kernel(zero, zero)[0, 0] == kernel.diagonal(zero)[0] == alone
    expected = 0 if alone == 0 else math.exp(-0.5)
    np.testing.assert_allclose(kernel(zero, pairs.unseen), expected)


def test_the_median_is_that_of_pairs_that_differ(pairs):
    a = unit(pairs.descriptors)
    distances = [((a[i] - a[j]) ** 2).sum() for i in range(15) for j in range(i)]
    assert median_distance(pairs.descriptors) == pytest.approx(np.median(distances))
    one = np.ones((9, 3), dtype=np.float32)
    assert median_distance(one) == 1
    one[-1] = (1, -1, 0)  # most pairs are equal, yet the median is a distance
    assert median_distance(one) == pytest.approx(2)


def test_kernels_refuse_what_makes_none():
    for wrong in ({"name": "cubic"}, {"name": "rbf", "eta": 0}, {"name": "rbf", "median": 0}):
        with pytest.raises(ValueError, match="expected"):
            Kernel(**wrong)


# --- ridge

RIDGES = [
    Ridge(kernel, 0.6, penalty, intercept)
    for kernel in KERNELS
    for penalty in (0.01, 0.3)
    for intercept in ("none", "mean")
]


def slow_ridge(ridge, seen, rows, queries, median):
    """Rows by loops and one explicit, bordered, inverse."""
    a, q, count = unit(seen), unit(queries), len(seen)
    border = 1 if ridge.intercept == "mean" else 0
    system = np.zeros((count + border, count + border))
    for i in range(count):
        for j in range(count):
            system[i, j] = one_kernel(ridge.kernel, a[i], a[j], ridge.eta, median)
        system[i, i] += ridge.penalty
        system[i, count:] = system[count:, i] = 1
    solution = np.linalg.inv(system) @ np.concatenate(
        [rows.astype(np.float64), np.zeros((border, rows.shape[1]))]
    )
    predicted = []
    for query in q:
        k = np.array([one_kernel(ridge.kernel, query, b, ridge.eta, median) for b in a])
        predicted.append(np.concatenate([k, np.ones(border)]) @ solution)
    return np.array(predicted)


@pytest.mark.parametrize("ridge", RIDGES, ids=str)
def test_ridge_is_its_formula(ridge, pairs):
    predictor = fitted(ridge, pairs)
    median = median_distance(pairs.descriptors)
    rows = slow_ridge(ridge, pairs.descriptors, pairs.rows, pairs.unseen, median)
    np.testing.assert_allclose(predictor.predict(pairs.unseen), rows, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ridge", RIDGES, ids=str)
def test_held_out_rows_of_ridge_are_those_of_real_refits(ridge, pairs):
    median, folds = median_distance(pairs.descriptors), folds_of(15)
    held = ridge.held_out(pairs, folds, seed=0)
    coefficients = ridge.held_out_coefficients(pairs.descriptors, folds)
    rows = pairs.rows.astype(np.float64)
    np.testing.assert_allclose(coefficients @ rows, held, rtol=1e-6)
    for fold in folds:
        rest = np.setdiff1d(np.arange(15), fold)
        expected = slow_ridge(
            ridge, pairs.descriptors[rest], pairs.rows[rest], pairs.descriptors[fold], median
        )
        np.testing.assert_allclose((coefficients @ rows)[fold], expected, rtol=1e-6, atol=1e-6)
        assert not coefficients[np.ix_(fold, fold)].any()
    if ridge.intercept == "mean":
        np.testing.assert_allclose(coefficients @ np.ones(15), 1)


@pytest.mark.parametrize("columns", [6, 40], ids=["fewer columns than classes", "more"])
def test_many_ridges_share_work_and_give_the_same(columns, pairs):
    folds, mixing = folds_of(15), np.random.default_rng(4).standard_normal((6, columns))
    descriptors = (pairs.descriptors @ mixing).astype(np.float32)
    descriptors[1] = descriptors[0]
    descriptors[2] = 0
    ridges = [
        Ridge(k, 0.6, p, i) for k in KERNELS for p in (1e-6, 1e-3, 1.0) for i in ("none", "mean")
    ]
    for ridge, found in zip(ridges, held_out_coefficients(ridges, descriptors, folds), strict=True):
        alone = ridge.held_out_coefficients(descriptors, folds)
        np.testing.assert_allclose(found, alone, atol=1e-6 * np.abs(alone).max())


def test_the_candidates_of_one_kernel_are_together():
    for first in (Ridge(), Ridge("arc-cosine", penalty=0.1), Ridge(eta=3.0, penalty=0.2)):
        candidates = [one for one in first.candidates() if isinstance(one, Ridge)]
        assert candidates[0] == first
        assert len(set(candidates)) == len(candidates) >= 30
        runs = [key for key, _ in groupby((one.kernel, one.eta) for one in candidates)]
        assert len(set(runs)) == len(runs)


def test_held_out_inner_products_need_no_rows(pairs):
    c = Ridge().held_out_coefficients(pairs.descriptors, folds_of(15))
    rows = pairs.rows.astype(np.float64)
    np.testing.assert_allclose(c @ (rows @ rows.T), (c @ rows) @ rows.T)


@pytest.mark.parametrize("intercept", ["none", "mean"])
def test_ridge_without_penalty_gives_seen_rows_back_and_means_of_duplicates(intercept, pairs):
    ridge = Ridge(penalty=0, intercept=intercept)
    back = ridge.fit(pairs, seed=0).predictor.predict(pairs.descriptors)
    np.testing.assert_allclose(back, pairs.rows, atol=1e-3)
    twice = replace(pairs, descriptors=pairs.descriptors.copy())
    twice.descriptors[1] = twice.descriptors[0]
    predicted = ridge.fit(twice, seed=0).predictor.predict(twice.descriptors[:2])
    for row in predicted:
        np.testing.assert_allclose(row, pairs.rows[:2].mean(axis=0), atol=0.1)


def test_a_shift_of_all_rows_shifts_what_ridge_predicts(pairs):
    shifted = replace(pairs, rows=pairs.rows + np.float32(50))
    np.testing.assert_allclose(
        predict(Ridge(), shifted), predict(Ridge(), pairs) + 50, rtol=1e-4, atol=1e-3
    )


# --- weighted sums of seen rows


def test_costa_is_its_formula(pairs):
    seen = unit(pairs.descriptors)
    expected = []
    for a in unit(pairs.unseen):
        similar = [max(float(a @ b), 0) for b in seen]
        expected.append(sum(s / sum(similar) * w for s, w in zip(similar, pairs.rows, strict=True)))
    np.testing.assert_allclose(predict(Costa(), pairs), expected, rtol=1e-5, atol=1e-5)


def test_costa_without_any_similar_class_is_the_mean():
    seen = np.eye(3, dtype=np.float32)[:2]
    rows = np.array([[1, 2], [3, 6]], dtype=np.float32)
    unseen = np.array([[-1, -1, 0], [0, 0, 1], [0, 0, 0]], dtype=np.float32)
    np.testing.assert_allclose(predict(Costa(), SeenPairs(seen, rows, unseen)), [[2, 4]] * 3)


@pytest.mark.parametrize("k", [1, 3, 5, 15, 99])
def test_wavg_is_its_formula_and_heeds_k(k, pairs):
    method = Wavg(k=k, eta=2.0)
    seen, expected = unit(pairs.descriptors), []
    for a in unit(pairs.unseen):
        distances = [math.dist(a, b) for b in seen]
        near = sorted(range(15), key=distances.__getitem__)[:k]
        weights = [math.exp(-2.0 * distances[s]) for s in near]
        total = sum(weights)
        expected.append(sum(w / total * pairs.rows[s] for w, s in zip(weights, near, strict=True)))
    predictor = fitted(method, pairs)
    np.testing.assert_allclose(predictor.predict(pairs.unseen), expected, rtol=1e-5, atol=1e-5)
    coefficients = predictor.coefficients(pairs.unseen)
    assert ((coefficients > 0).sum(axis=1) == min(k, 15)).all()
    np.testing.assert_allclose(coefficients.sum(axis=1), 1)


def test_smo_finds_the_best_weights():
    generator = np.random.default_rng(3)
    seen, unseen = unit(generator.standard_normal((4, 6))), unit(generator.random((8, 6)))
    found = nearest_mixtures(seen @ seen.T, unseen @ seen.T, 500)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    for a, weights in zip(unseen, found, strict=True):

        def rebuilt_badly(r, a=a):
            return ((r @ seen - a) ** 2).sum()

        def by_softmax(theta):
            weights = np.exp(theta - theta.max())
            return rebuilt_badly(weights / weights.sum())

        best = minimize(
            rebuilt_badly,
            np.full(4, 0.25),
            method="SLSQP",
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda r: r.sum() - 1},
            options={"ftol": 1e-14},
        )
        np.testing.assert_allclose(weights, best.x, atol=3e-4)
        assert rebuilt_badly(weights) == pytest.approx(best.fun, abs=1e-7)
        softmax = minimize(by_softmax, np.zeros(4)).fun
        assert rebuilt_badly(weights) <= softmax + 1e-7
        assert softmax == pytest.approx(best.fun, abs=1e-3)


def test_smo_never_gets_worse_and_rebuilds_what_lies_between_seen_classes(pairs):
    seen = unit(pairs.descriptors)
    mixed = np.array([0.7, 0.3]) @ seen[:2]
    gram, targets = seen @ seen.T, np.concatenate([unit(pairs.unseen), mixed[None]]) @ seen.T

    def objective(r):
        return ((r @ gram) * r).sum(axis=1) / 2 - (r * targets).sum(axis=1)

    values = [objective(nearest_mixtures(gram, targets, n)) for n in range(1, 60)]
    assert (np.diff(values, axis=0) <= 1e-15).all()
    found = nearest_mixtures(gram, targets[-1:], 2000)[0]
    np.testing.assert_allclose(found @ seen, mixed, atol=2e-4)
    copy = replace(pairs, unseen=pairs.descriptors[4:5])
    np.testing.assert_allclose(predict(Smo(2000), copy), pairs.rows[4:5], atol=0.01)


# --- networks


def test_the_subspace_penalty_is_its_formula():
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((4, 7)).astype(np.float32)
    rows[3] = rows[0] + rows[1]  # rank 3
    basis = basis_of(rows)
    assert basis.shape == (7, 3)
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(rows @ basis @ basis.T, rows, atol=1e-5)

    recipe = replace(DEFAULT, hidden=5, init="normal")
    networks = EncoderDecoders(6, 7, recipe, torch.Generator().manual_seed(0))
    descriptors = torch.from_numpy(generator.standard_normal((9, 6)).astype(np.float32))
    penalty = SubspacePenalty(torch.from_numpy(basis), 0.3)
    value = penalty(networks, Batch(descriptors, torch.from_numpy(rows)))
    predicted = networks.decode_w(networks.hidden_of_descriptors(descriptors)).detach().numpy()
    q = basis.astype(np.float64)
    outside = [np.linalg.norm(w - q @ (q.T @ w)) for w in predicted]
    assert value.item() == pytest.approx(0.3 * np.mean(outside), rel=1e-5)


def outside_part(method, pairs):
    """The mean part of predicted rows that lies outside the span of the seen rows."""
    q = basis_of(pairs.rows).astype(np.float64)
    rows = predict(method, pairs).astype(np.float64)
    return np.linalg.norm(rows - rows @ q @ q.T, axis=1).mean()


def test_subreg_draws_rows_into_the_span_of_seen_ones(pairs):
    few = SeenPairs(pairs.descriptors[:5], pairs.rows[:5], pairs.unseen)
    recipe = replace(SubReg().recipe, hidden=32, init="normal", min_steps=200, lr=1e-3)
    free, bound = (outside_part(SubReg(recipe, weight), few) for weight in (0, 3.0))
    assert bound < free / 5


def test_subreg_sees_unseen_descriptors_only_where_they_are_used(pairs):
    few = SeenPairs(pairs.descriptors[:5], pairs.rows[:5], pairs.unseen)
    other = replace(few, unseen=-2 * few.unseen)
    used = replace(SubReg().recipe, hidden=16, min_steps=20)
    for recipe, same in ((used, False), (replace(used, unseen="ignored"), True)):
        first, second = (fitted(SubReg(recipe, 0.1), p).predict(pairs.unseen) for p in (few, other))
        assert np.array_equal(first, second) is same


def clustered(generator):
    """Rows around six centres, so that neighbours tell what a noisy row was."""
    centres = generator.standard_normal((6, 20))
    return (np.repeat(centres, 20, axis=0) + 0.1 * generator.standard_normal((120, 20))).astype(
        np.float32
    )


def test_wdae_brings_noisy_rows_nearer_to_the_clean_ones():
    generator = np.random.default_rng(0)
    rows = clustered(generator)
    order = generator.permutation(120)
    known, new = rows[order[:90]], rows[order[90:]]
    pairs = SeenPairs(known, known, new)
    method = Wdae(replace(DEFAULT, hidden=16, terms=("a-w",), min_steps=10), width=64)
    predictor = fitted(method, pairs)
    clean = predictor.network.rows.enter(new)
    noise = 0.5 * np.sqrt((clean**2).mean()) * generator.standard_normal(clean.shape)
    noisy = clean + noise.astype(np.float32)
    refined = predictor.refine(noisy)
    assert ((refined - clean) ** 2).mean() < 0.5 * ((noisy - clean) ** 2).mean()


def test_an_untrained_wdae_gives_back_what_it_gets(pairs):
    recipe = replace(Wdae().recipe, hidden=16, min_steps=20)
    predictor = fitted(Wdae(recipe, steps=0), pairs)
    expected = predictor.network.predict(pairs.unseen)
    np.testing.assert_array_equal(predictor.predict(pairs.unseen), expected)


def test_wdae_works_alike_in_numpy_and_in_torch(pairs):
    from icis_cli.methods.wdae import nodes_of, refine

    space = RowSpace.span_of(pairs.rows, np.random.default_rng(0))
    seen = space.enter(pairs.rows)
    layers, _ = train_graph(seen, Wdae(width=8, steps=30), 0, "cpu")
    rows = seen[:4] * np.float32(0.7)
    by_numpy = refine(layers, rows, nodes_of(layers, seen, np.exp), np.exp)
    tensors = {name: torch.from_numpy(values) for name, values in layers.items()}
    nodes = nodes_of(tensors, torch.from_numpy(seen), torch.exp)
    by_torch = refine(tensors, torch.from_numpy(rows), nodes, torch.exp)
    np.testing.assert_allclose(by_numpy, by_torch.numpy(), atol=1e-5)
    assert not np.allclose(by_numpy, rows)


def test_the_graph_of_seen_classes_is_its_formula(pairs):
    from icis_cli.methods.wdae import nodes_of, refine

    seen = pairs.rows - pairs.rows.mean(axis=0)
    layers, _ = train_graph(seen, Wdae(width=8, steps=30), 0, "cpu")
    x = {name: values.astype(np.float64) for name, values in layers.items()}

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    def message(state, states, number, gamma):
        weights = [math.exp(gamma * (cosine(state, other) - 1)) for other in states]
        sent = [
            np.maximum(x[f"N{number}.weight"] @ other + x[f"N{number}.bias"], 0) for other in states
        ]
        return sum(w * s for w, s in zip(weights, sent, strict=True)) / sum(weights)

    def hidden(row, rows):
        own = x["U.own"] @ row + x["U.others"] @ message(row, rows, 1, x["gamma1"][0])
        return np.maximum(own + x["U.bias"], 0)

    rows = list(seen.astype(np.float64))
    states = [hidden(row, rows) for row in rows]
    query = 0.5 * rows[0] - rows[3]
    state = hidden(query, [*rows, query])
    last = message(state, [*states, state], 2, x["gamma2"][0])
    delta = x["D.own"] @ state + x["D.others"] @ last + x["D.bias"]
    gate = 1 / (1 + np.exp(-(x["O.own"] @ state + x["O.others"] @ last + x["O.bias"])))
    nodes = nodes_of(layers, seen, np.exp)
    found = refine(layers, query.astype(np.float32)[None], nodes, np.exp)[0]
    np.testing.assert_allclose(found, query + gate * delta, atol=1e-4)


def test_what_is_no_setting_is_refused():
    for wrong in (
        lambda: Ridge(penalty=-1),
        lambda: Ridge(eta=0),
        lambda: Ridge(intercept="median"),  # type: ignore[arg-type]
        lambda: Wavg(k=0),
        lambda: Wavg(eta=-1),
        lambda: Smo(0),
        lambda: SubReg(weight=-1),
        lambda: SubReg(DEFAULT),
    ):
        with pytest.raises(ValueError, match=r"expected|as given"):
            wrong()


@pytest.mark.parametrize("method", [Ridge(), Wavg(), Smo(), Wdae(steps=5)], ids=lambda m: m.name)
def test_settings_or_tensors_that_fit_nothing_are_refused(method: Method, pairs):
    if isinstance(method, Wdae):
        method = replace(method, recipe=replace(method.recipe, hidden=8, min_steps=5))
    tensors = dict(method.fit(pairs, seed=0).predictor.tensors())
    settings = method.settings()
    if not isinstance(method, Wdae):
        for name in settings:
            with pytest.raises(ValueError, match=r"expected|no number"):
                method.predictor.restore(tensors, {**settings, name: None})
    key = "rows" if "rows" in tensors else "dual" if "dual" in tensors else "graph.N1.bias"
    with pytest.raises(ValueError, match="fit"):
        method.predictor.restore({**tensors, key: tensors[key][1:]}, settings)

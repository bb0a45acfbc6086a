"""ConSE against a slow, obvious version of its rule."""

from __future__ import annotations

import numpy as np
import pytest

from icis_cli.evaluation.conse import answer_conse, probabilities

K, U, WIDTH, D = 7, 4, 9, 5


def material(count=23):
    generator = np.random.default_rng(8)
    return (
        generator.standard_normal((count, WIDTH)).astype(np.float32),
        generator.integers(0, K + U, count),
        generator.standard_normal((K, WIDTH)).astype(np.float32),
        generator.standard_normal(K).astype(np.float32),
        generator.random((K + U, D)).astype(np.float32),
    )


def slow_cosines(x, weight, bias, descriptors, top):
    """Cosine of the sample's embedding with each class, term by term."""
    logits = [float(np.dot(w, x)) for w in weight.astype(np.float64)]
    if bias is not None:
        logits = [value + float(b) for value, b in zip(logits, bias, strict=True)]
    best = sorted(range(K), key=lambda s: -logits[s])[: top or K]
    total = sum(np.exp(value) for value in logits)
    shares = {s: np.exp(logits[s]) / total for s in best}
    embedding = np.zeros(D)
    for s in best:
        embedding += shares[s] / sum(shares.values()) * descriptors[s]
    return [
        float(embedding @ a / (np.linalg.norm(embedding) * np.linalg.norm(a)))
        for a in descriptors.astype(np.float64)
    ]


@pytest.mark.parametrize("top", [None, 1, 3, K, K + 5])
@pytest.mark.parametrize("biased", [True, False])
def test_conse_is_its_formula(top, biased):
    features, labels, weight, bias, descriptors = material()
    bias = bias if biased else None
    found = answer_conse(features, labels, weight, bias, descriptors, top, block=10)
    for n, x in enumerate(features):
        cosines = slow_cosines(x, weight, bias, descriptors, top)
        seen = max(range(K), key=lambda c: cosines[c])
        unseen = max(range(K, K + U), key=lambda c: cosines[c])
        own = range(K) if labels[n] < K else range(K, K + U)
        assert found.seen[n] == seen
        assert found.unseen[n] == unseen
        assert found.joint[n] == max(range(K + U), key=lambda c: cosines[c])
        assert found.margin[n] == pytest.approx(cosines[seen] - cosines[unseen], abs=1e-5)
        assert found.rank[n] == sum(value > cosines[labels[n]] for value in cosines)
        assert found.own_rank[n] == sum(cosines[c] > cosines[labels[n]] for c in own)


def test_one_class_alone_is_its_own_descriptor():
    features, labels, weight, bias, descriptors = material()
    found = answer_conse(features, labels, weight, bias, descriptors, top=1)
    assert (found.seen == (features @ weight.T + bias).argmax(axis=1)).all()
    assert (found.margin >= 0).all()


def test_probabilities_are_a_softmax_also_of_large_logits():
    logits = np.array([[1e4, 1e4, 0], [-1e4, 0, -1e4]], dtype=np.float32)
    assert probabilities(logits).tolist() == [[0.5, 0.5, 0], [0, 1, 0]]
    before = logits.copy()
    assert probabilities(logits, 1).sum(axis=1).tolist() == [1, 1]
    assert (logits == before).all()


def test_descriptors_of_zeros_make_no_numbers_that_are_none():
    features, labels, weight, bias, descriptors = material()
    found = answer_conse(features, labels, weight, bias, np.zeros_like(descriptors))
    assert (found.margin == 0).all()
    assert (found.joint == 0).all()

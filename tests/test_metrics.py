"""Metrics against scikit-learn and against slow, obvious versions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, balanced_accuracy_score, top_k_accuracy_score

from icis_cli import Evaluation
from icis_cli.evaluation.answers import answer_features, answers_of_logits
from icis_cli.evaluation.metrics import harmonic_mean, per_class_mean
from icis_cli.evaluation.result import evaluation_of

SEEN, UNSEEN = 5, 4


def random_case(seed: int, samples: int = 300) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(SEEN + UNSEEN), generator.integers(0, 9, samples)])
    logits = generator.standard_normal((len(labels), SEEN + UNSEEN)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += 1.0
    logits[:, :SEEN] += 0.5
    return logits, labels


def evaluate(logits: np.ndarray, labels: np.ndarray) -> Evaluation:
    names = tuple(f"class {n}" for n in range(logits.shape[1]))
    return evaluation_of(answers_of_logits(logits, labels, SEEN), names, SEEN)


@pytest.mark.parametrize("seed", range(5))
def test_accuracies_are_scikit_learns_balanced_accuracies(seed):
    logits, labels = random_case(seed)
    result = evaluate(logits, labels)
    new, joint = labels >= SEEN, logits.argmax(axis=1)
    within = logits[new][:, SEEN:].argmax(axis=1) + SEEN
    assert result.zsl_top1 == pytest.approx(balanced_accuracy_score(labels[new], within))
    # scikit-learn counts classes of the predictions, too: per side its recall is the same figure.
    for side, figure in ((~new, result.seen), (new, result.unseen)):
        recalls = [np.mean(joint[labels == c] == c) for c in np.unique(labels[side])]
        assert figure == pytest.approx(np.mean(recalls))
    assert result.harmonic == pytest.approx(
        2 * result.seen * result.unseen / (result.seen + result.unseen)
    )


@pytest.mark.parametrize("seed", range(3))
def test_top5_is_scikit_learns_with_every_class_weighing_the_same(seed):
    logits, labels = random_case(seed)
    result = evaluate(logits, labels)
    new = labels >= SEEN
    weight = 1 / np.bincount(labels)[labels]
    for side, figure in ((~new, result.seen_top5), (new, result.unseen_top5)):
        expected = top_k_accuracy_score(
            labels[side],
            logits[side],
            k=5,
            labels=np.arange(SEEN + UNSEEN),
            sample_weight=weight[side],
        )
        assert figure == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_is_what_a_sweep_over_offsets_finds(seed):
    logits, labels = random_case(seed)
    result = evaluate(logits, labels)
    new = labels >= SEEN
    margins = np.sort(np.unique(logits[:, :SEEN].max(axis=1) - logits[:, SEEN:].max(axis=1)))
    offsets = [margins[0] - 1, *((margins[1:] + margins[:-1]) / 2), margins[-1] + 1]
    points = []
    for gamma in offsets:
        shifted = logits.astype(np.float64)
        shifted[:, SEEN:] += gamma
        right = shifted.argmax(axis=1) == labels
        seen = np.mean([right[labels == c].mean() for c in range(SEEN)])
        unseen = np.mean([right[labels == c].mean() for c in range(SEEN, SEEN + UNSEEN)])
        points.append((seen, unseen))
    s, u = (np.array(column) for column in zip(*points, strict=True))
    np.testing.assert_allclose(result.curve.seen, s, atol=1e-12)
    np.testing.assert_allclose(result.curve.unseen, u, atol=1e-12)
    assert result.ausuc == pytest.approx(auc(s, u))
    assert result.best_harmonic == pytest.approx(np.max(2 * s * u / (s + u)))
    shifted = logits.copy()
    shifted[:, SEEN:] += result.best_gamma
    again = evaluate(shifted, labels)
    assert again.harmonic == pytest.approx(result.best_harmonic)
    assert new.any()


def test_ausuc_of_a_hand_computed_case():
    # Two samples: the seen one holds until gamma 1, the unseen one is right from gamma 2 on.
    logits = np.zeros((2, SEEN + UNSEEN), dtype=np.float32)
    logits[0, 0], logits[1, 0], logits[1, SEEN] = 1.0, 4.0, 2.0
    result = evaluate(logits, np.array([0, SEEN]))
    assert result.seen == 1
    assert result.unseen == 0
    assert result.zsl_top1 == 1
    assert result.ausuc == 0  # the unseen class is won only after the seen one is lost
    assert result.best_harmonic == 0
    logits[0, 0] = 3.0
    assert evaluate(logits, np.array([0, SEEN])).ausuc == 1
    assert 2 < evaluate(logits, np.array([0, SEEN])).best_gamma < 3


def test_ties_go_to_the_lower_row_as_argmax_does():
    logits = np.ones((2, SEEN + UNSEEN), dtype=np.float32)
    answers = answers_of_logits(logits, np.array([0, SEEN]), SEEN)
    assert answers.joint.tolist() == [0, 0]
    assert answers.rank.tolist() == [0, SEEN]
    assert answers.own_rank.tolist() == [0, 0]


def test_every_class_counts_the_same_and_absent_classes_do_not_count():
    labels = np.array([0] * 99 + [1])
    assert per_class_mean(labels == 1, labels, classes=3) == 0.5
    assert np.isnan(per_class_mean(np.zeros(0, bool), np.zeros(0, int), classes=3))


def test_one_sided_samples_give_unknown_joint_figures_not_zeros():
    logits, labels = random_case(0)
    result = evaluate(logits[labels >= SEEN], labels[labels >= SEEN])
    assert np.isnan(result.seen)
    assert np.isnan(result.harmonic)
    assert result.to_json()["gzsl"]["harmonic"] is None
    assert 0 < result.zsl_top1 <= 1


def test_confusions_and_classes_add_up():
    logits, labels = random_case(1)
    result = evaluate(logits, labels)
    wrong = (logits.argmax(axis=1) != labels).sum()
    assert sum(c.count for c in result.confusions) <= wrong
    assert sum(c.samples for c in result.classes) == len(labels)
    first = result.confusions[0]
    true, answer = (int(name.split()[1]) for name in (first.true, first.answer))
    assert first.count == ((labels == true) & (logits.argmax(axis=1) == answer)).sum()
    assert first.share == pytest.approx(first.count / (labels == true).sum())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_blocks_do_not_change_the_answers(seed, block):
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((60, 7)).astype(np.float16)
    weight = generator.standard_normal((9, 7)).astype(np.float32)
    labels = generator.integers(0, 9, 60)
    whole = answer_features(features, labels, weight, None, SEEN)
    parts = answer_features(features, labels, weight, None, SEEN, block=block)
    np.testing.assert_array_equal(whole.joint, parts.joint)
    np.testing.assert_array_equal(whole.rank, parts.rank)


@given(st.floats(0, 1), st.floats(0, 1))
def test_harmonic_mean_lies_between_zero_and_twice_the_smaller(seen, unseen):
    value = harmonic_mean(seen, unseen)
    assert 0 <= value <= 2 * min(seen, unseen) + 1e-12

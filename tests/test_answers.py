"""Answers of a head against a slow, plain reference; blocks, slices, workers and what is told."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest

from icis_cli.errors import FeatureError
from icis_cli.evaluation.answers import Answers, answer_features, answers_of_logits
from icis_cli.evaluation.blocks import block_size
from icis_cli.evaluation.conse import answer_conse
from icis_cli.evaluation.spread import Spread, spread_over_cores
from icis_cli.workers import Workers


def slow_answers(logits: np.ndarray, labels: np.ndarray, seen: int) -> Answers:
    """The same by sorting every row; a stable sort leaves ties in the order of rows."""
    rows = []
    for row, label in zip(logits, labels, strict=True):
        order = np.argsort(-row.astype(np.float64), kind="stable").tolist()
        olds, news = [c for c in order if c < seen], [c for c in order if c >= seen]
        own = olds if label < seen else news
        margin = row[olds[0]] - row[news[0]]
        rows.append(
            (label, olds[0], news[0], margin, order.index(label), own.index(label)),
        )
    return Answers(*(np.array(column) for column in zip(*rows, strict=True)))


def assert_same(found: Answers, expected: Answers) -> None:
    for field in fields(Answers):
        mine, theirs = getattr(found, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(mine, theirs, err_msg=field.name)
        assert mine.dtype == (np.float32 if field.name == "margin" else np.int64)


@dataclass(frozen=True)
class Case:
    """Small whole numbers, so that products are exact and ties are many."""

    features: np.ndarray
    labels: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, samples: int, width: int, classes: int, dtype: Any = np.float32) -> Case:
        generator = np.random.default_rng(samples + 7 * classes)
        return cls(
            generator.integers(-2, 3, (samples, width)).astype(dtype),
            generator.integers(0, classes, samples),
            generator.integers(-1, 2, (classes, width)).astype(np.float32),
            generator.integers(-1, 2, classes).astype(np.float32),
        )

    def expected(self, seen: int, *, biased: bool) -> Answers:
        logits = self.features.astype(np.float64) @ self.weight.T.astype(np.float64)
        if biased:
            logits += self.bias
        return slow_answers(logits.astype(np.float32), self.labels, seen)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize(
    ("samples", "classes", "seen"), [(1, 2, 1), (97, 11, 1), (97, 11, 10), (301, 23, 17)]
)
def test_answers_are_those_of_sorting_every_row(samples, classes, seen, dtype, biased):
    case = Case.of(samples, 3, classes, dtype)
    expected = case.expected(seen, biased=biased)
    bias = case.bias if biased else None
    for block in (None, 1, 5, samples):
        found = answer_features(case.features, case.labels, case.weight, bias, seen, block)
        assert_same(found, expected)


def test_slices_and_threads_change_nothing():
    case = Case.of(700, 4, 1500)  # several slices
    expected = case.expected(1200, biased=True)
    assert_same(answer_features(case.features, case.labels, case.weight, case.bias, 1200), expected)
    logits = case.features @ case.weight.T + case.bias
    assert_same(answers_of_logits(logits, case.labels, 1200), expected)
    with spread_over_cores() as spread:
        runs = spread.over(logits, lambda run: run)
        assert runs == Spread().over(logits, lambda run: run)
        assert len(runs) > 1
        assert [n for run in runs for n in range(700)[run]] == list(range(700))
        assert_same(answers_of_logits(logits, case.labels, 1200, spread), expected)


def test_a_row_longer_than_a_slice_and_misaligned_or_strided_features():
    case = Case.of(3, 2, 300_000)
    assert_same(
        answer_features(case.features, case.labels, case.weight, None, 299_000),
        case.expected(299_000, biased=False),
    )
    case = Case.of(50, 6, 9)
    expected = case.expected(5, biased=False)
    odd = np.frombuffer(b"xx" + case.features.tobytes(), np.uint8)[2:].view(np.float32)
    wide = np.repeat(case.features, 2, axis=1)
    for features in (odd.reshape(50, 6), wide[:, ::2], np.asfortranarray(case.features)):
        assert_same(answer_features(features, case.labels, case.weight, None, 5, 7), expected)


def test_a_block_is_bounded_by_classes_and_by_width():
    assert block_size(1000, 1280) == 4096
    assert block_size(16_000, 64) * 16_000 <= 2**24
    assert block_size(64, 100_000) * 100_000 <= 2**24
    assert block_size(10**7, 64) == 32  # a few at least


@dataclass(frozen=True)
class OneOfSeveral(Workers):
    """A worker whose colleagues have already given their parts."""

    others: tuple[Any, ...] = ()

    def gather(self, part: Any) -> list[Any]:
        parts = list(self.others)
        parts[self.rank] = part
        return parts


@dataclass(frozen=True)
class Collects(Workers):
    """A worker whose part is all that there is to see."""

    def gather(self, part: Any) -> list[Any]:
        raise _PartError(part)


class _PartError(Exception):
    def __init__(self, part: Any) -> None:
        super().__init__()
        self.part = part


@pytest.mark.parametrize("count", [2, 3, 9])
@pytest.mark.parametrize("conse", [False, True])
def test_workers_share_the_blocks_and_all_get_the_answers_of_one_alone(count, conse):
    generator = np.random.default_rng(4)
    features = generator.standard_normal((33, 5)).astype(np.float32)
    weight = generator.standard_normal((9, 5)).astype(np.float32)
    labels = generator.integers(0, 9, 33)

    def answered(workers: Workers) -> Answers:
        if conse:
            descriptors = np.abs(weight)
            return answer_conse(
                features, labels, weight[:6], None, descriptors, block=5, workers=workers
            )
        return answer_features(features, labels, weight, None, 6, block=5, workers=workers)

    parts, sizes = [], []
    for rank in range(count):
        with pytest.raises(_PartError) as told:
            answered(Collects(rank, count))
        parts.append(told.value.part)
        sizes.append(sum(len(part.labels) for part in told.value.part))
    assert sum(sizes) == 33  # 7 blocks: with 9 workers some have none
    assert max(sizes) < 33
    for rank in range(count):
        assert_same(answered(OneOfSeveral(rank, count, tuple(parts))), answered(Workers()))


def test_a_watch_is_told_of_every_block_of_this_process():
    case = Case.of(23, 3, 5)
    told: list[tuple[int, int]] = []

    def watch(done: int, total: int) -> None:
        told.append((done, total))

    answer_features(case.features, case.labels, case.weight, None, 3, 10, watch=watch)
    assert told == [(10, 23), (20, 23), (23, 23)]
    told.clear()
    with pytest.raises(_PartError):
        answer_features(
            case.features, case.labels, case.weight, None, 3, 10, "f", Collects(1, 2), watch
        )
    assert told == [(10, 13), (13, 13)]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weight", [0.0, -1.0, 1e-45])
def test_a_feature_that_is_not_finite_shows_whatever_it_is_multiplied_by(dtype, value, weight):
    case = Case.of(20, 3, 5, dtype)
    case.features[13, 1] = value
    case.weight[:, 1] = weight
    with pytest.raises(FeatureError, match=r"f\.npz: 'features' holds NaN .* sample 13 \(counted"):
        answer_features(case.features, case.labels, case.weight, case.bias, 3, 4, path="f.npz")


@pytest.mark.parametrize(
    ("feature", "weight", "bias"),
    [(2e38, 1.0, None), (1e38, 1e3, None), (-3e38, -1.0, None), (0.0, 1.0, -3e38)],
)
def test_a_logit_beyond_float32_is_told_from_a_feature_beyond_it(feature, weight, bias):
    features = np.ones((9, 2))
    features[4] = feature
    rows = np.full((3, 2), weight, np.float32)
    biases = None if bias is None else np.array([0, bias, 0], np.float32)
    first = 4 if bias is None else 0
    with pytest.raises(FeatureError, match=rf"the logits of sample {first} \(counted from 0\) are"):
        answer_features(features, np.zeros(9, int), rows, biases, 2, 2)
    features[4] = 1e39
    if bias is None:
        with pytest.raises(FeatureError, match=r"holds 1e\+39 .* fit float32; first in sample 4"):
            answer_features(features, np.zeros(9, int), rows, biases, 2, 2)

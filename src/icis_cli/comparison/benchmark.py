"""The paper's protocol on one xlsa17 data set: base head, methods, test samples of both splits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icis_cli.comparison.compare import CompareWatch, Contender, Terms, compare
from icis_cli.comparison.problem import Problem, Samples, problem_of_rows
from icis_cli.comparison.result import Comparison, merged
from icis_cli.methods.icis import Icis
from icis_cli.methods.ridge import Ridge
from icis_cli.protocol.base_head import BaseRecipe, train_base_head
from icis_cli.protocol.published import Published, published_for
from icis_cli.protocol.xlsa17 import Xlsa17

#: What is compared where nobody says otherwise.
CONTENDERS: tuple[Contender, ...] = ("auto", Icis(), Ridge())

_TERMS = Terms()


@dataclass(frozen=True)
class Benchmark:
    """What came of one data set.

    Attributes:
        name: of the data set.
        width: D, numbers per feature.
        comparison: all seeds; each has a base head of its own.
        base_seconds: mean time to train one.
        published: the paper's figures, where they are about data of this kind.

    """

    name: str
    width: int
    comparison: Comparison
    base_seconds: float
    published: Published | None

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return {
            "name": self.name,
            "width": self.width,
            "base_seconds": self.base_seconds,
            **self.comparison.to_json(),
            "published": None if self.published is None else dict(vars(self.published)),
        }


def benchmark(
    data: Xlsa17,
    contenders: Sequence[Contender] = CONTENDERS,
    seeds: Sequence[int] = (0,),
    terms: Terms = _TERMS,
    *,
    recipe: BaseRecipe | None = None,
    watch: CompareWatch | None = None,
) -> Benchmark:
    """Train a base head per seed, and compare methods on it.

    Args:
        data: from ``read_xlsa17``.
        contenders: what is compared.
        seeds: of base heads and methods, at least one.
        terms: see ``compare``.
        recipe: of the base head; None for the default.
        watch: told about each base head and each run.

    Raises:
        TrainingError: as in ``train_base_head`` and ``compare``.
        ValueError: as in ``compare``.

    """
    each = 1 + len(contenders)
    total, base_seconds, parts = each * len(seeds), [], []
    for number, seed in enumerate(seeds):
        before = number * each
        if watch is not None:
            watch(before, total, f"base head, seed {seed}")
        start = time.perf_counter()
        problem = base_problem(data, seed, recipe)
        base_seconds.append(time.perf_counter() - start)
        inner = None if watch is None else _shifted(watch, before + 1, total)
        parts.append(compare(problem, contenders, (seed,), terms, watch=inner))
    width, classes = data.features.shape[1], len(data.descriptors)
    return Benchmark(
        data.name,
        width,
        merged(parts),
        sum(base_seconds) / len(base_seconds),
        published_for(data.name, width=width, classes=classes),
    )


def base_problem(data: Xlsa17, seed: int, recipe: BaseRecipe | None = None) -> Problem:
    """Train the base head on ``trainval`` and return it with the test samples of both splits.

    Raises:
        TrainingError: as in ``train_base_head``.

    """
    rows = train_base_head(
        data.features[data.trainval],
        data.head_rows(data.trainval),
        len(data.seen_classes),
        seed=seed,
        recipe=recipe,
    )
    test = np.concatenate([data.test_seen, data.test_unseen])
    return problem_of_rows(
        rows,
        (data.descriptors[data.seen_classes], data.descriptors[data.unseen_classes]),
        [data.class_names[row] for row in data.head_classes],
        Samples(data.features[test], data.head_rows(test), data.features_path),
    )


def _shifted(watch: CompareWatch, before: int, total: int) -> CompareWatch:
    return lambda done, _, what: watch(before + done, total, what)

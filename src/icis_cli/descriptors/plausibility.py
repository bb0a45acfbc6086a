"""A check that descriptors and head rows belong together, against rows in the wrong order.

Where classes with similar descriptors have similar rows, the two similarity matrices correlate
(a Mantel test, Mantel, Cancer Research 1967). In a wrong order they do not.
"""

from __future__ import annotations

import numpy as np

from icis_cli.arrays import FloatArray, unit_rows

#: Fewer classes than this tell nothing; more are sampled down to keep the check cheap.
_FEWEST, _MOST = 12, 600
_PERMUTATIONS = 99
#: Below this many standard deviations above chance a warning is due.
_DOUBTFUL = 3.0


def agreement(descriptors: FloatArray, rows: FloatArray) -> float:
    """Return how far the match is above chance, in standard deviations of random orders.

    Args:
        descriptors: (K, d).
        rows: (K, P), in the same order of classes.

    Returns:
        The z-score of the correlation between the off-diagonal cosine similarities of both
        (each centred), under permutations of the classes; ``inf`` where nothing can be said.

    """
    count = len(rows)
    if count < _FEWEST:
        return float("inf")
    generator = np.random.default_rng(0)
    if count > _MOST:
        chosen = np.sort(generator.choice(count, _MOST, replace=False))
        descriptors, rows, count = descriptors[chosen], rows[chosen], _MOST
    first, second = _similarities(descriptors), _similarities(rows)
    if not first.any() or not second.any():
        return float("inf")
    actual = float((first * second).sum())
    chance: list[float] = []
    for _ in range(_PERMUTATIONS):
        order = generator.permutation(count)
        chance.append(float((first[np.ix_(order, order)] * second).sum()))
    return (actual - float(np.mean(chance))) / max(float(np.std(chance)), 1e-12)


def _similarities(values: FloatArray) -> FloatArray:
    """Centred cosine similarities with the diagonal and the mean taken out, (K, K)."""
    unit = unit_rows(values - values.mean(axis=0))
    similar: FloatArray = unit @ unit.T
    off = ~np.eye(len(similar), dtype=bool)
    similar[off] -= similar[off].mean()
    np.fill_diagonal(similar, 0)
    return similar


def agreement_warning(descriptors: FloatArray, rows: FloatArray) -> str | None:
    """Return a warning where the order of classes looks wrong, else None."""
    score = agreement(descriptors, rows)
    if score >= _DOUBTFUL:
        return None
    return (
        "the classes may be in the wrong order, or the descriptors may not tell them apart: "
        "similar descriptors do not go with similar rows of the head "
        f"({score:.1f} standard deviations above a random order, expected more than "
        f"{_DOUBTFUL:.0f})"
    )

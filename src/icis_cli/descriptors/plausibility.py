"""Checks against classes in the wrong order, and against one class under two names.

Where classes with similar descriptors have similar rows, the two similarity matrices correlate
(a Mantel test, Mantel, Cancer Research 1967). In a wrong order they do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from icis_cli.arrays import FloatArray, unit_rows
from icis_cli.descriptors.base import Descriptors
from icis_cli.descriptors.names import simplified
from icis_cli.descriptors.views import split
from icis_cli.errors import AlignmentError

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
        f"(fit of the order: {score:.1f}; good: above {_DOUBTFUL:.0f}, random: 0)"
    )


def view_doubts(
    descriptors: FloatArray, widths: Sequence[int], rows: FloatArray
) -> tuple[str | None, ...]:
    """Return for each view a doubt about the order of classes, or None.

    Args:
        descriptors: (K, sum of ``widths``) of the seen classes.
        widths: columns of each view.
        rows: (K, P) of the head.

    """
    return tuple(agreement_warning(block, rows) for block in split(descriptors, widths))


def require_no_contradiction(
    descriptors: Descriptors, rows: Sequence[int], head_names: Sequence[str] | None
) -> None:
    """Refuse an order that the checkpoint's own class names show to be wrong.

    A name that the descriptors lack, or that either side has more than once, shows nothing.

    Args:
        descriptors: C classes.
        rows: K rows of them, one per row of the head.
        head_names: K class names that the checkpoint gives its rows, or None.

    Raises:
        AlignmentError: naming the first row whose name belongs to another descriptor.

    """
    names = descriptors.names
    if head_names is None or names is None or len(head_names) != len(rows):
        return
    heads = [simplified(name) for name in head_names]
    described = [simplified(name) for name in names]
    once = {name for name, count in Counter(heads).items() if count == 1}
    once &= {name for name, count in Counter(described).items() if count == 1}
    wrong = [k for k, row in enumerate(rows) if heads[k] in once and described[row] != heads[k]]
    if wrong:
        k = wrong[0]
        raise AlignmentError(
            f"--seen contradicts the checkpoint's own class names in {len(wrong)} of {len(rows)} "
            f"rows, first in row {k}: {head_names[k]!r} there, {names[rows[k]]!r} by --seen",
            "leave out --seen: the checkpoint's names tell the order",
        )


def lookalikes(names: Sequence[str], seen_names: Sequence[str]) -> list[str]:
    """Warn about new classes whose names differ from others only in case, separators or numbers.

    Args:
        names: of the new classes.
        seen_names: of the classes that are there already.

    """
    first: dict[str, str] = {}
    for name in seen_names:
        first.setdefault(simplified(name), name)
    pairs: list[tuple[str, str]] = []
    for name in names:
        other = first.setdefault(simplified(name), name)
        if other != name:
            pairs.append((name, other))
    if not pairs:
        return []
    shown = ", ".join(f"{name!r} and {other!r}" for name, other in pairs[:3])
    more = ", ..." if pairs[3:] else ""
    few = "1 new class is" if len(pairs) == 1 else f"{len(pairs)} new classes are"
    return [f"{few} spelt almost like another class: {shown}{more}; are they the same?"]

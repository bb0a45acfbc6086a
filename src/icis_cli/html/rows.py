"""Rows as they are shown: how long they are, which are most alike, and where they lie on a map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import FloatArray, IntArray, unit_rows
from icis_cli.evaluation.known import KnownHead
from icis_cli.html.data import Point
from icis_cli.validation.heldout import sample

#: Rows of each kind on the map, at most, and seen rows that are shown with each new one.
_MOST_POINTS, _NEAREST = 1000, 5
#: New rows that are compared with all seen ones at a time.
_BLOCK = 64


def lengths_of(rows: FloatArray) -> NDArray[np.float64]:
    """Return the Euclidean length (M,) of each row (M, D)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.linalg.norm(rows.astype(np.float64), axis=1))


def nearest_rows(weight: FloatArray, seen: int, new: IntArray) -> tuple[IntArray, FloatArray]:
    """Return the seen rows most like each new one (M, 5), nearest first, and their cosines."""
    middle = weight[:seen].mean(axis=0)
    directions = unit_rows(weight[:seen] - middle)
    count = min(_NEAREST, seen)
    order = np.empty((len(new), count), dtype=np.int64)
    cosine = np.empty((len(new), count), dtype=np.float32)
    for start in range(0, len(new), _BLOCK):
        part = slice(start, start + _BLOCK)
        alike = unit_rows(weight[new[part]] - middle) @ directions.T
        order[part] = np.argsort(-alike, axis=1, kind="stable")[:, :count]
        cosine[part] = np.take_along_axis(alike, order[part], axis=1)
    return order, cosine


def map_of(known: KnownHead, new: IntArray) -> tuple[Point, ...]:
    """Lay rows out on the plane in which they differ most (the first two principal components)."""
    shown = np.concatenate([sample(known.seen_classes, _MOST_POINTS), new[:_MOST_POINTS]])
    rows = known.head.weight[shown].astype(np.float64)
    rows -= rows.mean(axis=0)
    size, vectors = np.linalg.eigh(rows @ rows.T)  # at most 2000 x 2000, ascending
    places = vectors[:, -2:] * np.sqrt(np.maximum(size[-2:], 0))
    # The direction of an axis means nothing: the farther end is made the positive one.
    places *= np.where(places.max(axis=0) < -places.min(axis=0), -1, 1)
    return tuple(
        Point(known.names[row], "seen" if row < known.seen_classes else "new", float(x), float(y))
        for row, (y, x) in zip(shown.tolist(), places, strict=True)
    )

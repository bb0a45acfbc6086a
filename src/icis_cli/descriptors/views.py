"""Views: several descriptor files of the same classes, side by side, and how they are weighed.

Attributes and text embeddings say different things about a class, in numbers of different size and
count. So each view is brought to unit length before its weight counts: the dot product of two
classes is then the weighted mean of the views' cosines.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Self

import numpy as np

from icis_cli.arrays import FloatArray, unit_rows
from icis_cli.descriptors.base import Descriptors, View
from icis_cli.descriptors.names import match_names
from icis_cli.errors import AlignmentError, UsageError


def require_different_files(paths: Sequence[Path]) -> None:
    """Refuse a descriptor file that is given twice, be it under two names.

    Raises:
        UsageError: naming it.

    """
    true = [os.path.realpath(path) for path in paths]
    twice = next((p for p, real in zip(paths, true, strict=True) if true.count(real) > 1), None)
    if twice is not None:
        raise UsageError(
            f"the descriptor file {twice} is given twice", "name each file once, for one purpose"
        )


def join_views(tables: Sequence[Descriptors]) -> Descriptors:
    """Put the columns of several files about the same classes side by side.

    Args:
        tables: one per view. Where two have names, classes are matched by name, in the order of
            the first; where one has none, by position, and it must have as many rows.

    Returns:
        The rows of the first file, (C, sum of the widths); its notes say what was matched how.

    Raises:
        AlignmentError: a view lacks a class of the first, or numbers of rows differ where only
            the position tells.
        ValueError: there is no table.

    """
    if not tables:
        raise ValueError("no table, expected at least 1")
    joined = tables[0]
    for table in tables[1:]:
        joined = _beside(joined, table)
    return joined


def _beside(first: Descriptors, second: Descriptors) -> Descriptors:
    """Append the columns of ``second`` to ``first``, whose rows and order stay."""
    notes: list[str] = []
    if first.names is not None and second.names is not None:
        match = match_names(first.names, second.names, str(second.path))
        values = second.values[list(match.rows)]
        notes += [f"{second.path}: {text}" for text in match.notes()]
        found = set(match.rows)
        spare = [name for row, name in enumerate(second.names) if row not in found]
        if spare:
            shown = ", ".join(repr(name) for name in spare[:3]) + (", ..." if spare[3:] else "")
            notes.append(
                f"{second.path}: {len(spare)} classes that {first.path} lacks are left out: {shown}"
            )
    else:
        if len(first.values) != len(second.values):
            raise AlignmentError(
                f"{second.path} describes {len(second.values)} classes, but {first.path} describes "
                f"{len(first.values)}, and they are matched by position for want of class names",
                "give both the same rows, or their names (--classes, or in the files)",
            )
        values = second.values
        notes.append(
            f"the rows of {first.path} and {second.path} are matched by position, for want of "
            "class names"
        )
    columns = None
    if first.columns is not None and second.columns is not None:
        columns = first.columns + second.columns
    return Descriptors(
        np.concatenate([first.values, values], axis=1),
        second.names if first.names is None else first.names,
        first.path,
        columns,
        first.warnings + second.warnings,
        (*first.notes, *second.notes, *notes),
        first.views + second.views,
    )


def require_same_views(first: Descriptors, second: Descriptors) -> None:
    """Check that two tables can stand one below the other, view by view.

    Columns that have names go through ``in_columns`` first.

    Raises:
        AlignmentError: another number of views or columns.

    """
    if len(first.views) != len(second.views):
        raise AlignmentError(
            f"the classes of {second.path} have {len(second.views)} view(s), those of {first.path} "
            f"{len(first.views)}",
            "give as many --unseen-attrs as --attrs, in the same order",
        )
    for ours, theirs in zip(first.views, second.views, strict=True):
        if ours.width != theirs.width:
            raise AlignmentError(
                f"{theirs.path} has {theirs.width} columns, but {ours.path} has {ours.width}",
                "seen and new classes must be described by the same attributes"
                + (", in the same order of files" if len(first.views) > 1 else ""),
            )


def split(values: FloatArray, widths: Sequence[int]) -> list[FloatArray]:
    """Cut joined columns (M, sum of ``widths``) into the blocks (M, width) of the views."""
    return np.split(values, np.cumsum(widths)[:-1], axis=1)


@dataclass(frozen=True)
class ViewSpace:
    """How joined views become the descriptors that a method learns from.

    One view is left as it is. Of several, each is divided by its length per class and multiplied
    by the root of its weight.

    Attributes:
        widths: number of columns of each view.
        weights: of each view, none negative, 1 in sum.

    Raises:
        ValueError: no view, a width below 1, or weights that are not as said.

    """

    widths: tuple[int, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"view widths {self.widths}, expected one or more, each at least 1")
        if len(self.weights) != len(self.widths):
            raise ValueError(f"{len(self.weights)} weights for {len(self.widths)} views")
        if not all(weight >= 0 for weight in self.weights) or not math.isclose(
            sum(self.weights), 1, abs_tol=1e-6
        ):
            raise ValueError(f"view weights {self.weights}, expected none negative and 1 in sum")

    @classmethod
    def equal(cls, widths: Sequence[int]) -> Self:
        """Make a space in which every view counts the same."""
        return cls(tuple(widths), (1 / len(widths),) * len(widths))

    @classmethod
    def of(cls, views: Sequence[View], weights: Sequence[float]) -> Self:
        """Make a space for these views, e.g. with one of :func:`candidate_weights`."""
        return cls(tuple(view.width for view in views), tuple(weights))

    def enter(self, descriptors: FloatArray) -> FloatArray:
        """Map joined descriptors (M, sum of the widths) to what a method gets, of the same shape.

        A block of zeros stays zero.

        Raises:
            ValueError: another number of columns.

        """
        if descriptors.shape[1] != sum(self.widths):
            raise ValueError(f"{descriptors.shape[1]} columns, expected {sum(self.widths)}")
        if len(self.widths) == 1:
            return descriptors
        blocks = zip(split(descriptors, self.widths), self.weights, strict=True)
        return np.concatenate(
            [unit_rows(block) * np.float32(math.sqrt(weight)) for block, weight in blocks], axis=1
        )

    def settings(self) -> dict[str, Any]:
        """Return JSON-ready values, for the injector file."""
        return {"widths": list(self.widths), "weights": list(self.weights)}

    @classmethod
    def restore(cls, settings: Mapping[str, Any]) -> Self:
        """Make a space of what :meth:`settings` gave.

        Raises:
            KeyError, TypeError, ValueError: something is missing or wrong.

        """
        return cls(
            tuple(int(width) for width in settings["widths"]),
            tuple(float(weight) for weight in settings["weights"]),
        )


def candidate_weights(count: int) -> tuple[tuple[float, ...], ...]:
    """Return weights of ``count`` views to choose from; equal weights come first.

    Two views: steps of a quarter, both ends included. More: all equal, each view alone, and each
    pair in halves.

    Raises:
        ValueError: there is no view.

    """
    if count < 1:
        raise ValueError(f"{count} views, expected at least 1")
    if count == 1:
        return ((1.0,),)
    if count == 2:
        return tuple((first, 1 - first) for first in (0.5, 1.0, 0.75, 0.25, 0.0))
    chosen = [*combinations(range(count), 1), *combinations(range(count), 2)]
    shares = [tuple((n in views) / len(views) for n in range(count)) for views in chosen]
    return ((1 / count,) * count, *shares)

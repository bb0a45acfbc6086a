"""Classes that a table shares with the one that ``icis fit`` had, where not both have names."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from icis_cli.descriptors.base import Descriptors
from icis_cli.injection.injector import Injector
from icis_cli.lazy import row_keys, rows_at

#: Of longer tables only the places where fit found the classes are looked at.
_MOST = 100_000


def recognised(table: Descriptors, injector: Injector, known: Sequence[str]) -> Descriptors:
    """Call classes as ``icis fit`` did, where their descriptors tell that they are the same.

    A class that fit numbered for want of names is sought by its numbers, and so are all classes in
    a table without names: else what the classifier knows would be taken for new. Only a table that
    holds the descriptors of all seen classes is taken for one with the same classes; a new class
    may be described like a known one.

    Args:
        table: with the columns that fit had.
        injector: what fit made.
        known: names of the classes that the checkpoint has; others may get better names now.

    Returns:
        The table with these names; its notes tell of names that were replaced.

    """
    nameless = table.names is None
    named = (*injector.seen_names, *injector.unseen_names)
    rows = (*injector.seen_rows, *injector.unseen_rows)
    numbered = [name == f"class_{row}" for name, row in zip(named, rows, strict=True)]
    if not nameless and not any(numbered):
        return table
    seen = _places(table, injector.seen_descriptors, injector.seen_rows)
    if None in seen:
        return table
    unseen = _places(table, injector.unseen_descriptors, injector.unseen_rows)
    names = _free_names(len(table.values), named) if table.names is None else list(table.names)
    replaced: list[str] = []
    there = {*injector.seen_names, *known}
    for place, name, number in zip((*seen, *unseen), named, numbered, strict=True):
        if place is not None and (nameless or (number and name in there)):
            if not nameless and names[place] != name:
                replaced.append(f"{names[place]!r} = {name!r}")
            names[place] = name
    if len(set(names)) < len(names):
        return table
    note = (
        f"{len(replaced)} classes of {table.path} are those that icis fit numbered for want of "
        f"names: {', '.join(replaced)}"
    )
    notes = (*table.notes, note) if replaced else table.notes
    return replace(table, names=tuple(names), notes=notes)


def _free_names(count: int, taken: Sequence[str]) -> list[str]:
    """Number classes by their rows; where that is a class already, from there on."""
    used = set(taken)
    free = (name for n in itertools.count(count) if (name := f"class_{n}") not in used)
    own = (f"class_{row}" for row in range(count))
    return [next(free) if name in used else name for name in own]


def _places(
    table: Descriptors, descriptors: np.ndarray, rows: Sequence[int]
) -> tuple[int | None, ...]:
    """Return where in a table each of these descriptors (N, d) is, None where it is not."""
    count = len(table.values)
    inside = [row for row in rows if row < count]
    if len(inside) == len(rows) and np.array_equal(rows_at(table.values, rows), descriptors):
        return tuple(rows)
    if count > _MOST:
        return (None,) * len(rows)
    found: dict[bytes, int | None] = {}
    for row, key in enumerate(row_keys(table.values)):
        found[key] = None if key in found else row  # of two that are equal, neither is meant
    return tuple(map(found.get, row_keys(descriptors)))

"""Slips of those who write tables and lists by hand: what is odd, in words."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from icis_cli.descriptors.base import Descriptors
from icis_cli.descriptors.names import simplified

#: Fewer classes do not show what the numbers of a column are like; of more numbers than that, none
#: is looked at again: nobody typed them.
_FEWEST, _MOST = 12, 10_000_000

_ORDER = "one entry per head row, in head-row order"
_CELLS = re.compile(r"\s*[,;\t]\s*")


def slips(first: Descriptors, second: Descriptors | None = None) -> list[str]:
    """Warn about single numbers beyond 0 to 1 in columns that else hold 0 and 1, or between.

    Such a number may be a slip of the pen (11 for 1), such a line one of sums, which is no class.
    Only columns with names are looked at: somebody may have typed those.

    Args:
        first: C classes.
        second: further classes with the same columns.

    """
    files = [first] if second is None else [first, second]
    count = sum(len(one.values) for one in files)
    if any(view.columns is None for view in first.views) or count < _FEWEST:
        return []
    if count * first.values.shape[1] > _MOST:
        return []
    values = np.concatenate([one.values for one in files])
    beyond = (values < 0) | (values > 1)
    plain = ((values == 0) | (values == 1)).mean(axis=0) >= 0.5
    found: dict[int, list[int]] = defaultdict(list)
    for column in np.flatnonzero((beyond.sum(axis=0) == 1) & plain).tolist():
        found[int(beyond[:, column].argmax())].append(column)
    warnings = []
    for row, columns in list(found.items())[:3]:
        own = row < len(first.values)
        table, at = (first, row) if own else (files[1], row - len(first.values))
        warnings.append(_slip(first, table, at, columns))
    return warnings


def _slip(titled: Descriptors, table: Descriptors, row: int, columns: Sequence[int]) -> str:
    """Tell of what one class has in these columns, whose names the first file has."""
    titles = [title for view in titled.views for title in view.columns or ()]
    odd = f"{table.values[row, columns[0]]:g} in column {titles[columns[0]]!r}"
    usual = "where all others have 0 to 1"
    if len(columns) == 1:
        return f"{table.path}: {table.label(row)} has {odd}, {usual}: is that a slip?"
    return (
        f"{table.path}: {table.label(row)} has {odd}, and the like in {len(columns) - 1} more, "
        f"{usual}: is it a class?"
    )


def looks_like_table(entries: Sequence[str], table: Descriptors) -> bool:
    """Tell whether the lines of a list are those of a table, names in the first column."""
    names = {simplified(name) for name in table.names or ()}
    cells = [_CELLS.split(entry) for entry in entries if simplified(entry) not in names]
    lines = sum(len(one) > 1 and simplified(one[0]) in names for one in cells)
    return lines > 0 and 2 * lines >= len(entries)


def way_out_of_count(entries: Sequence[str], count: int, table: Descriptors) -> str:
    """Say what to do about a list of the head's classes with more or fewer entries than the head.

    Args:
        entries: of the list.
        count: how many there should be.
        table: the descriptors of the classes.

    """
    names = {simplified(name) for name in table.names or ()}
    unknown = [entry for entry in entries if simplified(entry) not in names]
    if not names or not 0 < len(unknown) <= len(entries) - count:  # they are not what is too much
        return _ORDER
    shown = ", ".join(repr(entry) for entry in unknown[:3])
    more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
    title = " (a title?)" if unknown[0] == entries[0] else ""
    return f"take out what {table.path} does not describe: {shown}{title}{more}; {_ORDER}"

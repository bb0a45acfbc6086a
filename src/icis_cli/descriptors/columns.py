"""Columns by name: the same attribute in the same place, whatever order a file has them in.

A method knows columns by position alone. Attributes in another order than it was fitted on would
give wrong rows without a word, so names are compared wherever both sides have them.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.descriptors.base import Descriptors, View
from icis_cli.errors import AlignmentError

#: Names of the columns of one view, None where they have none.
Columns = tuple[str, ...] | None


def in_columns(table: Descriptors, wanted: Sequence[Columns], where: Sequence[str]) -> Descriptors:
    """Put the columns of a table in the order of those that its views are compared with.

    Columns without names stay where they are. So do views that are more or fewer than ``wanted``:
    whoever compares numbers refuses them.

    Args:
        table: C classes.
        wanted: names of the columns, per view.
        where: what has these columns, per view, for messages; e.g. ``"attrs.csv"``.

    Returns:
        A table (C, d) with ``wanted`` columns; its notes tell what was moved or filled in.

    Raises:
        AlignmentError: a column is missing, unknown, or there twice in another order.

    """
    views = table.views
    if len(views) != len(wanted):
        return table
    notes: list[str] = []
    blocks: list[FloatArray] = []
    found: list[View] = []
    values = np.split(table.values, np.cumsum([view.width for view in views])[:-1], axis=1)
    for view, block, columns, place in zip(views, values, wanted, where, strict=True):
        moved = _moved(view, block, columns, place, notes)
        blocks.append(moved)
        kept = view.columns if moved is block else columns
        found.append(View(view.path, moved.shape[1], kept, view.encoding, view.unlisted))
    if all(new is old for new, old in zip(blocks, values, strict=True)):
        return table if not notes else _with(table, table.values, table.views, notes)
    return _with(table, np.concatenate(blocks, axis=1), tuple(found), notes)


def _with(
    table: Descriptors, values: FloatArray, views: tuple[View, ...], notes: list[str]
) -> Descriptors:
    columns = views[0].columns if len(views) == 1 else None
    joined = table.joined and views
    return replace(
        table, values=values, columns=columns, notes=(*table.notes, *notes), joined=joined
    )


def _moved(
    view: View, block: FloatArray, wanted: Columns, where: str, notes: list[str]
) -> FloatArray:
    """Return the columns (C, width) of one view in the order that is wanted."""
    if view.columns == wanted:
        return block
    if wanted is None or view.columns is None:
        without, other = (where, view.path) if wanted is None else (view.path, where)
        if view.encoding is None and (wanted is None or view.width == len(wanted)):
            notes.append(
                f"{without} does not name its columns: they are taken to be in the order of {other}"
            )
        return block
    places = {name: place for place, name in enumerate(view.columns)}
    _require_same(view, places, wanted, where)
    missing = [name for name in wanted if name not in places]
    if not missing:
        notes.append(f"the columns of {view.path} are put in the order of {where}")
    else:
        notes.append(
            f"{view.path} does not list {len(missing)} of {len(wanted)} attributes, which are "
            f"taken as {view.unlisted:g}: {_shown(missing)}"
        )
    moved = np.full((len(block), len(wanted)), view.unlisted or 0, dtype=np.float32)
    for place, name in enumerate(wanted):
        if name in places:
            moved[:, place] = block[:, places[name]]
    return moved


def _require_same(view: View, places: dict[str, int], wanted: tuple[str, ...], where: str) -> None:
    """Refuse columns that cannot be told to be the same."""
    known = set(wanted)
    missing = [name for name in wanted if name not in places]
    more = [name for name in places if name not in known]
    if not missing and not more:
        if len(places) == view.width and len(known) == len(wanted):
            return
        names = view.columns or ()
        twice = next(
            (name for names in (names, wanted) for name in names if names.count(name) > 1), ""
        )
        raise AlignmentError(
            f"{view.path} has its columns in another order than {where}, and {twice!r} "
            "occurs more than once",
            "give every column a name of its own, or the same order",
        )
    if missing and not more and view.unlisted is not None:
        return
    if more:
        near = difflib.get_close_matches(more[0], missing or wanted, n=1, cutoff=0.6)
        told = f" (did you mean {near[0]!r}?)" if near else ""
        lacks = f", and lacks {len(missing)}: {_shown(missing)}" if missing else ""
        raise AlignmentError(
            f"{view.path} has {len(more)} column(s) that {where} has not: {_shown(more)}{told}"
            f"{lacks}",
            "describe seen and new classes by the same attributes, under the same names",
        )
    raise AlignmentError(
        f"{view.path} lacks {len(missing)} column(s) that {where} has: {_shown(missing)}",
        "describe seen and new classes by the same attributes, under the same names",
    )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (", ..." if names[3:] else "")

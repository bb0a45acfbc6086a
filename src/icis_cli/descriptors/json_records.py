"""Tables in JSON whose entries have keys, as pandas writes them: by rows, or by columns.

``orient="records"`` gives ``[{"name": ..., "attribute": number}, ...]``, ``orient="index"`` gives
``{"class": {"attribute": number}}``; without an orient it is ``{"attribute": {"class": number}}``,
which looks like the one before, turned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icis_cli.descriptors.name_columns import choose_names, is_index, rank
from icis_cli.descriptors.table_cells import counts
from icis_cli.errors import DescriptorError

#: What the keys of ``{"class": {...}}`` are called in messages; it is a text, and no other is.
_OUTER = "the outer key"


@dataclass(frozen=True)
class Records:
    """Rows whose entries have keys.

    Attributes:
        names: C class names, or None.
        rows: C rows of attributes.
        notes: what was decided.

    """

    names: list[str] | None
    rows: list[dict[str, Any]]
    notes: tuple[str, ...] = ()


def records_of(path: Path, content: Any) -> Records | None:
    """Return the rows of a table whose entries have keys; None where it is of another shape.

    Raises:
        DescriptorError: several keys may name the classes, or rows and columns cannot be told
            apart.

    """
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        if all("name" in row and "descriptor" in row for row in content):
            return None
        return _from_records(path, content)
    if not isinstance(content, dict) or not content:
        return None
    inner = list(content.values())
    called = next((key for key in content if rank(key) > 1 or (key and is_index(key))), None)
    if not all(isinstance(row, dict) and row for row in inner):
        if called is not None and _are_columns(inner):
            raise _turned(path, called)
        return None
    if called is not None and all(_is_plain(cell) for row in inner for cell in row.values()):
        if counts(list(inner[0])) and all(list(row) == list(inner[0]) for row in inner):
            turned = [{key: row[number] for key, row in content.items()} for number in inner[0]]
            note = f"{path}: its outer keys are taken for columns, as {called!r} is one of them"
            return _from_records(path, turned, note)
        raise _turned(path, called)
    if counts(list(content)) and any(rank(key) > 1 for key in inner[0]):
        return _from_records(path, inner)  # numbers of lines, beside a column of names
    found = _from_records(path, inner, *_which_way(path, content), names=list(content))
    return Records(list(content), found.rows, found.notes)


def _are_columns(rows: Sequence[object]) -> bool:
    """Tell whether lists are columns of texts and numbers, as ``to_dict("list")`` gives them."""
    if not all(isinstance(row, list) for row in rows):
        return False
    cells = [cell for row in rows if isinstance(row, list) for cell in row]
    return all(map(_is_plain, cells)) and not all(isinstance(cell, str) for cell in cells)


def _from_records(
    path: Path, rows: list[dict[str, Any]], *notes: str, names: list[str] | None = None
) -> Records:
    """Return rows without what names and numbers the classes; ``names``: where they have names."""
    cells = {key: [row[key] for row in rows] for key in rows[0] if all(key in row for row in rows)}
    kinds = {key: _kind(values) for key, values in cells.items()}
    if not any(map(rank, cells)):  # a text may be a colour: it says so itself where it is a name
        return Records(None, rows, notes)
    kinds = {key: kind if rank(key) or kind != "text" else "other" for key, kind in kinds.items()}
    if names is not None:
        kinds = {key: kind for key, kind in kinds.items() if kind != "text"} | {_OUTER: "text"}
    choice = choose_names(
        path,
        kinds,
        lambda key: all(isinstance(value, int) for value in cells[key]),
        lambda key: len(set(cells[key])) == len(cells[key]),
    )
    left = {choice.names, *choice.aside}
    attributes = [{key: value for key, value in row.items() if key not in left} for row in rows]
    if choice.names is not None and names is None:
        names = [str(row[choice.names]) for row in rows]
    told = tuple(f"{path}: {note.replace(repr(_OUTER), _OUTER)}" for note in choice.notes())
    return Records(names, attributes, (*notes, *told))


def _kind(values: Sequence[object]) -> str:
    numbers = [isinstance(v, (int, float)) and not isinstance(v, bool) for v in values]
    if all(numbers):
        return "number"
    named = all(isinstance(value, (str, int)) and not isinstance(value, bool) for value in values)
    return "text" if named else "other"


def _is_plain(value: object) -> bool:
    return isinstance(value, (int, float, str))


def _turned(path: Path, called: str | None) -> DescriptorError:
    return DescriptorError(
        path,
        f"its outer keys may be classes or columns: one is called {called!r}",
        'with pandas, write it with to_json(orient="records"); else give the classes as outer keys',
    )


def _which_way(path: Path, content: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Say which keys are taken for classes where all rows have the same, as in both readings."""
    outer, inner = list(content), list(next(iter(content.values())))
    if len(outer) < 2 or any(list(row) != inner for row in content.values()):
        return ()
    which = f"the outer keys ({_shown(outer)}) are taken for classes"
    return (f"{path}: {which}, the inner ones ({_shown(inner)}) for attributes",)


def _shown(keys: Sequence[str]) -> str:
    return ", ".join(key[:40] for key in keys[:2]) + (", ..." if keys[2:] else "")

"""The label tables of a model's configuration, by row and by label, for a head of other classes.

Nothing here knows where a configuration keeps them. Values are never changed, only added or left
out, and what is no such table is returned as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: Keys of tables that are by row.
BY_ROW = ("id2label", "label_names", "labels")


def by_row(table: Any) -> dict[int, Any] | None:
    """Return a list, or an object with numbers for keys, as row -> label; None for all else."""
    if isinstance(table, list):
        return dict(enumerate(table))
    if not isinstance(table, dict) or not all(_is_number(key) for key in table):
        return None
    return {int(key): label for key, label in table.items()}


def relabelled(part: Mapping[str, Any], before: int, names: Sequence[str]) -> dict[str, Any]:
    """Return an object of a configuration with its label tables changed.

    Args:
        part: it.
        before: number of rows that the head had.
        names: of all rows that it has now. The first ``before`` rows keep the labels that they
            have here; they get these names where they have none.

    """
    content = dict(part)
    kept = min(before, len(names))
    tables = [rows for key in BY_ROW if (rows := by_row(part.get(key))) is not None]
    labelled = {row for row in tables[0] if row < kept} if tables else set(range(kept))
    new = {name: row for row, name in enumerate(names) if row not in labelled}
    for key in BY_ROW:
        if by_row(part.get(key)) is not None:
            content[key] = _rows(part[key], before, names)
    if isinstance(part.get("label2id"), dict):
        content["label2id"] = _numbers(part["label2id"], kept, new)
    described = part.get("label_descriptions")
    if isinstance(described, dict):
        gone = _labels(tables, lambda row: row >= kept) - _labels(tables, lambda row: row < kept)
        still = {label: text for label, text in described.items() if label not in gone}
        content["label_descriptions"] = {**still, **{n: n for n in new if n not in still}}
    return content


def _rows(table: Any, before: int, names: Sequence[str]) -> Any:
    kept = min(before, len(names))
    if isinstance(table, list):  # of another length it is about something else
        return [*table[:kept], *names[kept:]] if len(table) == before else table
    still = {key: label for key, label in table.items() if int(key) < kept}
    there = {int(key) for key in still}
    return {**still, **{str(row): name for row, name in enumerate(names) if row not in there}}


def _numbers(table: Mapping[str, Any], kept: int, new: Mapping[str, int]) -> dict[str, Any]:
    """Return a table label -> row. Some have numbers as texts; then all get them."""
    still = {label: row for label, row in table.items() if not _is_number(row) or int(row) < kept}
    as_texts = bool(table) and all(isinstance(row, str) for row in table.values())
    added = {name: str(row) if as_texts else row for name, row in new.items()}
    return {**still, **{name: row for name, row in added.items() if name not in still}}


def _labels(tables: Sequence[Mapping[int, Any]], wanted: Callable[[int], bool]) -> set[str]:
    """Return all labels of some rows."""
    return {
        label
        for table in tables
        for row, label in table.items()
        if wanted(row) and isinstance(label, str)
    }


def _is_number(value: Any) -> bool:
    """Tell whether a value is a row number, or its text; very long ones are none."""
    if isinstance(value, str):
        return value.isascii() and value.isdecimal() and len(value) < 10
    return type(value) is int and value >= 0

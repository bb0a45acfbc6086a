"""Descriptors in ``.json``.

Five shapes: ``{"class": [numbers]}``, ``{"class": {"attribute": number}}``, ``[[numbers], ...]``,
``[{"name": ..., "descriptor": [numbers]}, ...]`` and ``[{"name": ..., "attribute": number}, ...]``,
which pandas calls records.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from icis_cli.descriptors.base import Descriptors, checked, names_alone
from icis_cli.descriptors.json_records import Records, records_of
from icis_cli.descriptors.table_words import in_numbers, pair_of
from icis_cli.descriptors.text_files import encoding_of, no_text
from icis_cli.errors import DescriptorError

_SHAPES = (
    'one of {"class": [numbers]}, {"class": {"attribute": number}}, [[numbers], ...], '
    '[{"name": "class", "attribute": number}, ...]'
)


def read_json(path: Path) -> Descriptors:
    """Read descriptors (C, d) from JSON.

    Raises:
        DescriptorError: not JSON, or of another shape.

    """
    try:
        text = path.read_text(encoding=encoding_of(path))
    except UnicodeError as error:
        raise no_text(path, error, "JSON") from None
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise DescriptorError(path, f"is no readable JSON ({error})") from None
    records = records_of(path, content)
    names, rows, told = (
        (records.names, records.rows, records.notes)
        if isinstance(records, Records)
        else (*_named_rows(path, content), ())
    )
    if all(isinstance(row, str) for row in rows) or _are_synonyms(rows):
        raise names_alone(path)
    columns: list[str] | None = None
    notes: tuple[str, ...] = ()
    if rows and all(isinstance(row, dict) for row in rows):
        columns = list(dict.fromkeys(str(key) for row in rows for key in row))
        notes = _rare(path, names, rows, columns)
        # An attribute that a class does not list is one that it does not have.
        rows = [[row.get(column, 0) for column in columns] for row in rows]
    for position, row in enumerate(rows):
        where = f"class {names[position]!r}" if names else f"row {position}"
        if not isinstance(row, list) or not all(_is_number(v) for v in row):
            words = [cell for cell in row if isinstance(cell, str)] if isinstance(row, list) else []
            pair = pair_of(words[:1])
            hint = f"give {_SHAPES}" if pair is None else in_numbers(pair)
            raise DescriptorError(
                path, f"{where}: expected a list of numbers{_odd(row, columns)}", hint
            )
        if len(row) != len(rows[0]):
            raise DescriptorError(
                path, f"{where} has {len(row)} numbers, expected {len(rows[0])} as the first class"
            )
    try:
        values = [[float(v) for v in row] for row in rows]
    except OverflowError:
        raise DescriptorError(path, "holds a whole number that no float can hold") from None
    found = checked(path, values, names, columns)
    found = replace(found, notes=(*found.notes, *told, *notes))
    return found if columns is None else replace(found, unlisted=0.0)


def _named_rows(path: Path, content: Any) -> tuple[list[str] | None, list[Any]]:
    if isinstance(content, dict) and content:
        return list(content), list(content.values())
    if isinstance(content, list) and content:
        if all(isinstance(e, dict) and "name" in e and "descriptor" in e for e in content):
            return [str(e["name"]) for e in content], [e["descriptor"] for e in content]
        return None, content
    raise DescriptorError(path, "holds no classes", f"give {_SHAPES}")


def _are_synonyms(rows: list[Any]) -> bool:
    """Tell whether all rows are lists of texts, as a file for --names has them."""
    return all(isinstance(row, list) and row and isinstance(row[0], str) for row in rows)


def _odd(row: Any, columns: list[str] | None) -> str:
    """Say what else was found, and where: of a list of numbers the first that is none."""
    if not isinstance(row, list):
        return f", found {_shown(row)}"
    place = next(place for place, value in enumerate(row) if not _is_number(value))
    return f", found {_shown(row[place])}" + (f" in {columns[place]!r}" if columns else "")


def _shown(value: Any) -> str:
    return json.dumps(value)[:40]


def _rare(
    path: Path, names: list[str] | None, rows: list[dict[str, Any]], columns: list[str]
) -> tuple[str, ...]:
    """Tell of attributes that hardly any class lists: they may be misspelt."""
    times = Counter(str(key) for row in rows for key in row)
    few = max(1, len(rows) // 50)
    rare = [column for column in columns if len(rows) > 2 and times[column] <= few]
    told = []
    for column in rare[:5]:
        first = next(place for place, row in enumerate(rows) if column in row)
        who = f" ({names[first]!r})" if names and times[column] == 1 else ""
        usual = [other for other in columns if times[other] > few]
        near = difflib.get_close_matches(column, usual, n=1, cutoff=0.8)
        told.append(
            f"{path}: attribute {column!r} is given for {times[column]} of {len(rows)} "
            f"classes{who}; the others count as 0"
            + (f" (is it {near[0]!r}, misspelt?)" if near else "")
        )
    if rare[5:]:
        told.append(f"{path}: {len(rare) - 5} more attributes are given for hardly any class")
    return tuple(told)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a class that occurs twice: plain JSON parsing would drop the first silently."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} occurs twice")
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))

"""Descriptors in ``.json``.

Four shapes: ``{"class": [numbers]}``, ``{"class": {"attribute": number}}``, ``[[numbers], ...]``
and ``[{"name": ..., "descriptor": [numbers]}, ...]``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from icis_cli.descriptors.base import Descriptors, checked
from icis_cli.errors import DescriptorError

_SHAPES = 'one of {"class": [numbers]}, {"class": {"attribute": number}}, [[numbers], ...]'


def read_json(path: Path) -> Descriptors:
    """Read descriptors (C, d) from JSON.

    Raises:
        DescriptorError: not JSON, or of another shape.

    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise DescriptorError(path, f"is no readable JSON ({error})") from None
    names, rows = _named_rows(path, content)
    columns: list[str] | None = None
    if rows and all(isinstance(row, dict) for row in rows):
        columns = sorted({str(key) for row in rows for key in row})
        # An attribute that a class does not list is one that it does not have.
        rows = [[row.get(column, 0) for column in columns] for row in rows]
    for position, row in enumerate(rows):
        where = f"class {names[position]!r}" if names else f"row {position}"
        if not isinstance(row, list) or not all(_is_number(v) for v in row):
            raise DescriptorError(path, f"{where}: expected a list of numbers", f"give {_SHAPES}")
        if len(row) != len(rows[0]):
            raise DescriptorError(
                path, f"{where} has {len(row)} numbers, expected {len(rows[0])} as the first class"
            )
    try:
        values = [[float(v) for v in row] for row in rows]
    except OverflowError:
        raise DescriptorError(path, "holds a whole number that no float can hold") from None
    found = checked(path, values, names, columns)
    return found if columns is None else replace(found, unlisted=0.0)


def _named_rows(path: Path, content: Any) -> tuple[list[str] | None, list[Any]]:
    if isinstance(content, dict) and content:
        return list(content), list(content.values())
    if isinstance(content, list) and content:
        if all(isinstance(e, dict) and "name" in e and "descriptor" in e for e in content):
            return [str(e["name"]) for e in content], [e["descriptor"] for e in content]
        return None, content
    raise DescriptorError(path, "holds no classes", f"give {_SHAPES}")


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

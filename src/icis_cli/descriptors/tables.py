"""Descriptors in ``.csv`` and ``.tsv``: one class per line, with or without names and a header.

A spreadsheet saved as CSV works: the first column may hold class names, the first line column
names; a comma, semicolon or tab separates.
"""

from __future__ import annotations

import csv
from pathlib import Path

from icis_cli.descriptors.base import Descriptors, checked
from icis_cli.errors import DescriptorError


def read_table(path: Path) -> Descriptors:
    """Read a text table (C, d).

    Raises:
        DescriptorError: not text, lines of different length, or a cell that is no number.

    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            separator = max(("\t", ";", ","), key=first.count)
            lines = [
                (number, [cell.strip() for cell in cells])
                for number, cells in enumerate(csv.reader(stream, delimiter=separator), 1)
                if any(cell.strip() for cell in cells)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DescriptorError(
            path, f"is no readable text table ({error})", "save it as CSV in UTF-8"
        ) from None
    if not lines:
        raise DescriptorError(path, "is empty, expected one line per class")
    columns: list[str] | None = None
    # A header has a cell beyond the names that is no number.
    if not all(_is_number(cell) for cell in lines[0][1][1:]) or (
        len(lines[0][1]) == 1 and not _is_number(lines[0][1][0])
    ):
        columns = lines.pop(0)[1]
        if not lines:
            raise DescriptorError(path, "has a header but no class below it")
    named = not all(_is_number(cells[0]) for _, cells in lines) or _is_index(columns, lines)
    width = len(lines[0][1])
    values = []
    for number, cells in lines:
        if len(cells) != width:
            raise DescriptorError(
                path, f"line {number} has {len(cells)} cells, expected {width} as the first class"
            )
        try:
            values.append([float(cell) for cell in cells[named:]])
        except ValueError:
            bad = next(cell for cell in cells[named:] if not _is_number(cell))
            found = f"found {bad!r}" if bad else "found an empty cell"
            raise DescriptorError(
                path, f"line {number}: expected a number, {found}", "fill in every attribute"
            ) from None
    names = [cells[0] for _, cells in lines] if named else None
    return checked(path, values, names, columns[-(width - named) :] if columns else None)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_index(columns: list[str] | None, lines: list[tuple[int, list[str]]]) -> bool:
    """Tell whether the first column, all numbers, is headed as class names (e.g. WordNet ids)."""
    return (
        columns is not None
        and len(columns) == len(lines[0][1])
        and columns[0].casefold() in {"", "class", "classes", "class_name", "name", "label", "id"}
    )

"""Descriptors in ``.csv`` and ``.tsv``: one class per line, with or without names and a header.

A spreadsheet saved as CSV works: the first column may hold class names, the first line column
names; a comma, semicolon or tab separates.
"""

from __future__ import annotations

import csv
from pathlib import Path

from icis_cli.descriptors.base import Descriptors, checked
from icis_cli.errors import DescriptorError

#: What a column of class names is called, in lower case.
NAME_COLUMNS = ("", "class", "classes", "class_name", "name", "label", "id")


def read_table(path: Path) -> Descriptors:
    """Read a text table (C, d).

    Raises:
        DescriptorError: not text, lines of different length, or a cell that is no number.

    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = next((line for line in stream if line.strip()), "")
            stream.seek(0)
            separator = max(("\t", ";", ","), key=first.count)
            reader = csv.reader(stream, delimiter=separator)
            lines = [
                (reader.line_num, [cell.strip() for cell in cells])
                for cells in reader
                if any(cell.strip() for cell in cells)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DescriptorError(
            path, f"is no readable text table ({error})", "save it as CSV in UTF-8"
        ) from None
    if not lines:
        raise DescriptorError(path, "is empty, expected one line per class")
    columns: list[str] | None = None
    if _is_header(lines[0][1]):
        columns = lines.pop(0)[1]
        if not lines:
            raise DescriptorError(path, "has a header but no class below it")
    width = len(lines[0][1])
    named = _is_index(columns, width) or _starts_with_names(path, lines)
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


def _is_header(cells: list[str]) -> bool:
    """Tell whether the first line names the columns.

    A line with both numbers and something else beyond the first cell is taken for a class whose
    number is missing or misspelt: dropping it as a header would shift all classes by one.
    """
    if cells[0].casefold() in NAME_COLUMNS:
        return True  # the other columns may be called 0, 1, 2
    beyond = cells[1:] or cells
    if _counts(cells) or _counts(beyond):
        return True  # columns that have numbers for names, as a table of embeddings has
    return any(beyond) and not any(_is_number(cell) for cell in beyond)


def _counts(cells: list[str]) -> bool:
    """Tell whether cells read 0, 1, 2, ... or 1, 2, 3, ...; two could be attributes of a class."""
    return (
        len(cells) > 2
        and cells[0] in ("0", "1")
        and cells == [str(number) for number in range(int(cells[0]), int(cells[0]) + len(cells))]
    )


def _is_index(columns: list[str] | None, width: int) -> bool:
    """Tell whether the first column is headed as class names, be they numbers (WordNet ids)."""
    return columns is not None and len(columns) == width and columns[0].casefold() in NAME_COLUMNS


def _starts_with_names(path: Path, lines: list[tuple[int, list[str]]]) -> bool:
    """Tell whether the first column holds class names, some of which may look like numbers.

    Raises:
        DescriptorError: most of it are numbers: the rest is misspelt, or it needs a header.

    """
    odd = [(number, cells[0]) for number, cells in lines if not _is_number(cells[0])]
    if odd and 2 * len(odd) < len(lines):
        number, cell = odd[0]
        found = f"found {cell!r}" if cell else "found an empty cell"
        raise DescriptorError(
            path,
            f"line {number}: expected a number, {found}",
            "if the first column holds class names, put a header with 'class' above it",
        )
    return bool(odd)

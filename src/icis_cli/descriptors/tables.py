"""Descriptors in ``.csv`` and ``.tsv``: one class per line, with or without names and a header.

A spreadsheet saved as CSV works: the first column may hold class names, the first line column
names; a comma, semicolon or tab separates. What cells stand for is in ``table_cells``.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from icis_cli.descriptors.base import Descriptors, checked, names_alone
from icis_cli.descriptors.table_cells import (
    NAME_COLUMNS,
    Numbers,
    counts,
    is_number,
    numbers_of,
    require_numbers,
)
from icis_cli.errors import DescriptorError

#: What pandas calls the column of line numbers that it writes, in lower case.
_INDEX_COLUMNS = ("", "unnamed: 0", "index")


@dataclass(frozen=True)
class _Table:
    """The cells of a file.

    Attributes:
        lines: line number and cells of every class, all as many.
        columns: what the first line calls the columns, as many, or None.
        separator: what stands between cells.
        notes: what was left out.

    """

    lines: list[tuple[int, list[str]]]
    columns: list[str] | None
    separator: str
    notes: tuple[str, ...] = ()

    def without(self, column: int, why: str) -> _Table:
        """Return it without one column, and say why."""
        lines = [(number, cells[:column] + cells[column + 1 :]) for number, cells in self.lines]
        columns = None if self.columns is None else list(self.columns)
        if columns is not None:
            del columns[column]
        return replace(self, lines=lines, columns=columns, notes=(*self.notes, why))


def read_table(path: Path) -> Descriptors:
    """Read a text table (C, d).

    Raises:
        DescriptorError: not text, lines of different length, or a cell that is no number.

    """
    table = _without_index(path, _without_empty_end(path, _cells(path)))
    width = len(table.lines[0][1])
    numbers = numbers_of(path, (cell for _, line in table.lines for cell in line[1:]))
    named = _is_headed_as_names(table.columns) or _starts_with_names(path, table, numbers)
    if width == named:
        raise names_alone(path)
    require_numbers(path, table.lines, table.columns, int(named), numbers)
    values = [[numbers.value(cell) for cell in cells[named:]] for _, cells in table.lines]
    names = [cells[0] for _, cells in table.lines] if named else None
    found = checked(path, values, names, table.columns[named:] if table.columns else None)
    return replace(found, notes=(*found.notes, *table.notes, *numbers.notes(path)))


def _cells(path: Path) -> _Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = next((line for line in stream if line.strip()), "")
            stream.seek(0)
            separator = _separator(first)
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
    for number, cells in lines:
        if len(cells) != width:
            raise DescriptorError(
                path, f"line {number} has {len(cells)} cells, expected {width} as the first class"
            )
    return _Table(lines, _fitted(path, columns, lines[0], separator), separator)


def _separator(line: str) -> str:
    """Return what separates the cells of a line; numbers may have a decimal comma."""
    for mark in ("\t", ";"):
        cells = line.split(mark)[1:]
        if cells and all(is_number(cell.strip(), comma=True) for cell in cells):
            return mark
    return max(("\t", ";", ","), key=line.count)


def _fitted(
    path: Path, columns: list[str] | None, first: tuple[int, list[str]], separator: str
) -> list[str] | None:
    """Return a header with as many cells as the lines: it may lack what names the names.

    Raises:
        DescriptorError: it has others, so that nothing tells what a number belongs to.

    """
    number, cells = first
    if columns is None or len(columns) == len(cells):
        return columns
    if len(columns) > len(cells) and not any(columns[len(cells) :]):
        return columns[: len(cells)]
    if len(columns) == len(cells) - 1:
        # R writes no name for the first column; others end the lines with a separator.
        ends = not cells[-1] and is_number(cells[-2])
        return [*columns, ""] if ends else ["", *columns]
    wide = separator == "," and len(cells) > len(columns)
    raise DescriptorError(
        path,
        f"its header has {len(columns)} cells, but line {number} has {len(cells)}",
        "numbers with a decimal comma need another separator: save it with semicolons or tabs"
        if wide
        else "one name for every column",
    )


def _without_empty_end(path: Path, table: _Table) -> _Table:
    """Leave out last columns that have neither a name nor a cell with something in it."""
    while len(table.lines[0][1]) > 1 and not any(cells[-1] for _, cells in table.lines):
        last = len(table.lines[0][1]) - 1
        if table.columns is not None and table.columns[last]:
            break  # it has a name: somebody forgot to fill it in
        if table.columns is None and len(table.lines) == 1:
            break
        table = table.without(last, f"{path}: the last column is empty and is left out")
    return table


def _without_index(path: Path, table: _Table) -> _Table:
    """Leave out a first column that only counts the lines, as pandas writes one."""
    columns = table.columns
    if columns is None or len(columns) < 3 or columns[0].casefold() not in _INDEX_COLUMNS:
        return table
    if not counts([cells[0] for _, cells in table.lines]):
        return table
    words = not any(is_number(cells[1]) for _, cells in table.lines)
    if words or (columns[1] and columns[1].casefold() in NAME_COLUMNS):
        names = "; the second names the classes"
    elif columns[0]:
        names = ""
    else:
        return table  # they may be the names of the classes: nothing else is
    return table.without(0, f"{path}: the first column counts the lines and is left out{names}")


def _is_header(cells: list[str]) -> bool:
    """Tell whether the first line names the columns.

    A line with both numbers and something else beyond the first cell is taken for a class whose
    number is missing or misspelt: dropping it as a header would shift all classes by one.
    """
    if _is_headed_as_names(cells):
        return True  # the other columns may be called 0, 1, 2
    beyond = cells[1:] or cells
    if _are_counted(cells) or _are_counted(beyond):
        return True  # columns that have numbers for names, as a table of embeddings has
    return any(beyond) and not any(is_number(cell, comma=True) for cell in beyond)


def _are_counted(cells: list[str]) -> bool:
    """Tell whether cells read 0, 1, 2, ... or 1, 2, 3, ...; two could be attributes of a class."""
    return len(cells) > 2 and counts(cells)


def _is_headed_as_names(columns: list[str] | None) -> bool:
    """Tell whether the first column is headed as class names, be they numbers (WordNet ids)."""
    return columns is not None and columns[0].casefold() in (*NAME_COLUMNS, *_INDEX_COLUMNS)


def _starts_with_names(path: Path, table: _Table, numbers: Numbers) -> bool:
    """Tell whether the first column holds class names, some of which may look like numbers.

    Raises:
        DescriptorError: most of it are numbers: the rest is misspelt, or it needs a header.

    """
    odd = [(number, cells[0]) for number, cells in table.lines if not numbers.has(cells[0])]
    if odd and 2 * len(odd) < len(table.lines):
        number, cell = odd[0]
        found = f"found {cell!r}" if cell else "found an empty cell"
        raise DescriptorError(
            path,
            f"line {number}: expected a number, {found}",
            "if the first column holds class names, put a header with 'class' above it",
        )
    return bool(odd)

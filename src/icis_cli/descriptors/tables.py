"""Descriptors in ``.csv`` and ``.tsv``: one class per line, with or without names and a header.

A spreadsheet saved as CSV works: the first column may hold class names, the first line column
names; a comma, semicolon or tab separates. What cells stand for is in ``table_cells``, and in
``table_answers`` where they say yes or no; what the first line is in ``table_header``, and what the
columns are in ``table_columns``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from icis_cli.descriptors.base import Descriptors, checked, names_alone
from icis_cli.descriptors.name_columns import rank
from icis_cli.descriptors.table_answers import with_answers
from icis_cli.descriptors.table_cells import is_number, numbers_of, require_numbers
from icis_cli.descriptors.table_columns import (
    TextTable,
    numbers_for_names,
    starts_with_names,
    without_empty_end,
    without_ids,
)
from icis_cli.descriptors.table_header import is_headed_as_names, is_header, require_no_title
from icis_cli.descriptors.text_files import no_text, open_text
from icis_cli.errors import DescriptorError

#: So many lines are looked at to find a title.
_TOP = 8


def read_table(path: Path) -> Descriptors:
    """Read a text table (C, d).

    Raises:
        DescriptorError: not text, lines of different length, or a cell that is no number.

    """
    table = with_answers(path, without_empty_end(path, _cells(path)))
    table = without_ids(path, table)
    width = len(table.lines[0][1])
    headed = is_headed_as_names(table.columns)
    first = 0 if not headed and _are_mostly_numbers(table) else 1
    cells = (cell for _, line in table.lines for cell in line[first:])
    numbers = numbers_of(path, cells, table.separator)
    named = headed or starts_with_names(path, table, numbers)
    if width == named:
        raise names_alone(path)
    require_numbers(path, table.lines, table.columns, int(named), numbers)
    notes = (*table.notes, *numbers_for_names(path, table, named=named), *numbers.notes(path))
    values = [[numbers.value(cell) for cell in cells[named:]] for _, cells in table.lines]
    names = [cells[0] for _, cells in table.lines] if named else None
    found = checked(path, values, names, table.columns[named:] if table.columns else None)
    return replace(found, notes=(*found.notes, *notes))


def _are_mostly_numbers(table: TextTable) -> bool:
    """Tell whether the first column holds numbers, be they with a decimal comma."""
    numbers = sum(is_number(cells[0], comma=True) for _, cells in table.lines)
    return 2 * numbers > len(table.lines)


def _cells(path: Path) -> TextTable:
    try:
        with open_text(path) as stream:
            top = list(islice((line for line in stream if line.strip()), _TOP))
            stream.seek(0)
            for mark in dict.fromkeys(map(_separator, top)):
                require_no_title(path, _read(stream, mark, _TOP))
                stream.seek(0)
            separator = _separator(top[0] if top else "")
            lines = _read(stream, separator)
    except UnicodeError as error:
        raise no_text(path, error) from None
    except csv.Error as error:
        raise DescriptorError(
            path, f"is no readable text table ({error})", "save it as CSV in UTF-8"
        ) from None
    if not lines:
        raise DescriptorError(path, "is empty, expected one line per class")
    columns: list[str] | None = None
    header, note = is_header(path, lines[0][1], [cells for _, cells in lines[1:]])
    if header:
        columns = lines.pop(0)[1]
        if not lines:
            raise DescriptorError(path, "has a header but no class below it")
    width = len(lines[0][1])
    for number, cells in lines:
        if len(cells) != width:
            raise DescriptorError(
                path, f"line {number} has {len(cells)} cells, expected {width} as the first class"
            )
    if columns is not None and len(columns) == width - 1 and lines[0][1][-1]:
        note = (
            f"{path}: the header has {len(columns)} cells, the lines {width}: it is taken to name "
            "all columns but the first"
        )
    notes = () if note is None else (note,)
    return TextTable(lines, _fitted(path, columns, lines[0], separator), separator, notes)


def _read(
    stream: Iterable[str], separator: str, most: int | None = None
) -> list[tuple[int, list[str]]]:
    """Return number and cells of the lines that are not empty, of the first ``most`` of them."""
    reader = csv.reader(stream, delimiter=separator)
    # Programs that put files together leave the mark of UTF-8 in the middle.
    stripped = ([cell.replace("\ufeff", "").strip() for cell in cells] for cells in reader)
    lines = ((reader.line_num, cells) for cells in stripped if any(cells))
    return list(islice(lines, most))


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
        if not cells[-1] and is_number(cells[-2]):
            return [*columns, ""]
        if not rank(columns[0]):
            return ["", *columns]
    wide = separator == "," and len(cells) > len(columns)
    raise DescriptorError(
        path,
        f"its header has {len(columns)} cells, but line {number} has {len(cells)}",
        "numbers with a decimal comma need another separator: save it with semicolons or tabs"
        if wide
        else "one name for every column",
    )

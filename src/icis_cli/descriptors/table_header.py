"""Whether the first line of a text table names its columns, or is a class already.

A class that is taken for a header is lost, and all classes below it move up by one: where both
readings are likely, the table is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise, takewhile
from pathlib import Path

from icis_cli.descriptors.name_columns import rank
from icis_cli.descriptors.table_cells import counts, is_number, is_whole
from icis_cli.descriptors.table_words import are_values, is_answer
from icis_cli.errors import DescriptorError

#: From this many columns on, 0, 1, 2, ... are surely no descriptor of a class.
_MANY = 8


def is_header(
    path: Path, first: Sequence[str], below: Sequence[Sequence[str]]
) -> tuple[bool, str | None]:
    """Tell whether the first line of a table names its columns.

    A line with both numbers and something else beyond the first cell is taken for a class whose
    number is missing or misspelt.

    Returns:
        Whether it does, and a note where that is not plain.

    Raises:
        DescriptorError: it may name the columns as well as describe a class.

    """
    beyond = first[1:] or first
    numbers = [cell for cell in beyond if is_number(cell, comma=True)]
    note = f"{path}: the first line ({_shown(first)}) is taken for the header"
    if is_headed_as_names(first):  # the other columns may be called 0, 1, 2
        return True, note if numbers and not counts(beyond) else None
    if _are_counted(first) or _are_counted(beyond):
        return True, _counted(path, first, below, note)
    if _are_years(first, below) or _are_years(beyond, (line[1:] for line in below)):
        return True, note
    if numbers or not any(beyond):
        return False, None
    return not are_values(beyond, (cell for line in below for cell in line[1:])), None


def require_no_title(path: Path, lines: Sequence[tuple[int, Sequence[str]]]) -> None:
    """Refuse a title above the line that names the columns.

    Args:
        path: of the table.
        lines: number and cells of the first lines.

    Raises:
        DescriptorError: the first lines have one cell each, the next one words, and the one after
            that as many cells and a value.

    """
    title = list(takewhile(lambda line: sum(map(bool, line[1])) == 1 and line[1][0], lines))
    if not title or len(lines) < len(title) + 2:
        return
    (number, header), (_, row) = lines[len(title) : len(title) + 2]
    if any(map(_is_value, header[1:])) or len(row) != len(header) or not any(map(_is_value, row)):
        return
    first, last = title[0][0], title[-1][0]
    which, looks = (f"line {first}", "looks") if first == last else (
        f"lines {first} to {last}", "look"
    )  # fmt: skip
    raise DescriptorError(
        path,
        f"{which} {looks} like a title, line {number} like the column names",
        f"delete {which}",
    )


def _is_value(cell: str) -> bool:
    return is_number(cell, comma=True) or is_answer(cell) or cell.endswith("%")


def is_headed_as_names(columns: Sequence[str] | None) -> bool:
    """Tell whether the first column is headed as class names, be they numbers (WordNet ids)."""
    return columns is not None and rank(columns[0]) > 0


def _counted(
    path: Path, first: Sequence[str], below: Sequence[Sequence[str]], note: str
) -> str | None:
    """Return the note about a first line that reads 0, 1, 2; none where no class can read so."""
    if len(first) > _MANY:
        return None
    cells = [cell for line in below for cell in line[1:]]
    if cells and all(is_whole(cell) for cell in cells):
        raise DescriptorError(
            path,
            f"its first line ({_shown(first)}) may name the columns, or describe a class",
            "name the columns with words: in place of this line if it is a header, above it if it "
            "is a class",
        )
    return note


def _are_counted(cells: Sequence[str]) -> bool:
    """Tell whether cells read 0, 1, 2, ... or 1, 2, 3, ...; two could be attributes of a class."""
    return len(cells) > 2 and counts(cells)


def _are_years(cells: Sequence[str], below: Iterable[Sequence[str]]) -> bool:
    """Tell whether cells are years, each later than the one before, and none below looks so."""
    years = [int(cell) for cell in cells if _is_year(cell)]
    if len(years) < max(2, len(cells)) or any(after <= before for before, after in pairwise(years)):
        return False
    lines = list(below)
    return bool(lines) and not any(_is_year(cell) for line in lines for cell in line)


def _is_year(cell: str) -> bool:
    return len(cell) == 4 and cell.isascii() and cell.isdigit() and "1500" <= cell < "2200"


def _shown(cells: Sequence[str]) -> str:
    return ", ".join(cell[:40] for cell in cells[:4]) + (", ..." if cells[4:] else "")

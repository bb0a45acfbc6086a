"""What the columns of a text table are: names of the classes, numbers of them, or attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from icis_cli.descriptors.name_columns import Choice, is_index, is_name, rank
from icis_cli.descriptors.table_cells import Numbers, counts, is_number, is_whole
from icis_cli.descriptors.table_header import is_headed_as_names
from icis_cli.errors import DescriptorError

#: So many columns before the names are looked at; pandas adds one each time a file is read.
_MOST_IDS = 8


@dataclass(frozen=True)
class TextTable:
    """The cells of a file.

    Attributes:
        lines: line number and cells of every class, all as many.
        columns: what the first line calls the columns, as many, or None.
        separator: what stands between cells.
        notes: what was decided, and what was left out.

    """

    lines: list[tuple[int, list[str]]]
    columns: list[str] | None
    separator: str
    notes: tuple[str, ...] = ()

    def column(self, number: int) -> list[str]:
        """Return the cells of one column."""
        return [cells[number] for _, cells in self.lines]

    def without(self, numbers: Sequence[int], *why: str) -> TextTable:
        """Return it without some columns, and say why."""
        if not numbers:
            return replace(self, notes=(*self.notes, *why))
        gone = frozenset(numbers)

        def left(cells: list[str]) -> list[str]:
            return [cell for number, cell in enumerate(cells) if number not in gone]

        lines = [(number, left(cells)) for number, cells in self.lines]
        columns = None if self.columns is None else left(self.columns)
        return replace(self, lines=lines, columns=columns, notes=(*self.notes, *why))


def without_empty_end(path: Path, table: TextTable) -> TextTable:
    """Leave out last columns that have neither a name nor a cell with something in it."""
    while len(table.lines[0][1]) > 1 and not any(cells[-1] for _, cells in table.lines):
        last = len(table.lines[0][1]) - 1
        if table.columns is not None and table.columns[last]:
            break  # it has a name: somebody forgot to fill it in
        if table.columns is None and len(table.lines) == 1:
            break
        table = table.without((last,), f"{path}: the last column is empty and is left out")
    return table


def without_ids(path: Path, table: TextTable) -> TextTable:
    """Leave out columns that number lines or classes, where another one names the classes.

    Raises:
        DescriptorError: a column of numbers is called like class names, and is not the first.

    """
    if table.columns is None:
        return table
    for _ in range(_MOST_IDS):
        why = _needless_first(table)
        if why is None:
            break
        table = table.without((0,), f"{path}: {why}")
    columns = table.columns or []
    named = is_headed_as_names(columns) or _words(table.column(0))
    known = [c for c, header in enumerate(columns) if c and header and rank(header)]
    if named:
        aside = [c for c in known if _is_id(columns[c], table.column(c))]
        # What holds words is refused later, with what may be done about it.
        others = sorted(set(known).difference(aside))
        kept = [c for c in others if _are_numbers(table.column(c))]
        choice = Choice(
            columns[0], tuple(columns[c] for c in aside), tuple(columns[c] for c in kept)
        )
        return table.without(aside, *(f"{path}: {note}" for note in choice.notes()))
    found = next((c for c in known if all(map(is_whole, table.column(c)))), None)
    if found is not None:
        raise DescriptorError(
            path,
            f"column {columns[found]!r} is called like class names and holds numbers, but is not "
            "the first",
            "if they name the classes, move it to the front; else give it another name, or take "
            "it out",
        )
    return table


def _needless_first(table: TextTable) -> str | None:
    """Say why the first column is none of the names; None where it may hold them."""
    columns = table.columns or []
    if len(columns) < 3 or not rank(columns[0]):
        return None
    first, second = table.column(0), table.column(1)
    if all(is_whole(cell) for cell in first):
        better = _are_names(columns, second)
    else:  # codes of a catalogue beside the names
        better = not is_name(columns[0]) and is_name(columns[1]) and _words(second)
    lines = is_index(columns[0]) and counts(first)
    called = "the first column" + ("" if lines or not columns[0] else f" ({columns[0]!r})")
    does = "counts the lines" if lines else "numbers the lines or the classes"
    if better:
        return f"{called} {does} and is left out; the second names the classes"
    # Without a header they may be the names of the classes: nothing else is.
    return f"{called} {does} and is left out" if lines and columns[0] else None


def _are_names(columns: Sequence[str], second: Sequence[str]) -> bool:
    """Tell whether the second column names the classes better than numbers in the first do."""
    if _words(second):
        return rank(columns[1]) > 0 or not is_name(columns[0])
    more = bool(columns[1]) and rank(columns[1]) > rank(columns[0])
    return more and all(is_whole(cell) for cell in second)


def _is_id(header: str, cells: Sequence[str]) -> bool:
    """Tell whether a column beyond the first numbers the classes, or is their code."""
    numbers = all(map(is_whole, cells)) and len(set(cells)) == len(cells)
    return numbers or (_words(cells) and not is_name(header))


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(is_number(cell, comma=True) for cell in cells)


def _words(cells: Sequence[str]) -> bool:
    return not any(is_number(cell, comma=True) for cell in cells)


def starts_with_names(path: Path, table: TextTable, numbers: Numbers) -> bool:
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


def numbers_for_names(path: Path, table: TextTable, *, named: bool) -> tuple[str, ...]:
    """Say that numbers are taken for class names, or lines that are counted for an attribute."""
    first = table.column(0)
    header = table.columns[0] if table.columns is not None else ""
    if not named:
        if table.columns is None and len(first) > 2 and counts(first):
            return (f"{path}: the first column counts the lines, and is used as an attribute",)
        return ()
    plain = is_name(header) and all(is_whole(cell) for cell in first)
    if plain or counts(first) or not _are_numbers(first):
        return ()
    called = f"column {header!r}" if header else "the first column"
    return (f"{path}: the numbers in {called} are taken for class names",)

"""Words for yes and no in a table, which are read as 1 and 0; column by column, never by halves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from icis_cli.descriptors.table_columns import TextTable
from icis_cli.descriptors.table_header import is_headed_as_names
from icis_cli.descriptors.table_words import ANSWERS, MARK
from icis_cli.words import listed


def with_answers(path: Path, table: TextTable) -> TextTable:
    """Return a table with 1 and 0 in the columns that hold two words for yes and no alone.

    A column of crosses and empty cells is one of them where a header names it: without one, an
    empty cell may as well be a class that somebody forgot. Where all others are such columns, one
    without a cross is taken for no in every line.
    """
    first = table.lines[0][1]
    start = 1 if is_headed_as_names(table.columns) else 0
    found: dict[int, tuple[str, str]] = {}
    empty = []
    for number in range(start, len(first)):
        cell = first[number].casefold()
        marked = table.columns is not None and number > 0 and table.columns[number] != ""
        if not any(cell in pair for pair in ANSWERS) and not (marked and cell in MARK):
            continue
        cells = [one.casefold() for one in table.column(number)]
        words = set(cells)
        if number == 0 and len(words) == len(cells):
            continue  # as names they would have to differ, and they do
        pair = next((pair for pair in ANSWERS if words <= set(pair)), None)
        if pair is not None:
            found[number] = pair
        elif marked and words <= set(MARK):
            found[number] = MARK
            if words == {""}:
                empty.append(number)
    if empty and (len(found) < len(first) - 1 or len(found) == len(empty)):
        found = {number: pair for number, pair in found.items() if number not in empty}
    return _read(path, table, found)


def _read(path: Path, table: TextTable, found: dict[int, tuple[str, str]]) -> TextTable:
    """Return a table with 1 and 0 in these columns, and a note about all of them."""
    if not found:
        return table
    lines = []
    for line, cells in table.lines:
        read = list(cells)
        for number, pair in found.items():
            read[number] = "1" if cells[number].casefold() == pair[0] else "0"
        lines.append((line, read))
    pairs = list(dict.fromkeys(found.values()))
    yes = listed([pair[0] for pair in pairs])
    no = listed([pair[1] or "an empty cell" for pair in pairs])
    titles = [f"column {number + 1}" for number in found]
    if table.columns is not None:
        titles = [table.columns[number] or f"column {number + 1}" for number in found]
    note = f"{path}: read as 1: {yes}; as 0: {no} (in {listed(titles)})"
    return replace(table, lines=lines, notes=(*table.notes, note))

"""What the cells of a text table stand for: numbers, also with a decimal comma; or no numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from icis_cli.descriptors.name_columns import rank
from icis_cli.descriptors.table_words import MARK, in_numbers, pair_of
from icis_cli.errors import DescriptorError

#: How yes and no are written by pandas and by spreadsheets.
_TRUTH = {"true": 1.0, "false": 0.0}

_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")

#: It may be a thousand, or one and nothing: 1,000.
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")

#: The same with a point, as in countries that have decimal commas: 1.000.
_POINT_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")

_PERCENT = re.compile(r"([+-]?\d+(?:[.,]\d+)?)\s*%")

_WHOLE = re.compile(r"[0-9]+(\.0+)?")


@dataclass(frozen=True)
class Numbers:
    """How the numbers of a table are written.

    Attributes:
        comma: whether with a decimal comma.

    """

    comma: bool = False

    def has(self, cell: str) -> bool:
        """Tell whether a cell is a number."""
        return is_number(cell, comma=self.comma)

    def value(self, cell: str) -> float:
        """Return the number in a cell that has one."""
        truth = _TRUTH.get(cell.casefold())
        if truth is not None:
            return truth
        return float(cell.replace(",", ".") if self.comma else cell)

    def notes(self, path: Path) -> tuple[str, ...]:
        """Say what a person may want to check."""
        return (f"{path}: 0,5 is read as 0.5 (decimal comma)",) if self.comma else ()


def numbers_of(path: Path, cells: Iterable[str], separator: str) -> Numbers:
    """Tell how numbers are written, by all cells that may hold one.

    Raises:
        DescriptorError: a comma or a point may be a decimal one, or may set thousands apart.

    """
    clear = doubtful = points = thousands = ""
    for cell in cells:
        if _COMMA.fullmatch(cell):
            if _THOUSANDS.fullmatch(cell):
                doubtful = doubtful or cell
            else:
                clear = clear or cell
        elif "." in cell and is_number(cell):
            if _POINT_THOUSANDS.fullmatch(cell):
                thousands = thousands or cell
            else:
                points = points or cell
    # Who separates cells with commas writes decimal points. Others may have decimal commas.
    if thousands and not points and not clear and not doubtful and separator != ",":
        raise DescriptorError(
            path,
            f"found {thousands!r}: the point may be a decimal one, or set thousands apart",
            f"save it with {float(thousands)} or {thousands.replace('.', '')} instead: with "
            "decimal points, and without marks between thousands",
        )
    points = points or thousands
    if clear and not points:
        return Numbers(comma=True)
    if clear or doubtful:
        also = f" and {points!r}" if points else ""
        raise DescriptorError(
            path,
            f"found {clear or doubtful!r}{also}: a comma may be a decimal one, or set thousands "
            "apart",
            "save it with decimal points, and without marks between thousands",
        )
    return Numbers()


def is_number(cell: str, *, comma: bool = False) -> bool:
    """Tell whether a cell is a number, true or false; ``comma``: or one with a decimal comma."""
    if cell.casefold() in _TRUTH or (comma and _COMMA.fullmatch(cell)):
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python takes 1_000 for a number; nobody else does


def is_whole(cell: str) -> bool:
    """Tell whether a cell is a whole number without a sign, such as an id."""
    return _WHOLE.fullmatch(cell) is not None


def counts(cells: Sequence[str]) -> bool:
    """Tell whether cells read 0, 1, 2, ... or 1, 2, 3, ..."""
    start = cells[0] if cells else ""
    return start in ("0", "1") and all(
        cell == str(number) for number, cell in enumerate(cells, int(start))
    )


def require_numbers(
    path: Path,
    lines: Sequence[tuple[int, Sequence[str]]],
    columns: Sequence[str] | None,
    start: int,
    numbers: Numbers,
) -> None:
    """Refuse cells that are no numbers.

    Args:
        path: of the table.
        lines: line number and cells of every class.
        columns: names of all columns, or None.
        start: the first column of numbers.
        numbers: how they are written.

    Raises:
        DescriptorError: says whether a whole column holds words, or nothing, or one cell does.

    """
    for number, cells in lines:
        for column in range(start, len(cells)):
            if not numbers.has(cells[column]):
                called = f"column {column + 1}"
                if columns is not None and columns[column]:
                    called = f"column {columns[column]!r}"
                whole = [(line, cells[column]) for line, cells in lines]
                raise _odd_column(path, called, whole, numbers) or _odd_cell(
                    path, number, called, cells[column]
                )


def _odd_cell(path: Path, number: int, called: str, cell: str) -> DescriptorError:
    found = f"found {cell!r}" if cell else "found an empty cell"
    pair = pair_of([cell])
    hint = _for_percent(cell) or "fill in every attribute"
    if pair is not None and pair != MARK:
        hint = in_numbers(pair)
    return DescriptorError(path, f"line {number}: expected a number, {found} in {called}", hint)


def _for_percent(cell: str) -> str | None:
    """Say how to write a percentage; None where the cell holds none."""
    found = _PERCENT.fullmatch(cell)
    if found is None:
        return None
    return f"write {float(found[1].replace(',', '.')) / 100:g} for {cell}"


def _odd_column(
    path: Path, called: str, lines: Sequence[tuple[int, str]], numbers: Numbers
) -> DescriptorError | None:
    """Say what is wrong with a column most of which are no numbers; None where most are."""
    cells = [cell for _, cell in lines]
    if len(cells) < 3 or 2 * sum(numbers.has(cell) for cell in cells) >= len(cells):
        return None
    words = list(dict.fromkeys(cell for cell in cells if cell and not numbers.has(cell)))
    if not words:
        return DescriptorError(
            path, f"{called} is empty", "fill it in, or take it out of the table"
        )
    shown = ", ".join(repr(word[:40]) for word in words[:3]) + (", ..." if words[3:] else "")
    if rank(called[len("column ") :].strip("'")):
        return DescriptorError(
            path,
            f"{called} holds words ({shown}), expected numbers",
            "class names belong into the first column: move it there",
        )
    hint = _for_percent(words[0])
    pair = pair_of([cell for cell in cells if cell and not numbers.has(cell)])
    if hint is None and pair is not None:
        return _mixed(path, called, lines, pair, shown)
    if hint is None and len(words) == len(cells):
        hint = (
            "class names belong into the first column, sentences about classes into a file for "
            "--names, with --encoder; take it out of this one"
        )
    elif hint is None:
        hint = "make a column of 0 and 1 for each of these words, or take it out of the table"
    return DescriptorError(path, f"{called} holds words ({shown}), expected numbers", hint)


def _mixed(
    path: Path, called: str, lines: Sequence[tuple[int, str]], pair: tuple[str, str], shown: str
) -> DescriptorError:
    """Return the error about a column that says yes and no, but not everywhere."""
    odd = next((line for line in lines if line[1].casefold() not in pair), None)
    problem = f"{called} holds words ({shown}), expected numbers"
    if odd is not None and pair != MARK:
        cell = repr(odd[1][:40]) if odd[1] else "an empty cell"
        problem = f"line {odd[0]}: found {cell} in {called}, expected {pair[0]} or {pair[1]}"
    return DescriptorError(path, problem, in_numbers(pair))

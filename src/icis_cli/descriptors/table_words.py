"""What people write into the cells of a table instead of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Words for yes and no, in small letters; spreadsheets write the last four by themselves.
ANSWERS = (
    ("yes", "no"), ("y", "n"), ("ja", "nein"), ("j", "n"), ("oui", "non"),
    ("true", "false"), ("wahr", "falsch"), ("vrai", "faux"),
)  # fmt: skip

#: A cross for yes, nothing for no.
MARK = ("x", "")

#: What stands for a value that is not there.
_MISSING = frozenset({
    "", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nil", "missing", "unknown", "?", "-",
    "--", ".",
})  # fmt: skip

#: These are no names of columns wherever they stand; shorter ones may be.
_PLAIN = _MISSING | {"yes", "no"}
_WORDS = frozenset(word for pair in ANSWERS for word in pair)


def is_answer(cell: str) -> bool:
    """Tell whether a cell says yes or no in a word, or has a cross."""
    return cell.casefold() in _WORDS or cell.casefold() == MARK[0]


def are_values(cells: Iterable[str], below: Iterable[str]) -> bool:
    """Tell whether all cells are what people write for a value: none is the name of a column.

    Args:
        cells: of the first line.
        below: of the other lines. Only where words for yes and no are there too are those in the
            first line taken for such: a column may be called ``y``.

    """
    plain = [cell.casefold() for cell in cells]
    if all(cell in _PLAIN for cell in plain):
        return True
    return all(cell in _PLAIN or is_answer(cell) for cell in plain) and any(map(is_answer, below))


def pair_of(words: Sequence[str]) -> tuple[str, str] | None:
    """Return the words for yes and no that most of ``words`` are; None where most are others."""
    plain = [word.casefold() for word in words]
    times = {pair: sum(word in pair for word in plain) for pair in (*ANSWERS, MARK)}
    pair = max(times, key=times.__getitem__)
    return pair if 2 * times[pair] > len(words) else None


def in_numbers(pair: tuple[str, str]) -> str:
    """Say how to write yes and no as numbers."""
    return f"replace {pair[0]} by 1, {pair[1] or 'an empty cell'} by 0"

"""Descriptors as word2vec, fastText and GloVe write vectors: a line per class, name then numbers.

A first line ``N d`` may tell how many there are. A name may have spaces in it: the numbers after it
are as many as that line says, or as most lines have. After a tab, there are only numbers.
"""

from __future__ import annotations

import itertools
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from icis_cli.descriptors.base import Descriptors, checked, names_alone
from icis_cli.descriptors.text_files import encoding_of, no_text
from icis_cli.errors import DescriptorError

#: Nobody has so many classes: these are the words of a language.
_MANY = 100_000

#: From so many lines it is seen how many numbers a line has.
_SAMPLE = 1000

_WAY_OUT = "give one line per class: the name, then its numbers, separated by spaces"


def read_word_text(path: Path) -> Descriptors:
    """Read descriptors (C, d) with their names.

    Raises:
        DescriptorError: no text, a line without a name or with fewer numbers than others, or
            other lines than the first one tells of.

    """
    try:
        with path.open(encoding=encoding_of(path)) as stream:
            first = next((line.split() for line in stream if line.strip()), [])
            counts = tuple(int(word) for word in first) if _is_counts(first) else None
            stream.seek(0)
            width = counts[1] if counts else _width(_lines(path, stream))
            if not width and not counts:
                raise names_alone(path)
            stream.seek(0)
            lines = itertools.islice(_lines(path, stream), 1 if counts else 0, None)
            names, values = _parsed(path, lines, width)
    except UnicodeError as error:
        raise no_text(path, error, "text") from None
    if counts and counts[0] != len(names):
        raise DescriptorError(
            path,
            f"its first line tells of {counts[0]} classes, found {len(names)}",
            "copy or download it again",
        )
    if not counts and all(_is_number(name) for name in names):
        raise DescriptorError(
            path, "holds numbers alone, expected names before them", f"{_WAY_OUT}, or a .csv"
        )
    found = checked(path, np.frombuffer(values, np.float32).reshape(len(names), width), names)
    if len(names) < _MANY:
        return found
    many = f"{path}: every one of its {len(names)} words is taken for a class"
    return replace(found, warnings=(*found.warnings, many))


def _is_counts(words: list[str]) -> bool:
    return len(words) == 2 and all(
        word.isascii() and word.isdecimal() and len(word) < 10 for word in words
    )


def _lines(path: Path, stream: Iterable[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Yield number, name as far as a tab tells it, and words of every line that is not empty."""
    empty = True
    for number, line in enumerate(stream, start=1):
        name, tab, rest = line.strip("\r\n").partition("\t")
        words = (rest if tab else line).split()
        if words:
            empty = False
            yield number, name.strip() if tab else "", words
    if empty:
        raise DescriptorError(path, "is empty, expected one line per class")


def _width(lines: Iterable[tuple[int, str, list[str]]]) -> int:
    """Return how many numbers most of the first lines end with."""
    counts: Counter[int] = Counter()
    for _, name, words in itertools.islice(lines, _SAMPLE):
        numbers = itertools.takewhile(_is_number, reversed(words if name else words[1:]))
        counts[sum(1 for _ in numbers)] += 1
    return max(sorted(counts), key=counts.__getitem__)


def _parsed(
    path: Path, lines: Iterable[tuple[int, str, list[str]]], width: int
) -> tuple[list[str], array[float]]:
    names: list[str] = []
    values = array("f")
    for number, name, words in lines:
        rest, numbers = words[: len(words) - width], words[len(words) - width :]
        if len(words) < width or bool(name) == bool(rest):
            there = len(words) - (not name)
            raise DescriptorError(
                path, f"line {number} has {there} numbers, expected {width} as others", _WAY_OUT
            )
        try:
            values.extend(map(float, numbers))
        except ValueError:
            odd = next(word for word in numbers if not _is_number(word))
            raise DescriptorError(
                path, f"line {number}: expected {width} numbers at its end, found {odd!r}", _WAY_OUT
            ) from None
        names.append(name or " ".join(rest))
    return names, values


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True

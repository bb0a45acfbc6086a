"""What columns of class names are called, and which column of a table names its classes.

Every format that has named columns asks here, so that the same table says the same in all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from icis_cli.errors import DescriptorError
from icis_cli.words import listed

#: Lists of class names that a file has beside a matrix; where several fit, the first counts.
NAME_LISTS = (
    "class_names", "classes", "allclasses_names", "categories", "species", "names", "label_names",
    "labels",
)  # fmt: skip

#: What a column of class names is called, as :func:`_plain` writes it.
_NAMES = frozenset({
    "class", "classes", "classname", "classnames", "name", "names", "label", "labels", "labelname",
    "labelnames", "species", "speciesname", "category", "categories", "categoryname",
    "allclassesnames",
})  # fmt: skip

#: What a column is called that tells classes apart by numbers or by codes of a catalogue.
_CLASS_IDS = frozenset({
    "classid", "classidx", "classindex", "classnumber", "classno", "labelid", "labelidx",
    "labelindex", "categoryid", "speciesid", "wnid", "synset", "synsetid", "wordnetid",
})  # fmt: skip
_IDS = frozenset({"id", "ids"})

#: What a column of line numbers is called, the one that pandas writes without being asked included.
_INDEX = re.compile(r"|index|idx|unnamed\d+|indexlevel\d+|rowid|rownumber")


def _plain(header: str) -> str:
    """Return a header without capitals, spaces and marks; one of marks alone as it is."""
    return re.sub(r"[\W_]+", "", header.casefold()) or header.strip()


def rank(header: str) -> int:
    """Tell how surely a column of this name names the classes.

    Returns:
        4 for names, 3 for numbers of classes, 2 for ``id``, 1 for numbers of lines, 0 for others.

    """
    plain = _plain(header)
    if plain in _NAMES:
        return 4
    if plain in _CLASS_IDS:
        return 3
    if plain in _IDS:
        return 2
    return int(_INDEX.fullmatch(plain) is not None)


def is_index(header: str) -> bool:
    """Tell whether a column of this name numbers the lines."""
    return rank(header) == 1


def is_name(header: str) -> bool:
    """Tell whether a column of this name holds class names, not only numbers of classes."""
    return rank(header) == 4


@dataclass(frozen=True)
class Choice:
    """Which column names the classes, and what becomes of others that might.

    Attributes:
        names: the column of class names, or None.
        aside: columns that number classes or lines, which are no attributes.
        kept: columns that are called like names, but must be attributes.
        numbered: whether the names are numbers.

    """

    names: str | None
    aside: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    numbered: bool = False

    def notes(self) -> list[str]:
        """Say what a person may want to check."""
        told = []
        if self.aside:
            who = "the first column" if self.names == "" else repr(self.names)
            who = "" if self.names is None else f" ({who} names the classes)"
            told.append(f"not used as attributes: {listed(self.aside)}{who}")
        elif self.numbered and self.names is not None and not is_name(self.names):
            told.append(f"the numbers in {self.names!r} are taken for class names")
        if self.kept:
            why = "their numbers repeat, or are not whole"
            told.append(f"used as attributes, as {why}: {listed(self.kept)}")
        return told


def choose_names(
    path: Path,
    kinds: Mapping[str, str],
    whole: Callable[[str], bool],
    differ: Callable[[str], bool],
) -> Choice:
    """Return which column names the classes, where the order of the columns says nothing.

    Args:
        path: of the table.
        kinds: ``"text"``, ``"number"`` or something else, for each column.
        whole: whether a column of numbers holds whole ones alone.
        differ: whether no two of its numbers are equal.

    Raises:
        DescriptorError: several columns may name the classes.

    """
    texts = [header for header, kind in kinds.items() if kind == "text"]
    known = [header for header, kind in kinds.items() if kind == "number" and rank(header)]
    numbers = [header for header in known if whole(header)]
    if not texts:
        names = _surest(path, [header for header in numbers if rank(header) > 1])
        aside = [header for header in numbers if header != names]
    else:
        called = _surest(path, [header for header in texts if rank(header)])
        if called is None and len(texts) > 1:
            raise _several(path, texts, "of text")
        names = called if called is not None else texts[0]
        aside = [header for header in numbers if is_index(header) or differ(header)]
    kept = [header for header in known if header not in aside and header != names]
    return Choice(names, tuple(aside), tuple(kept), numbered=names in numbers)


def _surest(path: Path, headers: Sequence[str]) -> str | None:
    best = max(map(rank, headers), default=0)
    found = [header for header in headers if rank(header) == best]
    if len(found) > 1:
        raise _several(path, found, "that may name the classes")
    return found[0] if found else None


def _several(path: Path, headers: Sequence[str], what: str) -> DescriptorError:
    return DescriptorError(
        path,
        f"has {len(headers)} columns {what}: {listed(headers)}, expected one of class names",
        "call it 'class', or write a file without the others",
    )

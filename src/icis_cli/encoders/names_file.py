"""Files of class names, with synonyms or describing sentences.

``.txt``: one class a line, synonyms after ``|``. ``.csv`` and ``.tsv``: the columns ``name`` and
``text``; of a class with several lines all texts count. ``.json``: ``{"name": ["synonym", ...]}``
or ``{"name": "text"}``.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from icis_cli.descriptors.base import check_names
from icis_cli.descriptors.names import simplified
from icis_cli.descriptors.text_files import encoding_in, no_text
from icis_cli.encoders.base import NamedClass
from icis_cli.errors import DescriptorError

_LARGEST = 1 << 28

_NAME_COLUMNS = ("name", "class", "classes", "class_name", "label")
_TEXT_COLUMNS = ("text", "texts", "description", "descriptions")


def read_names(path: Path | str) -> tuple[NamedClass, ...]:
    """Read a names file.

    Raises:
        DescriptorError: it is missing, no text, or names a class twice or not at all.

    """
    path = Path(path)
    text = read_text(path)
    suffix = path.suffix.casefold()
    if suffix == ".json":
        classes = _from_json(path, text)
    elif suffix in (".csv", ".tsv"):
        classes = _from_table(path, text)
    else:
        classes = [_from_line(path, *line) for line in enumerate(text.splitlines(), 1) if line[1]]
    if not classes:
        raise DescriptorError(path, "names no class", "one class name a line")
    check_names(path, [one.name for one in classes], len(classes))
    return tuple(classes)


def read_text(path: Path) -> str:
    """Read a file of UTF-8 text, up to 256 MiB; blank lines become empty.

    Raises:
        DescriptorError: it is missing, larger, or no text.

    """
    if not path.is_file():
        problem = "is no regular file" if path.exists() else "no such file"
        raise DescriptorError(path, problem, "check the path given to --names or --encoder")
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except OSError as error:
        raise DescriptorError(path, f"cannot be read: {error.strerror or error}") from None
    if len(content) > _LARGEST:
        raise DescriptorError(path, "is larger than 256 MiB, expected a text file")
    try:
        lines = content.decode(encoding_in(content)).splitlines()
    except UnicodeError as error:
        raise no_text(path, error) from None
    return "\n".join(line if line.strip() else "" for line in lines)


@dataclass(frozen=True)
class Listed:
    """The classes to describe: those of a names file, and the known ones where it lacks them.

    Attributes:
        classes: the known ones first, where they had to be added.
        notes: what was added, and what is known already.

    """

    classes: tuple[NamedClass, ...]
    notes: tuple[str, ...] = ()


def with_known(path: Path, listed: Sequence[NamedClass], known: Sequence[str] | None) -> Listed:
    """Put the classes that the classifier knows before the listed ones, if the list is of new ones.

    It is where it has less than half of the known ones. Those that it has all the same are not
    new: they keep their place among the known ones, with the synonyms and texts of the list.

    Args:
        path: the names file, for messages.
        listed: what it holds.
        known: names of the classifier's classes, where something tells them.

    Raises:
        DescriptorError: the list has some known classes and nothing else.

    """
    if known is None:
        return Listed(tuple(listed))
    both = _known_among(listed, known)
    if 2 * len(both) >= len(known):
        return Listed(tuple(listed))
    new = tuple(one for one in listed if one not in both.values())
    names = [repr(one.name) for one in both.values()]
    shown = ", ".join(names[:5]) + (", ..." if names[5:] else "")
    if not new:
        raise DescriptorError(
            path,
            f"lists no new class: the classifier knows {shown} already",
            "list the classes to add, one a line",
        )
    notes = [f"{path} lists new classes alone; the {len(known)} known ones have names"]
    if both:
        already = f"{path}: the classifier knows {len(both)} of its {len(listed)} classes already"
        others = f"{path} does not list the other {len(known) - len(both)} known classes"
        notes = [f"{already}, so they are not new: {shown}", f"{others}; they have names"]
    described = (replace(both.get(name, NamedClass(name)), name=name) for name in known)
    return Listed((*described, *new), tuple(notes))


def _known_among(listed: Sequence[NamedClass], known: Sequence[str]) -> dict[str, NamedClass]:
    """Return the known classes that are listed, by their known names.

    Those spelt alike come first: ImageNet has a dog Cardigan and a garment cardigan.
    """
    exact = {one.name: one for one in listed}
    found = {name: exact[name] for name in known if name in exact}
    loose = {simplified(one.name): one for one in listed if one.name not in found}
    for name in known:
        if name not in found and simplified(name) in loose:
            found[name] = loose.pop(simplified(name))
    return found


def _from_line(path: Path, number: int, line: str) -> NamedClass:
    name, *synonyms = (part.strip() for part in line.split("|"))
    if not name or not all(synonyms):
        raise DescriptorError(
            path,
            f"line {number}: found an empty name beside a '|'",
            "write: name | synonym | another synonym",
        )
    return NamedClass(name, tuple(dict.fromkeys(synonyms)))


def _from_table(path: Path, text: str) -> list[NamedClass]:
    first = text.lstrip("\n").partition("\n")[0]
    separator = max(("\t", ";", ","), key=first.count)
    try:
        # strict: a quote that is never closed would swallow all classes below it
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    except csv.Error as error:
        raise DescriptorError(
            path, f"is no readable text table ({error})", "save it as CSV in UTF-8"
        ) from None
    header = [cell.casefold() for cell in lines[0][1]] if lines else []
    name, told = _column(header, _NAME_COLUMNS), _column(header, _TEXT_COLUMNS)
    if name is None or told is None:
        raise DescriptorError(
            path,
            f"its first line is {', '.join(map(repr, header[:4])) or 'empty'}, expected a column "
            "'name' and a column 'text'",
            "names alone, with synonyms after '|', go into a .txt; numbers are for --attrs",
        )
    texts: dict[str, list[str]] = {}
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise DescriptorError(
                path, f"line {number} has {len(cells)} cells, expected {len(header)}"
            )
        if not cells[name] or not cells[told]:
            raise DescriptorError(path, f"line {number}: the name or the text is empty")
        so_far = texts.setdefault(cells[name], [])
        if cells[told] in so_far:
            raise DescriptorError(path, f"line {number}: {cells[name]!r} has this text already")
        so_far.append(cells[told])
    return [NamedClass(key, texts=tuple(value)) for key, value in texts.items()]


def _column(header: Sequence[str], names: Iterable[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _from_json(path: Path, text: str) -> list[NamedClass]:
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise DescriptorError(path, f"is no readable JSON ({error})") from None
    if not isinstance(content, dict):
        raise DescriptorError(
            path, "expected one object", 'give {"name": ["synonym", ...]} or {"name": "text"}'
        )
    return [_from_entry(path, name.strip(), value) for name, value in content.items()]


def _from_entry(path: Path, name: str, value: Any) -> NamedClass:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(v, str) and v.strip() for v in given):
        raise DescriptorError(
            path,
            f"class {name!r}: expected a list of synonyms, or one text",
            'give {"name": ["synonym", ...]} or {"name": "text"}',
        )
    texts = tuple(dict.fromkeys(one.strip() for one in given))
    return NamedClass(name, texts=texts) if isinstance(value, str) else NamedClass(name, texts)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a class that occurs twice: plain JSON parsing would drop the first silently."""
    twice = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
    if twice:
        raise ValueError(f"the key {twice[0]!r} occurs twice")
    return dict(pairs)

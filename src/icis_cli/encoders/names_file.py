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
from pathlib import Path
from typing import Any

from icis_cli.descriptors.base import check_names
from icis_cli.descriptors.names import simplified
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
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DescriptorError(path, f"is no text ({error})", "save it in UTF-8") from None
    return "\n".join(line if line.strip() else "" for line in lines)


def with_known(
    listed: Sequence[NamedClass], known: Sequence[str] | None
) -> tuple[tuple[NamedClass, ...], bool]:
    """Put the classes that the classifier knows before the listed ones, if none of them is listed.

    Args:
        listed: what a names file holds.
        known: names of the classifier's classes, where something tells them.

    Returns:
        All classes, and whether the known ones had to be added.

    """
    if known is None:
        return tuple(listed), False
    there = {simplified(one.name) for one in listed}
    if any(simplified(name) in there for name in known):
        return tuple(listed), False
    return (*(NamedClass(name) for name in known), *listed), True


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

"""Word vectors as text: GloVe (no header) and word2vec (``N d`` in the first line).

Such files have millions of lines, so one pass keeps only the words that class names need.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from icis_cli.arrays import FloatArray, unit_rows
from icis_cli.encoders.base import Encoded, Encoder, Encoding, NamedClass, codes_warning
from icis_cli.errors import DescriptorError
from icis_cli.words import listed

KIND = "word vectors"
SUFFIXES = (".txt", ".vec", ".glove")

_CHUNK = 1 << 24

#: No word has so many numbers: a longer line is no line.
_LONGEST = 1 << 20

_INNER = re.compile(r"[^\w]+")
_EDGES = ".,;:!?()[]\"'"

#: The vectors of words, as they are spelt in the file.
_Vectors = dict[bytes, FloatArray]


def is_one(path: Path) -> bool:
    """Tell whether a path is that of word vectors."""
    return path.suffix.casefold() in SUFFIXES


def open_encoder(encoding: Encoding, *, download: bool) -> Encoder:  # noqa: ARG001 - always local
    """Return the encoder; the file is read when there are names.

    Raises:
        DescriptorError: it is not there.

    """
    path = Path(encoding.path)
    if not path.is_file():
        raise DescriptorError(path, "is no file of word vectors")
    return WordVectors(encoding)


@dataclass(frozen=True)
class WordVectors:
    """A file of word vectors."""

    encoding: Encoding

    def encode(self, classes: Sequence[NamedClass], path: Path) -> Encoded:
        """Describe each class by the mean direction of its names, each the mean of its words.

        A name is looked for as a whole first (``sea_lion``), then word by word. Texts count for
        half, as in prompts.
        """
        source = Path(self.encoding.path)
        terms = {term for one in classes for term in (*one.terms, *one.texts)}
        wanted = {key for term in terms for key in _every_spelling(term)}
        found, digest = _read(source, wanted)
        lost: Counter[str] = Counter()
        rows = [_row(one, found, lost) for one in classes]
        unknown = [one.name for one, row in zip(classes, rows, strict=True) if row is None]
        if unknown:
            raise DescriptorError(
                source,
                f"has no word of {len(unknown)} class(es) of {path}: "
                f"{listed([repr(name) for name in unknown])}",
                "write a name of known words after it: name | other name",
            )
        values = np.stack([row for row in rows if row is not None])
        return Encoded(
            values,
            replace(self.encoding, digest=digest),
            _lost_note(source, lost, len(classes)),
            codes_warning(path, classes),
        )


def _lost_note(source: Path, lost: Counter[str], count: int) -> tuple[str, ...]:
    if not lost:
        return ()
    shown = listed([repr(word) for word, _ in lost.most_common()], 10)
    text = (
        f"{source}: {len(lost)} words in the names of {count} classes have no vector and do not "
        f"count: {shown}"
    )
    return (text,)


def _row(one: NamedClass, found: _Vectors, lost: Counter[str]) -> FloatArray | None:
    """Return the vector (d,) of a class, None where no word of it is known."""
    means = [_mean(texts, found, lost) for texts in (one.terms, one.texts)]
    known = [mean for mean in means if mean is not None]
    return _direction(known) if known else None


def _mean(texts: Iterable[str], found: _Vectors, lost: Counter[str]) -> FloatArray | None:
    vectors = []
    for text in texts:
        vector = _vector(text, found, lost)
        if vector is not None:
            vectors.append(vector)
    return _direction(vectors) if vectors else None


def _direction(vectors: Sequence[FloatArray]) -> FloatArray:
    mean: FloatArray = unit_rows(unit_rows(np.stack(vectors)).mean(axis=0, keepdims=True))[0]
    return mean


def _vector(text: str, found: _Vectors, lost: Counter[str]) -> FloatArray | None:
    """Return the vector of a name: its own, or the mean of those of its words."""
    whole = _first(_phrases(text), found)
    if whole is not None:
        return whole
    vectors: list[FloatArray] = []
    for word in text.split():
        own = _first(_spellings(word), found)
        parts = [_first(_spellings(part), found) for part in _inner(word)] if own is None else [own]
        known = [part for part in parts if part is not None]
        if not known:
            lost[word] += 1
        vectors += known
    return np.stack(vectors).mean(axis=0) if vectors else None


def _first(keys: Iterable[bytes], found: _Vectors) -> FloatArray | None:
    return next((found[key] for key in keys if key in found), None)


def _every_spelling(text: str) -> Iterator[bytes]:
    yield from _phrases(text)
    for word in text.split():
        yield from _spellings(word)
        for part in _inner(word):
            yield from _spellings(part)


def _phrases(text: str) -> Iterator[bytes]:
    """Yield what a name of several words may be called: ``sea_lion``, ``Sea_Lion`` and so on."""
    words = text.split()
    if len(words) < 2:
        return
    for mark in "_-":
        yield from _spellings(mark.join(words))
        yield mark.join(word.capitalize() for word in words).encode()


def _spellings(word: str) -> Iterator[bytes]:
    bare = word.strip(_EDGES)
    lower = bare.lower()
    for form in dict.fromkeys((word, bare, lower, lower.removesuffix("'s"), lower.capitalize())):
        if form:
            yield form.encode()


def _inner(word: str) -> list[str]:
    """Return the parts of a word with a hyphen or the like in it."""
    parts = [part for part in _INNER.split(word) if part]
    return parts if len(parts) > 1 else []


def _read(path: Path, wanted: set[bytes]) -> tuple[_Vectors, str]:
    """Return the vectors of the words that are wanted, and the sha256 of the file.

    Raises:
        DescriptorError: a line is damaged, or the file ends early.

    """
    digest = hashlib.sha256()
    found: _Vectors = {}
    width, promised, number = 0, None, 0
    for number, line in enumerate(_lines(path, digest), 1):
        fields = line.count(b" ") + 1
        if number == 1:
            promised = _header(line)
            width = fields - 1 if promised is None else promised[1]
            if promised is None and not _is_vector(line):
                raise DescriptorError(
                    path,
                    "is no file of word vectors: the first line is no word with numbers after it",
                    "expected GloVe's or word2vec's text format",
                )
            if promised is not None:
                continue
        if fields <= width:
            raise DescriptorError(
                path,
                f"line {number} has {fields - 1} numbers, expected {width}"
                + ("" if fields > 1 else " after a word and a space"),
                "the file is damaged or was cut off: get it again",
            )
        # A few words of GloVe's largest file have a space in them.
        word = line[: line.index(b" ")] if fields == width + 1 else line.rsplit(b" ", width)[0]
        if word in wanted and word not in found:
            found[word] = _numbers(path, number, line[len(word) :], width)
    if promised is not None and number - 1 != promised[0]:
        raise DescriptorError(
            path,
            f"holds {number - 1} words, but its first line says {promised[0]}",
            "the file was cut off: get it again",
        )
    if not number:
        raise DescriptorError(path, "is empty, expected a word and its numbers a line")
    return found, digest.hexdigest()


def _lines(path: Path, digest: hashlib._Hash) -> Iterator[bytes]:
    """Yield the lines that hold something, without white space at their ends."""
    rest = b""
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                lines = (rest + chunk).split(b"\n")
                rest = lines.pop()
                if len(rest) > _LONGEST:
                    raise DescriptorError(path, "is no text of lines, expected word vectors")
                yield from (line.rstrip() for line in lines)
    except OSError as error:
        raise DescriptorError(path, f"cannot be read: {error.strerror or error}") from None
    if rest.strip():
        yield rest.rstrip()


def _header(line: bytes) -> tuple[int, int] | None:
    """Return N and d of a first line of word2vec; None where it is that of a word."""
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() and len(part) < 12 for part in parts):
        return None
    return int(parts[0]), int(parts[1])


def _is_vector(line: bytes) -> bool:
    _, *numbers = line.split(b" ")
    try:
        return len(numbers) > 1 and all(np.isfinite(float(number)) for number in numbers)
    except ValueError:
        return False


def _numbers(path: Path, number: int, text: bytes, width: int) -> FloatArray:
    parts = text.split()
    try:
        with np.errstate(over="ignore"):
            vector = np.array([float(part) for part in parts], dtype=np.float32)
    except ValueError:
        vector = np.full(width, np.nan, np.float32)
    if vector.shape != (width,) or not np.isfinite(vector).all() or not vector.any():
        raise DescriptorError(
            path,
            f"line {number}: expected {width} finite numbers that are not all zero",
            "the file is damaged: get it again",
        )
    return vector

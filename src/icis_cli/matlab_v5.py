"""MATLAB v5 files of untrusted origin: matrices of numbers, texts, and cells of these.

Read here and not with scipy, whose reader ends the whole process on some damaged files (a type
code out of range is a segmentation fault). Every size is checked against what is there before it
is used.

Format: MathWorks, "MAT-File Format", chapter 1 (level 5).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

import numpy as np

from icis_cli.errors import FileError

#: Byte order of the numbers in a file.
Order = Literal["little", "big"]

_AGAIN = "download it again, or save it in MATLAB with: save(..., '-v7')"

#: Type codes of stored numbers, and of text by how it is encoded.
_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15

#: Array classes.
_CELL, _CHAR, _NUMERIC, _OPAQUE = 1, 4, range(6, 16), 17
_OTHER = {
    2: "a struct", 3: "an object", 5: "a sparse matrix", 16: "a function",
    _OPAQUE: "an object (as string arrays and tables are)",
}  # fmt: skip
_COMPLEX = 0x0800

#: Cells may lie in cells this deep.
_DEPTH = 4

#: Bytes that compressed arrays may become: so many in any case, and so many for each of their own.
_ALWAYS, _INFLATION = 1 << 26, 200

#: Enough for the header of a variable.
_HEAD = 4096


class _DamagedError(Exception):
    """The structure of the file is broken."""


class _RefusedError(Exception):
    """The file is whole, but holds what is not read."""


@dataclass(frozen=True)
class _Header:
    """What comes before the values of an array; ``start`` is where they begin."""

    name: str
    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    start: int


def load(path: Path, wanted: Collection[str], kind: type[FileError]) -> dict[str, Any]:
    """Load the named variables that a file holds: see ``matlab.load_arrays``."""
    found = {}
    with _told(path, kind), path.open("rb") as stream:
        order = _read_file_header(stream)
        for tag in _variables(stream, order=order):
            header = _header(_payload(stream, tag, _HEAD, order), order)
            if header.name in wanted and header.name not in found:
                data = _payload(stream, tag, None, order)
                found[header.name] = _value(data, header, order, _DEPTH)
    return found


def shapes(path: Path, kind: type[FileError]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every variable by name: see ``matlab.list_arrays``."""
    with _told(path, kind), path.open("rb") as stream:
        order = _read_file_header(stream)
        headers = [
            _header(_payload(stream, tag, _HEAD, order), order)
            for tag in _variables(stream, order=order)
        ]
    return {header.name: header.shape for header in headers}


@contextmanager
def _told(path: Path, kind: type[FileError]) -> Iterator[None]:
    """Turn what goes wrong into an error of that ``kind``."""
    try:
        yield
    except (_DamagedError, _RefusedError, zlib.error, OSError, MemoryError) as error:
        raise kind(path, *described(error)) from None


def described(error: Exception) -> tuple[str, ...]:
    """Return problem and hint."""
    if isinstance(error, _RefusedError):
        return error.args
    if isinstance(error, FileNotFoundError):
        return ("no such file",)
    if isinstance(error, MemoryError):
        return "is too large for the memory, or damaged", _AGAIN
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return f"is no readable MATLAB v5 file ({reason})", _AGAIN


def _read_file_header(stream: BufferedReader) -> Order:
    """Read the file's header and return the byte order of its numbers."""
    start = stream.read(128)
    if start[126:128] not in (b"IM", b"MI"):
        raise _DamagedError("its header is another")
    stream.seek(128)
    return "little" if start[126:128] == b"IM" else "big"


@dataclass(frozen=True)
class _Tag:
    """One variable in the file: type code, and where its ``size`` bytes start."""

    kind: int
    start: int
    size: int


def _variables(stream: BufferedReader, *, order: Order) -> Iterator[_Tag]:
    """Yield the file's variables; every one is checked to lie within the file."""
    end = stream.seek(0, 2)
    at = 128
    while at < end:
        stream.seek(at)
        tag = stream.read(8)
        kind, size = _integer(tag[:4], order), _integer(tag[4:], order)
        if len(tag) < 8 or at + 8 + size > end:
            raise _DamagedError("it ends early")
        if kind in (_MATRIX, _COMPRESSED):
            yield _Tag(kind, at + 8, size)
        at += 8 + size


def _payload(stream: BufferedReader, tag: _Tag, most: int | None, order: Order) -> memoryview:
    """Return the content of a variable, its first ``most`` bytes, or all with None."""
    stream.seek(tag.start)
    if tag.kind == _MATRIX:
        plain = bytearray(tag.size if most is None else min(most, tag.size))
        if stream.readinto(plain) != len(plain):
            raise _DamagedError("it ends early")
        return memoryview(plain)
    packed = stream.read(tag.size if most is None else min(2 * most, tag.size))
    inflate = zlib.decompressobj()
    start = inflate.decompress(packed, 8)
    size = _integer(start[4:], order)
    if len(start) < 8 or _integer(start[:4], order) != _MATRIX:
        raise _DamagedError("a compressed variable holds no matrix")
    if size > _ALWAYS + _INFLATION * tag.size:
        raise _DamagedError(f"a variable of {tag.size} bytes tells of {size}, far more than likely")
    if most is not None:
        return memoryview(inflate.decompress(inflate.unconsumed_tail, min(most, max(size, 1))))
    content, at = memoryview(bytearray(size)), 0
    while at < size:
        part = inflate.decompress(inflate.unconsumed_tail, min(size - at, 1 << 20))
        if not part:
            raise _DamagedError("a compressed variable ends early")
        content[at : at + len(part)] = part
        at += len(part)
    # zlib checks its sum when it has read to the end.
    inflate.decompress(inflate.unconsumed_tail, 1)
    return content


def _integer(data: bytes | memoryview, order: Order) -> int:
    return int.from_bytes(data, order)


def _element(data: memoryview, at: int, order: Order) -> tuple[int, memoryview, int]:
    """Return type code and content of the element at ``at``, and where the next one starts."""
    if at + 8 > len(data):
        raise _DamagedError("a variable ends early")
    kind = _integer(data[at : at + 4], order)
    if kind >> 16:  # up to four bytes lie within the tag
        kind, size, start, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        if size > 4:
            raise _DamagedError("a short element is too long")
    else:
        size, start = _integer(data[at + 4 : at + 8], order), at + 8
        after = start + size + -size % 8
    if start + size > len(data):
        raise _DamagedError("a variable ends early")
    return kind, data[start : start + size], after


def _header(data: memoryview, order: Order) -> _Header:
    """Read flags, shape and name of an array."""
    _, flags, at = _element(data, 0, order)
    bits = _integer(flags[:4], order)
    kind, dims, after = _element(data, at, order)
    if bits & 0xFF == _OPAQUE:  # these have a name only
        return _Header(bytes(dims).decode("latin-1"), _OPAQUE, is_complex=False, shape=(), start=at)
    if len(flags) != 8 or kind != 5 or len(dims) % 4 or not 8 <= len(dims) <= 128:
        raise _DamagedError("the header of a variable is broken")
    shape = tuple(_integer(dims[i : i + 4], order) for i in range(0, len(dims), 4))
    _, name, start = _element(data, after, order)
    text = bytes(name).decode("latin-1")
    return _Header(text, bits & 0xFF, bool(bits & _COMPLEX), shape, start)


def _value(data: memoryview, header: _Header, order: Order, depth: int) -> Any:
    """Return the values of an array, whose content ``data`` is."""
    count = math.prod(header.shape)
    if header.kind == _CELL:
        return _cells(data, header, order, depth)
    if header.is_complex or (header.kind != _CHAR and header.kind not in _NUMERIC):
        what = "complex" if header.is_complex else _OTHER.get(header.kind, "of an unknown class")
        raise _RefusedError(
            f"{header.name!r} is or holds {what}, expected a full matrix of real numbers, or texts"
        )
    kind, content, _ = _element(data, header.start, order)
    if header.kind == _CHAR:
        return _text(kind, content, header.shape, order)
    if kind not in _NUMBERS:
        raise _DamagedError(f"numbers have type code {kind}")
    dtype = np.dtype(_NUMBERS[kind]).newbyteorder(order)
    if len(content) != count * dtype.itemsize:
        raise _DamagedError(f"{len(content)} bytes for {count} numbers of {dtype.itemsize}")
    return _shaped(np.frombuffer(content, dtype=dtype), header.shape)


def _cells(data: memoryview, header: _Header, order: Order, depth: int) -> Any:
    """Return the cells of a cell array, each with its own value."""
    count, at = math.prod(header.shape), header.start
    if depth == 0 or count * 8 > len(data):
        raise _DamagedError("a cell array is broken")
    found = np.empty(count, dtype=object)
    for number in range(count):
        kind, content, at = _element(data, at, order)
        if kind != _MATRIX:
            raise _DamagedError(f"a cell has type code {kind}")
        if len(content):
            inner = replace(_header(content, order), name=header.name)
            found[number] = _value(content, inner, order, depth - 1)
        else:
            found[number] = np.empty((0, 0))
    return _shaped(found, header.shape)


def _text(kind: int, content: memoryview, shape: tuple[int, ...], order: Order) -> Any:
    """Return the one line of a text as str, several lines as an object array of them."""
    if kind not in _TEXTS:
        raise _DamagedError(f"a text has type code {kind}")
    encoding = _TEXTS[kind]
    if kind in (4, 17, 18):
        encoding += "-le" if order == "little" else "-be"
    text = bytes(content).decode(encoding, errors="replace")
    if shape[0] <= 1 or not text:
        return text
    if len(text) != math.prod(shape):
        raise _DamagedError("a text has another length than its shape")
    lines = np.empty(shape[0], dtype=object)  # stored column by column
    lines[:] = [text[line :: shape[0]] for line in range(shape[0])]
    return lines


def _shaped(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return values.reshape(shape, order="F")
    except ValueError:  # a length of 0 beside others whose product is beyond numpy
        raise _DamagedError(f"no array can have the shape {shape}") from None

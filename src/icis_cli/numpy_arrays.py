"""Arrays of ``.npy`` and ``.npz`` files, mapped into memory where they lie; never a pickle.

An ``.npz`` that ``numpy.savez`` wrote holds its arrays as they are, so that they can be mapped like
a ``.npy``. What is compressed, no float or in Fortran's order is read. No header is believed: what
an array claims to hold is compared with what is there before any memory is asked for.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from icis_cli.errors import FileError, first_line

#: A local header of a zip file: 26 bytes that are not needed here, length of name and of extras.
_LOCAL_HEADER = struct.Struct("<26xHH")

#: Bytes that compressed arrays may become: so many in any case, and so many for each of their own.
_ALWAYS, _INFLATION = 1 << 26, 200


@dataclass(frozen=True)
class Header:
    """What the header of an array says, and where in its stream the numbers begin."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    end: int

    @property
    def size(self) -> int:
        """Bytes of all numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def is_mapped(self, least: int) -> bool:
        """Whether its rows are used where they lie: floats in order, at least so many bytes."""
        known = self.dtype.kind == "f" and self.dtype.itemsize in (2, 4, 8)
        return known and not self.fortran and self.size >= max(1, least)


def is_archive(path: Path, kind: type[FileError]) -> bool:
    """Tell whether a file is a zip file, as ``.npz`` files are; by its content.

    Raises:
        FileError: of that ``kind``: it cannot be read.

    """
    try:
        with path.open("rb") as stream:
            return stream.read(2) == b"PK"
    except OSError as error:
        raise kind(path, f"cannot be read ({error.strerror or error})") from None


def read_array(path: Path, kind: type[FileError], least: int = 0) -> NDArray[Any]:
    """Map the array of a ``.npy`` read-only, or read it where it cannot be mapped.

    Args:
        path: of the file.
        kind: of the error to raise, by what the file is to the caller.
        least: an array of fewer bytes is read in any case.

    Raises:
        FileError: of that kind: it is no such file, is damaged, or holds objects.

    """
    try:
        with path.open("rb") as stream:
            header = _header(stream, _size_of(stream))
            if header.is_mapped(least):
                return np.memmap(stream, header.dtype, "r", header.end, header.shape)
            stream.seek(0)
            return npy.read_array(stream, allow_pickle=False)
    except Exception as error:  # a damaged file can raise anything
        raise _unreadable(path, error, kind) from None


def list_members(path: Path, kind: type[FileError]) -> dict[str, Header]:
    """Return the headers of all arrays of an ``.npz`` by name; reads nothing else.

    Raises:
        FileError: of that ``kind``: it is no such file, is damaged, or holds objects.

    """
    headers: dict[str, Header] = {}
    with _archive(path, kind) as archive, path.open("rb") as stream:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name != info.filename:
                with _told(path, name, kind):
                    headers[name] = _header_of(archive, info, stream)
    return headers


def read_members(
    path: Path, names: Sequence[str], kind: type[FileError], least: int = 0
) -> list[NDArray[Any]]:
    """Map, or read, arrays of an ``.npz``; ``kind`` and ``least`` are as in :func:`read_array`.

    Raises:
        FileError: of that kind: it is no such file, is damaged, lacks an array, or holds objects.

    """
    with _archive(path, kind) as archive, path.open("rb") as stream:
        there = [name.removesuffix(".npy") for name in archive.namelist()]
        if not set(names) <= set(there):
            wanted = " and ".join(f"'{name}'" for name in names)
            what = "arrays" if len(names) > 1 else "an array"
            raise kind(path, f"expected {what} {wanted}, found {', '.join(there) or 'nothing'}")
        arrays: list[NDArray[Any]] = []
        for name in names:
            with _told(path, name, kind):
                arrays.append(_member(archive, archive.getinfo(f"{name}.npy"), stream, least))
    return arrays


def _archive(path: Path, kind: type[FileError]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # a damaged file can raise anything
        raise _unreadable(path, error, kind) from None


@contextmanager
def _told(path: Path, name: str, kind: type[FileError]) -> Iterator[None]:
    """Turn whatever a damaged member raises into an error about it."""
    try:
        yield
    except Exception as error:
        raise kind(path, f"'{name}' cannot be read ({first_line(error)})") from None


def _unreadable(path: Path, error: Exception, kind: type[FileError]) -> FileError:
    return kind(
        path,
        f"is no readable numpy file ({first_line(error)})",
        "save plain numbers with numpy.save or numpy.savez",
    )


def _member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, stream: IO[bytes], least: int
) -> NDArray[Any]:
    """Return one array of an archive, which ``stream`` reads, too."""
    header = _header_of(archive, info, stream)
    if header.is_mapped(least) and info.compress_type == zipfile.ZIP_STORED:
        # What is mapped is not compared with the checksum that zip files have: that would read
        # all of it, which is what the map is to save. Its place in the file is checked instead.
        start = _data_of(info, stream)
        if start + info.file_size > _size_of(stream):
            raise ValueError("it ends beyond the file")
        return np.memmap(stream, header.dtype, "r", start + header.end, header.shape)
    with archive.open(info) as member:
        array: NDArray[Any] = npy.read_array(member, allow_pickle=False)
        member.read(1)  # the end is where zipfile compares the checksum
    return array


def _header_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo, stream: IO[bytes]) -> Header:
    """Read the header of a member that may be as large as its directory entry says."""
    most = min(info.compress_size, _size_of(stream))
    if info.compress_type == zipfile.ZIP_DEFLATED:
        most = _ALWAYS + most * _INFLATION
    elif info.compress_type != zipfile.ZIP_STORED:
        raise ValueError("it is compressed in a way that numpy does not write")
    with archive.open(info) as member:  # refuses encryption, and a local header of another name
        return _header(member, min(info.file_size, most))


def _size_of(stream: IO[bytes]) -> int:
    return os.fstat(stream.fileno()).st_size


def _data_of(info: zipfile.ZipInfo, stream: IO[bytes]) -> int:
    """Return where in the file a stored member's bytes begin."""
    if info.compress_size != info.file_size:
        raise ValueError("it is stored, but has another size in the archive")
    stream.seek(info.header_offset)
    name, extra = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    # The lengths in the directory at the end of the file may differ from these.
    return info.header_offset + _LOCAL_HEADER.size + int(name) + int(extra)


def _header(stream: IO[bytes], available: int) -> Header:
    """Read the header of an array, and refuse one that the bytes there are cannot bear out.

    Args:
        stream: at its beginning.
        available: bytes of header and numbers.

    Raises:
        ValueError: it is no header, claims more than there is, or announces objects.

    """
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(stream)
    if version not in read:
        raise ValueError(f"version {version} of the format, expected 1.0 or 2.0")
    shape, fortran, dtype = read[version](stream)
    header = Header(shape, fortran, dtype, stream.tell())
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if min(shape, default=0) < 0 or header.end + header.size > available:
        raise ValueError(
            f"its header tells of {shape} {dtype}, far more than there is in {available} bytes"
        )
    return header

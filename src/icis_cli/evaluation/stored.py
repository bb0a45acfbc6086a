"""Arrays of ``.npy`` and ``.npz`` files, mapped into memory where they lie; never a pickle.

An ``.npz`` that ``numpy.savez`` wrote holds its arrays as they are, so that they can be mapped like
a ``.npy``. What is compressed, no float or in Fortran's order is read.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from icis_cli.errors import FeatureError, first_line

#: A local header of a zip file: 26 bytes that are not needed here, length of name and of extras.
_LOCAL_HEADER = struct.Struct("<26xHH")


@dataclass(frozen=True)
class _Header:
    """What the header of an array says, and where in its stream the numbers begin."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    end: int

    @property
    def size(self) -> int:
        """Bytes of all numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def mappable(self) -> bool:
        """Whether rows of it can be used where they lie."""
        known = self.dtype.kind == "f" and self.dtype.itemsize in (2, 4, 8)
        return known and not self.fortran and self.size > 0


def is_archive(path: Path) -> bool:
    """Tell whether a file is a zip file, as ``.npz`` files are; by its content."""
    try:
        with path.open("rb") as stream:
            return stream.read(2) == b"PK"
    except OSError as error:
        raise FeatureError(path, f"cannot be read ({error.strerror or error})") from None


def read_array(path: Path) -> NDArray[Any]:
    """Map the array of a ``.npy`` read-only, or read it where it cannot be mapped.

    Raises:
        FeatureError: it is no such file, is damaged, or holds objects.

    """
    try:
        with path.open("rb") as stream:
            header = _header(stream, os.fstat(stream.fileno()).st_size)
            if header.mappable:
                return np.memmap(stream, header.dtype, "r", header.end, header.shape)
            stream.seek(0)
            return npy.read_array(stream, allow_pickle=False)
    except Exception as error:  # a damaged file can raise anything
        raise _unreadable(path, error, "numpy.save(path, array)") from None


def read_members(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Map, or read, arrays of an ``.npz``.

    Raises:
        FeatureError: it is no such file, is damaged, lacks an array, or holds objects.

    """
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # a damaged file can raise anything
        raise _unreadable(path, error, "numpy.savez(path, features=..., labels=...)") from None
    with archive, path.open("rb") as stream:
        there = [name.removesuffix(".npy") for name in archive.namelist()]
        if not set(names) <= set(there):
            wanted = " and ".join(f"'{name}'" for name in names)
            what = "arrays" if len(names) > 1 else "an array"
            raise FeatureError(
                path, f"expected {what} {wanted}, found {', '.join(there) or 'nothing'}"
            )
        arrays: list[NDArray[Any]] = []
        for name in names:
            try:
                arrays.append(_member(archive, archive.getinfo(f"{name}.npy"), stream))
            except Exception as error:  # a damaged archive can raise anything
                raise FeatureError(path, f"'{name}' cannot be read ({first_line(error)})") from None
    return arrays


def _unreadable(path: Path, error: Exception, way_out: str) -> FeatureError:
    problem = f"is no readable numpy file ({first_line(error)})"
    return FeatureError(path, problem, f"save plain numbers: {way_out}")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, stream: IO[bytes]) -> NDArray[Any]:
    """Return one array of an archive, which ``stream`` reads, too."""
    with archive.open(info) as member:  # refuses encryption, and a local header of another name
        header = _header(member, info.file_size)
    if header.mappable and info.compress_type == zipfile.ZIP_STORED:
        # What is mapped is not compared with the checksum that zip files have: that would read
        # all of it, which is what the map is to save. Its place in the file is checked instead.
        start = _data_of(info, stream)
        if start + info.file_size > os.fstat(stream.fileno()).st_size:
            raise ValueError("it ends beyond the file")
        return np.memmap(stream, header.dtype, "r", start + header.end, header.shape)
    with archive.open(info) as member:
        array: NDArray[Any] = npy.read_array(member, allow_pickle=False)
        member.read(1)  # the end is where zipfile compares the checksum
    return array


def _data_of(info: zipfile.ZipInfo, stream: IO[bytes]) -> int:
    """Return where in the file a stored member's bytes begin."""
    if info.compress_size != info.file_size:
        raise ValueError("it is stored, but has another size in the archive")
    stream.seek(info.header_offset)
    name, extra = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    # The lengths in the directory at the end of the file may differ from these.
    return info.header_offset + _LOCAL_HEADER.size + int(name) + int(extra)


def _header(stream: IO[bytes], available: int) -> _Header:
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
    header = _Header(shape, fortran, dtype, stream.tell())
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if min(shape, default=0) < 0 or header.end + header.size > available:
        raise ValueError(
            f"its header tells of {shape} {dtype}, but there are {available - header.end} bytes"
        )
    return header

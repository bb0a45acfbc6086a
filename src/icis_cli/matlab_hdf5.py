"""MATLAB v7.3 files of untrusted origin, which are HDF5: matrices, texts, and cells of these.

HDF5 has arrays without end that lie in no file, filters within filters, and links to other files.
What an array claims is compared with the bytes that are stored for it before it is read, the parts
of cells are counted together, and nothing outside the file is followed. MATLAB's arrays lie
transposed in it, a text is an array of UTF-16 units, and a cell array holds references.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from icis_cli.errors import FileError, first_line
from icis_cli.runtime import import_extra

#: Bytes that compressed arrays may become: so many in any case, and so many for each of their own.
_ALWAYS, _INFLATION = 1 << 26, 200

#: Filters that a dataset may have, each once: deflate, shuffle, a checksum.
_FILTERS = (1, 2, 3)

#: Cells may lie in cells this deep, and arrays may have so many dimensions.
_DEPTH, _DIMENSIONS = 4, 32

#: MATLAB's own groups.
_INTERNAL = ("#refs#", "#subsystem#")

_TEXTS = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}
_NUMERIC = (
    "double", "single", "logical", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
    "uint64", "",
)  # fmt: skip

_AGAIN = "download it again, or save it in MATLAB with: save(..., '-v7')"


class _DamagedError(Exception):
    """The structure of the file is broken."""


class _RefusedError(Exception):
    """The file is whole, but holds what is not read."""


def load(path: Path, wanted: Collection[str], kind: type[FileError]) -> dict[str, Any]:
    """Load the named variables that a file holds: see ``matlab.load_arrays``."""
    with _opened(path, kind) as file:
        reader = _Reader(file, path.stat().st_size)
        return {
            name: reader.value(_member(file, name), name, _DEPTH)
            for name in _names(file)
            if name in wanted
        }


def shapes(path: Path, kind: type[FileError]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every variable by name: see ``matlab.list_arrays``."""
    with _opened(path, kind) as file:
        found = {name: _member(file, name) for name in _names(file)}
        return {
            name: tuple(reversed(getattr(part, "shape", None) or ()))
            for name, part in found.items()
        }


@contextmanager
def _opened(path: Path, kind: type[FileError]) -> Iterator[Any]:
    """Open a file, and turn what goes wrong with it into an error of that ``kind``."""
    h5py = import_extra("h5py", "mat", f"{path}: a MATLAB v7.3 file")
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except _RefusedError as error:
        raise kind(path, str(error)) from None
    except MemoryError:
        raise kind(path, "is too large for the memory, or damaged", _AGAIN) from None
    except Exception as error:  # a damaged file can raise anything
        problem = f"is no readable MATLAB v7.3 file ({first_line(error)})"
        raise kind(path, problem, _AGAIN) from None


def _names(file: Any) -> Iterator[str]:
    return (name for name in file if name not in _INTERNAL)


def _member(file: Any, name: str) -> Any:
    """Return a variable that lies in the file itself."""
    link = file.get(name, getlink=True)
    if type(link).__name__ != "HardLink":
        raise _DamagedError(f"{name!r} is a link to elsewhere")
    return file[name]


class _Reader:
    """Reads values, and counts what they come to.

    Attributes:
        file: an open ``h5py.File``.
        size: its bytes.
        left: how many bytes all values may still come to.
        cells: how many cells there may still be.

    """

    def __init__(self, file: Any, size: int) -> None:
        self.file = file
        self.size = size
        self.left = _ALWAYS + _INFLATION * size
        self.cells = size // 8  # each has its own reference

    def value(self, stored: Any, name: str, depth: int) -> Any:
        """Return the value of a variable, or of a cell of it."""
        what = _class_of(stored)
        if not hasattr(stored, "shape"):
            sparse = "MATLAB_sparse" in stored.attrs
            raise _refused(name, "a sparse matrix" if sparse else _described(what))
        if stored.dtype.kind in "cV":
            raise _refused(name, "complex")
        if _attribute(stored, "MATLAB_empty"):
            return self._empty(stored, what)
        if what == "cell" or (not what and _holds_references(stored)):
            return self._cells(stored, name, depth)
        if what == "char":
            return _text(self._numbers(stored))
        if what not in _NUMERIC or stored.dtype.kind not in "fiub":
            raise _refused(name, _described(what))
        return self._numbers(stored)

    def _cells(self, stored: Any, name: str, depth: int) -> Any:
        if not _holds_references(stored):
            raise _DamagedError("a cell array holds no references")
        self.cells -= stored.size
        if depth == 0 or self.cells < 0:
            raise _DamagedError("a cell array is broken")
        references = self._numbers(stored)
        found = np.empty(references.size, dtype=object)
        for number, reference in enumerate(references.ravel()):
            if not reference:
                raise _DamagedError("a cell refers to nothing")
            cell = self.file[reference]
            # Other programs leave the class of texts out; cells of such numbers are not met with.
            is_text = getattr(cell, "dtype", None) == np.uint16 and not _class_of(cell)
            found[number] = (
                _text(self._numbers(cell)) if is_text else self.value(cell, name, depth - 1)
            )
        return found.reshape(references.shape)

    def _empty(self, stored: Any, what: str) -> Any:
        """Return an array that has a length of 0, and whose shape is kept as its values."""
        if stored.size > _DIMENSIONS:
            raise _DamagedError("an empty array has too many dimensions")
        if what == "char":
            return ""
        shape = tuple(int(length) for length in self._numbers(stored).ravel())
        if math.prod(shape) or min(shape, default=0) < 0 or max(shape, default=0) > 2**31:
            raise _DamagedError("an empty array is none")
        return np.empty(shape, dtype=object if what == "cell" else np.float64)

    def _numbers(self, stored: Any) -> Any:
        """Read a dataset as MATLAB has it, if what is stored for it can come to so much."""
        if stored.shape is None or stored.is_virtual or stored.external:
            raise _DamagedError("an array lies outside the file")
        settings = stored.id.get_create_plist()
        filters = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
        if len(set(filters)) < len(filters) or not set(filters) <= set(_FILTERS):
            raise _DamagedError(f"an array is packed by filters {filters}")
        # Where nothing is packed there is room for chunks, which may end beyond their array.
        grown = min(stored.id.get_storage_size(), self.size) * (_INFLATION if filters else 1)
        needed = stored.dtype.itemsize * math.prod(stored.shape)
        chunk = stored.dtype.itemsize * math.prod(stored.chunks or ())
        self.left -= needed
        if max(needed, chunk) > _ALWAYS + grown or self.left < 0:
            raise _DamagedError(f"an array of {needed} bytes is more than it can hold")
        return np.asarray(stored[()]).T


def _holds_references(stored: Any) -> bool:
    return "ref" in (stored.dtype.metadata or {})


def _class_of(stored: Any) -> str:
    """Return MATLAB's name of its class, ``""`` where another program left it out."""
    if "MATLAB_object_decode" in stored.attrs:
        return "object"
    found = _attribute(stored, "MATLAB_class")
    return found.decode("ascii", "replace") if isinstance(found, bytes) else str(found or "")


def _attribute(stored: Any, name: str) -> Any:
    """Return a short attribute, or None."""
    if name not in stored.attrs:
        return None
    if stored.attrs.get_id(name).get_storage_size() > 256:
        raise _DamagedError(f"{name} is too long")
    return stored.attrs[name]


def _text(units: Any) -> Any:
    """Return the one line of a text as str, several lines as an object array of them."""
    if units.dtype.kind != "u" or units.dtype.itemsize not in _TEXTS or units.ndim > 2:
        raise _DamagedError(f"a text is {units.shape} {units.dtype}")
    size = units.dtype.itemsize
    lines = np.atleast_2d(units).astype(f"<u{size}")
    found = [line.tobytes().decode(_TEXTS[size], errors="replace") for line in lines]
    if len(found) == 1:
        return found[0]
    several = np.empty(len(found), dtype=object)
    several[:] = found
    return several


def _described(what: str) -> str:
    known = {"struct": "a struct", "function_handle": "a function"}
    return known.get(what, "an object (as string arrays and tables are)")


def _refused(name: str, what: str) -> _RefusedError:
    return _RefusedError(
        f"{name!r} is or holds {what}, expected a full matrix of real numbers, or texts"
    )

"""MATLAB files of untrusted origin: matrices of numbers, texts, and cells of these.

There are two formats under the one suffix: ``matlab_v5`` and ``matlab_hdf5`` (v7.3).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from icis_cli import matlab_hdf5, matlab_v5
from icis_cli.errors import FileError

_HDF5 = b"\x89HDF\r\n\x1a\n"


def load_arrays(path: Path, wanted: Collection[str], kind: type[FileError]) -> dict[str, Any]:
    """Load the named variables that a file holds.

    Args:
        path: of the file.
        wanted: names of variables; others are skipped.
        kind: of the error to raise, by what the file is to the caller.

    Returns:
        What was found of them: matrices as numpy arrays of the dtype in which they are stored,
        cells as object arrays, a text as str, several lines of text as an object array of str.

    Raises:
        FileError: of that kind: missing, no MATLAB file, damaged, or too large for the memory; or
            a variable asked for is complex, sparse, a struct or an object.
        InstallationError: it is a v7.3 file, and h5py is not installed.

    """
    read = matlab_hdf5.load if _is_hdf5(path, kind) else matlab_v5.load
    return read(path, wanted, kind)


def list_arrays(path: Path, kind: type[FileError]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every variable by name; reads headers only.

    Raises:
        FileError: of that kind: missing, no MATLAB file, or damaged.
        InstallationError: it is a v7.3 file, and h5py is not installed.

    """
    read = matlab_hdf5.shapes if _is_hdf5(path, kind) else matlab_v5.shapes
    return read(path, kind)


def _is_hdf5(path: Path, kind: type[FileError]) -> bool:
    """Tell the format by the content: HDF5 begins behind 512 bytes of MATLAB's own, or at once."""
    try:
        with path.open("rb") as stream:
            start = stream.read(520)
    except OSError as error:
        raise kind(path, *matlab_v5.described(error)) from None
    is_new = start[124:126] in (b"\x00\x02", b"\x02\x00") and len(start) >= 128
    return is_new or _HDF5 in start


def texts(cells: Any) -> tuple[str, ...] | None:
    """Return the strings of a cell array or of a text, stripped; None where a cell is no text."""
    found = []
    for cell in np.asarray(cells, dtype=object).ravel():
        text = cell
        while isinstance(text, np.ndarray) and text.size == 1:
            text = text.ravel()[0]
        if not isinstance(text, str):
            return None
        found.append(text.strip())
    return tuple(found)

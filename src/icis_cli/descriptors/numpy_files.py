"""Descriptors in ``.npy`` and ``.npz``; object arrays (pickles) are never loaded."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from icis_cli.descriptors.base import Descriptors, checked
from icis_cli.errors import DescriptorError, first_line

#: A ``.npy`` larger than this is mapped, so that it need not fit into memory.
_MAPPED = 1 << 26

#: Names that the arrays of an ``.npz`` commonly have, in the order in which they are looked for.
_VALUES = ("descriptors", "attributes", "attrs", "att", "embeddings", "vectors", "features")
_NAMES = ("names", "classes", "class_names", "categories", "allclasses_names")


def load_array(path: Path) -> Any:
    """Open a ``.npy`` or ``.npz`` without unpickling anything; a large ``.npy`` is mapped.

    Raises:
        DescriptorError: it is missing or not such a file.

    """
    try:
        with path.open("rb") as stream:
            if stream.read(2) != b"PK":
                if path.stat().st_size > _MAPPED:
                    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
                stream.seek(0)
                return np.load(stream, allow_pickle=False)
        with zipfile.ZipFile(path):  # numpy would leave a damaged archive open
            pass
        return np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged file can raise anything
        raise DescriptorError(
            path,
            f"is no readable numpy file ({first_line(error)})",
            "save plain numbers: numpy.save(path, array)",
        ) from None


def read_numpy(path: Path) -> Descriptors:
    """Read what numpy wrote; its content tells whether it is one array or several."""
    loaded = load_array(path)
    return checked(path, loaded) if isinstance(loaded, np.ndarray) else _read_archive(path, loaded)


def _read_archive(path: Path, archive: Any) -> Descriptors:
    """Read a matrix (C, d), and names if there is a text array of one of the usual names."""
    with archive:
        try:
            arrays = {name: archive[name] for name in archive.files}
        except Exception as error:  # a damaged file can raise anything
            raise DescriptorError(path, f"cannot be read ({first_line(error)})") from None
    matrices = [n for n, array in arrays.items() if array.ndim == 2 and array.dtype.kind in "fiub"]
    chosen = next((name for name in _VALUES if name in matrices), None)
    if chosen is None and len(matrices) == 1:
        chosen = matrices[0]
    if chosen is None:
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
        raise DescriptorError(
            path,
            f"expected one matrix of numbers or an array named 'descriptors', found {found}",
        )
    names = next((arrays[n] for n in _NAMES if n in arrays and arrays[n].dtype.kind in "US"), None)
    columns = arrays.get("columns")
    return checked(
        path,
        arrays[chosen],
        None if names is None else texts(names),
        texts(columns) if columns is not None and columns.dtype.kind in "US" else None,
    )


def texts(array: Any) -> list[str]:
    """Turn a text array of any shape into a list of strings; odd bytes are escaped."""
    return [
        n.decode(errors="backslashreplace") if isinstance(n, bytes) else str(n)
        for n in array.ravel().tolist()
    ]

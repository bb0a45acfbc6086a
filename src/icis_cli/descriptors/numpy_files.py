"""Descriptors in ``.npy`` and ``.npz``; object arrays (pickles) are never loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from icis_cli.descriptors.base import Descriptors, checked
from icis_cli.errors import DescriptorError

#: Names that the arrays of an ``.npz`` commonly have, in the order in which they are looked for.
_VALUES = ("descriptors", "attributes", "attrs", "att", "embeddings", "vectors", "features")
_NAMES = ("names", "classes", "class_names", "categories", "allclasses_names")


def load_array(path: Path) -> Any:
    """Open a ``.npy`` or ``.npz`` without unpickling anything.

    Raises:
        DescriptorError: it is missing or not such a file.

    """
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError) as error:
        raise DescriptorError(
            path,
            f"is no readable numpy file ({str(error).splitlines()[0][:160]})",
            "save plain numbers: numpy.save(path, array)",
        ) from None


def read_npy(path: Path) -> Descriptors:
    """Read a matrix (C, d) without names."""
    return checked(path, load_array(path))


def read_npz(path: Path) -> Descriptors:
    """Read a matrix (C, d), and names if there is a text array of one of the usual names."""
    with load_array(path) as archive:
        try:
            arrays = {name: archive[name] for name in archive.files}
        except (ValueError, OSError, EOFError) as error:
            raise DescriptorError(path, f"cannot be read ({error})") from None
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
    """Turn a text array of any shape into a list of strings."""
    return [n.decode() if isinstance(n, bytes) else str(n) for n in array.ravel().tolist()]

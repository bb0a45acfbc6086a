"""Descriptors in ``.npy`` and ``.npz``; object arrays (pickles) are never loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from icis_cli.descriptors.base import Descriptors, checked
from icis_cli.errors import DescriptorError
from icis_cli.numpy_arrays import is_archive, list_members, read_array, read_members

#: An array of more bytes than this is mapped where it can be, so that it need not fit into memory.
_MAPPED = 1 << 26

#: Names that the arrays of a file commonly have, in the order in which they are looked for.
VALUES = ("descriptors", "attributes", "attrs", "att", "embeddings", "vectors", "features")
NAMES = ("names", "classes", "class_names", "categories", "allclasses_names")


def read_numpy(path: Path) -> Descriptors:
    """Read what numpy wrote; its content tells whether it is one array or several.

    Raises:
        DescriptorError: it is no such file, damaged, or holds no matrix that can be told.

    """
    if not is_archive(path, DescriptorError):
        return checked(path, read_array(path, DescriptorError, _MAPPED))
    headers = list_members(path, DescriptorError)
    shapes = {name: header.shape for name, header in headers.items()}
    numbers = [name for name, header in headers.items() if header.dtype.kind in "fiub"]
    values = choose_matrix(path, shapes, numbers)
    texts_there = [name for name, header in headers.items() if header.dtype.kind in "US"]
    names = next((name for name in NAMES if name in texts_there), None)
    columns = "columns" if "columns" in texts_there else None
    wanted = [name for name in (values, names, columns) if name is not None]
    found = read_members(path, wanted, DescriptorError, _MAPPED)
    arrays = dict(zip(wanted, found, strict=True))
    return checked(
        path,
        arrays[values],
        None if names is None else texts(arrays[names]),
        None if columns is None else texts(arrays[columns]),
    )


def choose_matrix(
    path: Path, shapes: Mapping[str, tuple[int, ...]], numbers: Collection[str]
) -> str:
    """Return which array of a file holds the descriptors: by its name, or the only matrix.

    Args:
        path: of the file.
        shapes: of all its arrays.
        numbers: the names of those that hold real numbers.

    Raises:
        DescriptorError: none, or it cannot be told.

    """
    matrices = [name for name in numbers if len(shapes[name]) == 2]
    chosen = next((name for name in VALUES if name in matrices), None)
    if chosen is None and len(matrices) == 1:
        chosen = matrices[0]
    if chosen is None:
        listed = [f"{name} {shape}" for name, shape in shapes.items()]
        more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
        raise DescriptorError(
            path,
            "expected one matrix of numbers or an array named 'descriptors', found "
            + (", ".join(listed[:8]) + more or "nothing"),
        )
    return chosen


def texts(array: Any) -> list[str]:
    """Turn a text array of any shape into a list of strings; odd bytes are escaped."""
    return [
        n.decode(errors="backslashreplace") if isinstance(n, bytes) else str(n)
        for n in array.ravel().tolist()
    ]

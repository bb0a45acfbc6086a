"""Descriptors in ``.npy`` and ``.npz``; object arrays (pickles) are never loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from icis_cli.descriptors.base import Descriptors, checked
from icis_cli.descriptors.name_columns import NAME_LISTS, rank
from icis_cli.errors import DescriptorError
from icis_cli.numpy_arrays import is_archive, list_members, read_array, read_members
from icis_cli.words import listed

#: An array of more bytes than this is mapped where it can be, so that it need not fit into memory.
_MAPPED = 1 << 26

#: Names that the matrix of a file commonly has, in the order in which they are looked for.
VALUES = ("descriptors", "attributes", "attrs", "att", "embeddings", "vectors", "features")


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
    lists = [name for name in NAME_LISTS if name in texts_there]
    names = choose_list({name: prod(shapes[name]) for name in lists}, shapes[values][0])
    columns = "columns" if "columns" in texts_there else None
    wanted = [name for name in (values, names, columns) if name is not None]
    found = read_members(path, wanted, DescriptorError, _MAPPED)
    arrays = dict(zip(wanted, found, strict=True))
    headers_found = None if columns is None else texts(arrays[columns])
    require_columns(path, headers_found, shapes[values][1])
    others = [name for name in headers if name not in wanted]
    notes = unused(path, others, names)
    found_names = None if names is None else texts(arrays[names])
    told = checked(path, arrays[values], found_names, headers_found)
    return replace(told, notes=(*told.notes, *notes))


def choose_list(lengths: Mapping[str, int], count: int) -> str | None:
    """Return which list of names is that of the classes: the first that has as many.

    Args:
        lengths: of the lists, in the order in which they are looked for.
        count: how many classes there are.

    Returns:
        Its key; the first list where none has as many; None without any.

    """
    fitting = (name for name, length in lengths.items() if length == count)
    return next(fitting, next(iter(lengths), None))


def require_columns(path: Path, columns: Sequence[str] | None, width: int) -> None:
    """Refuse names of columns that are more or fewer than the columns.

    Raises:
        DescriptorError: naming both numbers.

    """
    if columns is not None and len(columns) != width:
        raise DescriptorError(
            path,
            f"'columns' holds {len(columns)} names for {width} columns",
            "one name per column, or leave 'columns' out",
        )


def unused(path: Path, others: Sequence[str], names: str | None) -> tuple[str, ...]:
    """Say which parts of a file that are called like names of classes are not used."""
    aside = [name for name in others if rank(name) > 1 or name.casefold() in NAME_LISTS]
    if not aside:
        return ()
    who = "" if names is None else f" ({names!r} names the classes)"
    return (f"{path}: not used: {', '.join(aside)}{who}",)


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
        found = [f"{name} {shape}" for name, shape in shapes.items()]
        raise DescriptorError(
            path,
            "expected one matrix of numbers or an array named 'descriptors', found "
            + (listed(found, 8) or "nothing"),
        )
    return chosen


def texts(array: Any) -> list[str]:
    """Turn a text array of any shape into a list of strings; odd bytes are escaped."""
    return [
        n.decode(errors="backslashreplace") if isinstance(n, bytes) else str(n)
        for n in array.ravel().tolist()
    ]

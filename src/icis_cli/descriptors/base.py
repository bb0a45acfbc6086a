"""What class descriptors are to the rest of the package, and the checks every file goes through."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.descriptors.names import is_text
from icis_cli.errors import DescriptorError
from icis_cli.lazy import blocks
from icis_cli.words import listed

if TYPE_CHECKING:
    from icis_cli.encoders.base import Encoding

#: Of fewer classes, such as those to add, a column that is the same for all says nothing.
_FEW = 8


@dataclass(frozen=True)
class View:
    """One descriptor file among those that describe the same classes.

    Attributes:
        path: where it was read from.
        width: how many of the columns are its own.
        columns: their names, or None.
        encoding: how they were made, where they were made of class names.
        unlisted: what a column stands for that the file does not list; None where it must list
            all.

    """

    path: Path
    width: int
    columns: tuple[str, ...] | None = None
    encoding: Encoding | None = None
    unlisted: float | None = None

    @property
    def name(self) -> str:
        """The file name, without folders."""
        return self.path.name


@dataclass(frozen=True)
class Descriptors:
    """One row of numbers per class.

    Attributes:
        values: (C, d) float32, finite.
        names: C class names, or None where the file has none.
        path: where they were read from; the first file, whose rows these are, where several were
            joined.
        columns: d names of the columns, or None.
        warnings: what is odd but no error, e.g. columns that are the same for all classes.
        notes: what a person may want to check, e.g. classes whose descriptors are equal.
        joined: the files whose columns stand side by side, where there are several.
        encoding: how they were made, where they were made of the class names in ``path``.
        unlisted: what an attribute stands for that a class does not list; None where each lists
            all.

    """

    values: FloatArray
    names: tuple[str, ...] | None
    path: Path
    columns: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    joined: tuple[View, ...] = ()
    encoding: Encoding | None = None
    unlisted: float | None = None

    @property
    def views(self) -> tuple[View, ...]:
        """The files in the order of their columns, at least one."""
        own = View(self.path, self.values.shape[1], self.columns, self.encoding, self.unlisted)
        return self.joined or (own,)

    def label(self, row: int) -> str:
        """Return what to call a row in messages: its name, or its number."""
        return f"row {row}" if self.names is None else self.names[row]

    def class_name(self, row: int, start: int = 0) -> str:
        """Return the class name of a row; ``class_<row>``, counted from ``start``, without one."""
        return f"class_{start + row}" if self.names is None else self.names[row]


def checked(
    path: Path,
    values: object,
    names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
) -> Descriptors:
    """Check what a reader found and make :class:`Descriptors` of it.

    Raises:
        DescriptorError: not a numeric matrix, fewer than 2 columns, NaN or infinity, rows of
            zeros, columns that are all constant, or names that do not fit or occur twice.

    """
    try:
        matrix = np.asarray(values)
    except ValueError:
        raise DescriptorError(path, "rows differ in length, expected a matrix") from None
    if matrix.dtype.kind not in "fiub" or matrix.ndim != 2:
        raise DescriptorError(
            path,
            f"expected a matrix of numbers (classes, attributes), found shape {matrix.shape} "
            f"of {matrix.dtype}",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        matrix = np.ascontiguousarray(matrix, dtype=np.float32)
    count, width = matrix.shape
    if names is not None:
        check_names(path, names, count)
    found = Descriptors(
        matrix,
        None if names is None else tuple(names),
        path,
        tuple(columns) if columns is not None and len(columns) == width else None,
    )
    if count == 0:
        raise DescriptorError(path, "holds no descriptor row")
    if width < 2:
        raise DescriptorError(
            path,
            f"a descriptor has {width} number(s), expected at least 2",
            "one number cannot tell classes apart: add attributes, or use text embeddings",
        )
    _check_values(found)
    constant = _constant(found.values)
    if len(constant) == width:
        raise DescriptorError(
            path,
            f"all {count} descriptors are equal (every column is constant)",
            "descriptors must tell the classes apart",
        )
    return replace(found, warnings=_of_columns(found, constant), notes=_of_equals(found))


def with_names(found: Descriptors, names: Sequence[str]) -> Descriptors:
    """Return descriptors whose classes have these names, in what is told about them too.

    Raises:
        DescriptorError: as :func:`check_names`, naming ``found.path``.

    """
    check_names(found.path, names, len(found.values))
    named = replace(found, names=tuple(names))
    old = _of_equals(found)
    others = (note for note in found.notes if note not in old)
    return replace(named, notes=(*_of_equals(named), *others))


def names_alone(path: Path) -> DescriptorError:
    """Return the error about a file that names classes and has no number for them."""
    return DescriptorError(
        path,
        "holds no numbers: it looks like a list of class names",
        f"to describe classes by their names, pass --names {path} with --encoder",
    )


def check_names(path: Path, names: Sequence[str], count: int) -> None:
    """Check that there is one name per row, none empty and none twice.

    Raises:
        DescriptorError: naming ``path``.

    """
    if len(names) != count:
        raise DescriptorError(
            path, f"{len(names)} class names for {count} descriptor rows", "one name per row"
        )
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise DescriptorError(
            path, f"class name {twice[0]!r} occurs {names.count(twice[0])} times, expected once"
        )
    odd = next((name for name in names if not is_text(name)), None)
    if odd is not None:
        raise DescriptorError(path, f"class name {odd!r} is no valid text")
    if any(not name for name in names):
        raise DescriptorError(path, f"row {names.index('')} has an empty class name")


def _check_values(found: Descriptors) -> None:
    """Check all values, block by block: a large file need not fit into memory."""
    zero: list[int] = []
    beyond: list[int] = []
    odd = 0
    first: tuple[int, int] | None = None
    for part, block in blocks(found.values):
        bad = ~np.isfinite(block)
        if bad.any():
            odd += int(bad.sum())
            row, column = (int(i) for i in np.argwhere(bad)[0])
            first = first or (part.start + row, column)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            squared = np.square(block).sum(axis=1)
            zero += (part.start + np.flatnonzero(~block.any(axis=1))).tolist()
        unfit = ~np.isfinite(squared) | (squared < np.finfo(np.float32).tiny)
        beyond += (part.start + np.flatnonzero(unfit)).tolist()
    if first is not None:
        row, column = first
        raise DescriptorError(
            found.path,
            f"{found.label(row)!s}, column {_column(found, column)}: NaN or infinite"
            + (f" (and {odd - 1} more such values)" if odd > 1 else "")
            + ", expected finite float32 numbers",
            "fill in or remove missing values",
        )
    if zero:
        raise DescriptorError(
            found.path,
            f"{len(zero)} descriptor row(s) are all zero: {_listed(found, zero)}",
            "a class without attributes cannot be learned: describe it or remove it",
        )
    if beyond:
        raise DescriptorError(
            found.path,
            f"the length of {len(beyond)} descriptor row(s) does not fit into float32: "
            f"{_listed(found, beyond)}",
            "multiply all attributes by a factor that brings them near 1",
        )


def _constant(values: FloatArray) -> IntArray:
    """Return the columns that hold one value only; none where there is one row."""
    if len(values) < 2:
        return np.empty(0, dtype=np.int64)
    varies = np.zeros(values.shape[1], dtype=bool)
    start = values[0].copy()
    for _, block in blocks(values):
        varies |= (block != start).any(axis=0)
    return np.flatnonzero(~varies)


def _column(found: Descriptors, column: int) -> str:
    return str(column) if found.columns is None else repr(found.columns[column])


def _listed(found: Descriptors, rows: Sequence[int] | np.ndarray, most: int = 5) -> str:
    return listed([found.label(int(row)) for row in rows], most)


def _of_columns(found: Descriptors, constant: IntArray) -> tuple[str, ...]:
    """Warn about columns that tell no classes apart; a few classes do not show that."""
    if not len(constant) or len(found.values) < _FEW:
        return ()
    shown = listed([_column(found, int(c)) for c in constant])
    columns = f"{len(constant)} of {found.values.shape[1]} columns are constant"
    return (f"{found.path}: {columns} and tell no classes apart: {shown}",)


def _of_equals(found: Descriptors) -> tuple[str, ...]:
    """Tell of classes with equal descriptors: a fault of those alone that are to be added."""
    equal = _equal_rows(found.values)
    if not equal:
        return ()
    shown = "; ".join(" = ".join(found.label(r) for r in rows[:4]) for rows in equal[:5])
    more = f" and {len(equal) - 5} more groups" if len(equal) > 5 else ""
    return (f"{found.path}: these classes cannot be told apart by the table: {shown}{more}",)


def _equal_rows(values: FloatArray) -> list[list[int]]:
    """Return the groups of rows that are equal bit by bit, in the order of their first rows."""
    digests = np.empty(len(values), dtype=np.uint64)  # 8 bytes a row, whatever its width
    for part, block in blocks(values):
        parts = b"".join(blake2b(row.tobytes(), digest_size=8).digest() for row in block)
        digests[part] = np.frombuffer(parts, dtype=np.uint64)
    _, first, group, counts = np.unique(
        digests, return_index=True, return_inverse=True, return_counts=True
    )
    rows = np.flatnonzero(counts[group] > 1)
    equal: dict[int, list[int]] = defaultdict(list)
    for row in rows.tolist():
        equal[int(first[group[row]])].append(row)
    return list(equal.values())

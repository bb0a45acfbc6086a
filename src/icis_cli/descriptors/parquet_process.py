"""The process that ``descriptors.parquet`` reads a file in: ``python -m ... FILE LIMIT``.

It writes one line of JSON to stdout, then the values (C, d) as float32; or only a line that says
what is wrong. Where pyarrow takes the process down, that is all it takes down.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.descriptors.name_columns import Choice, choose_names
from icis_cli.errors import DescriptorError, first_line
from icis_cli.words import listed

#: Rows that are read at once.
_BATCH = 4096


@dataclass(frozen=True)
class Table:
    """What was read.

    Attributes:
        values: (C, d).
        names: C class names, or None.
        columns: d names of the columns, or None where the values were lists.
        notes: what was left aside.

    """

    values: FloatArray
    names: list[str] | None
    columns: tuple[str, ...] | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Columns:
    """What the columns of a file are taken for: those of numbers, or the one of lists; names."""

    values: tuple[str, ...]
    lists: bool
    names: str | None
    notes: tuple[str, ...]


def main(path: Path, limit: int) -> None:
    """Read ``path`` in ``limit`` bytes of memory, and write to stdout what was found."""
    from pyarrow import parquet

    with contextlib.suppress(ImportError, ValueError, OSError):  # not every system has limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        table = read(path, parquet)
    except DescriptorError as error:
        _say({"problem": error.problem, "hint": error.hint})
    except Exception as error:  # a damaged file can raise anything
        problem = f"is no readable Parquet file ({first_line(error)})"
        _say({"problem": problem, "hint": "write it anew"})
    else:
        _say({**vars(table), "values": None, "shape": table.values.shape})
        sys.stdout.buffer.write(np.ascontiguousarray(table.values).data)


def _say(told: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(told).encode() + b"\n")


def read(path: Path, parquet: Any) -> Table:
    """Read the columns that matter, in batches of rows.

    Raises:
        DescriptorError: they cannot be told apart, or rows differ in length.
        Exception: any of pyarrow's.

    """
    with parquet.ParquetFile(path) as file:
        found = _columns(path, file)
        if file.metadata.num_rows == 0:
            raise DescriptorError(path, "holds no descriptor row")
    names: list[str] = []
    blocks: list[FloatArray] = []
    shared = [] if found.names is None else [found.names]
    # A text that many rows have is held once this way.
    with parquet.ParquetFile(path, read_dictionary=shared) as file:
        for batch in file.iter_batches(_BATCH, columns=[*found.values, *shared], use_threads=False):
            if found.names is not None:
                names += _texts(path, batch.column(found.names), len(names))
            if found.lists:
                blocks.append(_matrix(path, batch.column(found.values[0])))
            else:
                blocks.append(np.stack([_floats(batch.column(n)) for n in found.values], axis=1))
    if len({block.shape[1] for block in blocks}) > 1:
        raise DescriptorError(path, "rows differ in length, expected a matrix")
    return Table(
        np.concatenate(blocks),
        None if found.names is None else names,
        None if found.lists else found.values,
        found.notes,
    )


def _columns(path: Path, file: Any) -> _Columns:
    """Tell the columns apart by their types and names."""
    schema = file.schema_arrow
    if len(set(schema.names)) < len(schema.names):
        raise DescriptorError(path, "has two columns of one name")
    kinds = {field.name: _kind(field.type) for field in schema}
    choice = _name_column(path, kinds, file)
    names = choice.names
    lists = [name for name, kind in kinds.items() if kind == "list"]
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    numbers = [name for name in numbers if name != names and name not in choice.aside]
    if len(lists) > 1:
        raise DescriptorError(
            path,
            f"has {len(lists)} columns of lists: {listed(lists)}, expected one",
            "write a file without the others",
        )
    values = lists or numbers
    if not values:
        found = listed([f"{field.name} ({field.type})"[:60] for field in schema])
        raise DescriptorError(
            path,
            f"expected columns of numbers, or one of lists of them, found {found or 'nothing'}",
        )
    aside = [name for name in kinds if name not in values and name != names]
    aside = [name for name in aside if lists or name not in choice.aside]
    notes = [f"not used: {listed(aside)}"] if aside else []
    notes += replace(choice, aside=(), kept=()).notes() if lists else choice.notes()
    return _Columns(tuple(values), bool(lists), names, tuple(notes))


def _kind(found: Any) -> str:
    """Return what a type is to us: ``"number"``, ``"list"`` of numbers, ``"text"``, ``"other"``."""
    from pyarrow import types

    if types.is_dictionary(found):
        found = found.value_type
    if types.is_string(found) or types.is_large_string(found):
        return "text"
    if _is_number(types, found):
        return "number"
    tests: tuple[Callable[[Any], bool], ...] = (
        types.is_list, types.is_large_list, types.is_fixed_size_list,
    )  # fmt: skip
    if any(test(found) for test in tests) and _is_number(types, found.value_type):
        return "list"
    return "other"


def _is_number(types: Any, found: Any) -> bool:
    return bool(types.is_integer(found) or types.is_floating(found) or types.is_boolean(found))


def _name_column(path: Path, kinds: dict[str, str], file: Any) -> Choice:
    from pyarrow import types

    schema = file.schema_arrow

    def whole(name: str) -> bool:
        return bool(types.is_integer(schema.field(name).type))

    def differ(name: str) -> bool:
        numbers = file.read(columns=[name], use_threads=False).column(0).to_numpy()
        return len(np.unique(numbers)) == len(numbers)

    return choose_names(path, kinds, whole, differ)


def _texts(path: Path, cells: Any, before: int) -> list[str]:
    """Return a column of names as texts; ``before`` is the number of rows before these."""
    if cells.null_count:
        row = before + cells.is_null().to_pylist().index(True)
        raise DescriptorError(path, f"row {row} has no class name")
    if not hasattr(cells, "dictionary"):
        return [str(cell) for cell in cells.to_pylist()]
    texts = [str(text) for text in cells.dictionary.to_pylist()]
    return [texts[number] for number in cells.indices.to_pylist()]


def _floats(column: Any) -> FloatArray:
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit is told as infinite
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float32)


def _matrix(path: Path, lists: Any) -> FloatArray:
    """Return a column of lists of numbers as (rows, d)."""
    lengths = set(lists.value_lengths().to_pylist())
    if len(lengths) != 1 or lists.null_count:
        raise DescriptorError(path, "rows differ in length, expected a matrix")
    return _floats(lists.flatten()).reshape(len(lists), lengths.pop())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

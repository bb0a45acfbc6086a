"""Descriptors in ``.safetensors``: one matrix, and class names in the text beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import HEAD_DTYPES, decode
from icis_cli.checkpoint.safetensors import SafetensorsCheckpoint
from icis_cli.descriptors.base import Descriptors, checked
from icis_cli.descriptors.name_columns import NAME_LISTS
from icis_cli.descriptors.numpy_files import (
    choose_list,
    choose_matrix,
    require_columns,
    unused,
)
from icis_cli.errors import CheckpointError, DescriptorError

#: Dtypes of whole numbers that numpy has, by their safetensors code.
_WHOLE = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8",
}  # fmt: skip


def read_safetensors(path: Path) -> Descriptors:
    """Read a matrix (C, d) that is the only one, or named like the arrays of an ``.npz``.

    Names of the classes are a JSON list under ``names``, ``classes`` or the like in the metadata,
    those of the columns under ``columns``.

    Raises:
        DescriptorError: no such file, damaged, or without a matrix that can be told.

    """
    try:
        stored = SafetensorsCheckpoint.open(path)
    except CheckpointError as error:
        raise DescriptorError(path, error.problem, error.hint) from None
    shapes = {key: info.shape for key, info in stored.tensors.items()}
    numbers = [
        key
        for key, info in stored.tensors.items()
        if info.dtype in _WHOLE or info.dtype in HEAD_DTYPES
    ]
    chosen = choose_matrix(path, shapes, numbers)
    values = _array(stored, chosen)
    lists = _lists(path, stored.metadata)
    names = choose_list({key: len(texts) for key, texts in lists.items()}, shapes[chosen][0])
    told = stored.metadata.get("columns")
    columns = None if told is None else _texts(told)
    if told is not None and columns is None:
        raise _no_list(path, "columns")
    require_columns(path, columns, shapes[chosen][1])
    others = [key for key in (*stored.tensors, *stored.metadata) if key not in (chosen, names)]
    found = checked(path, values, None if names is None else lists[names], columns)
    return replace(found, notes=(*found.notes, *unused(path, others, names)))


def _array(stored: SafetensorsCheckpoint, key: str) -> NDArray[Any]:
    info = stored.tensors[key]
    try:
        data = stored.raw(key)  # its size was compared with the file's when the header was read
    except CheckpointError as error:
        raise DescriptorError(stored.path, error.problem, error.hint) from None
    if info.dtype in _WHOLE:
        return np.frombuffer(data, dtype=_WHOLE[info.dtype]).reshape(info.shape)
    return decode(data, info.dtype, info.shape)


def _lists(path: Path, metadata: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the lists of texts under keys that are called like class names.

    Raises:
        DescriptorError: there is such a key, but no list.

    """
    there = [key for key in NAME_LISTS if key in metadata]
    found = {key: texts for key in there if (texts := _texts(metadata[key])) is not None}
    if there and not found:
        raise _no_list(path, there[0])
    return found


def _texts(text: str) -> list[str] | None:
    """Return a JSON list of texts, or None."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        return None
    return found


def _no_list(path: Path, key: str) -> DescriptorError:
    return DescriptorError(
        path, f"{key!r} in its metadata is no JSON list of texts", "one name per row"
    )

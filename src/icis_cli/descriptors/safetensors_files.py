"""Descriptors in ``.safetensors``: one matrix, and class names in the text beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import HEAD_DTYPES, decode
from icis_cli.checkpoint.safetensors import SafetensorsCheckpoint
from icis_cli.descriptors.base import Descriptors, checked
from icis_cli.descriptors.numpy_files import NAMES, choose_matrix
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
    values = _array(stored, choose_matrix(path, shapes, numbers))
    return checked(
        path,
        values,
        _list(path, stored.metadata, NAMES),
        _list(path, stored.metadata, ("columns",)),
    )


def _array(stored: SafetensorsCheckpoint, key: str) -> NDArray[Any]:
    info = stored.tensors[key]
    try:
        data = stored.raw(key)  # its size was compared with the file's when the header was read
    except CheckpointError as error:
        raise DescriptorError(stored.path, error.problem, error.hint) from None
    if info.dtype in _WHOLE:
        return np.frombuffer(data, dtype=_WHOLE[info.dtype]).reshape(info.shape)
    return decode(data, info.dtype, info.shape)


def _list(path: Path, metadata: Mapping[str, str], keys: Iterable[str]) -> list[str] | None:
    """Return the first list of texts under one of ``keys``, or None."""
    key = next((key for key in keys if key in metadata), None)
    if key is None:
        return None
    try:
        found = json.loads(metadata[key])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        raise DescriptorError(
            path, f"{key!r} in its metadata is no JSON list of texts", "one name per row"
        )
    return found

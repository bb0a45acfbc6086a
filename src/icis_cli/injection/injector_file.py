"""The file of an injector: float32 and int64 tensors, and one JSON text, as safetensors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import ITEM_SIZE, FloatArray
from icis_cli.checkpoint.base import TensorInfo
from icis_cli.checkpoint.safetensors import read_header, write_header
from icis_cli.errors import InjectorError
from icis_cli.lazy import blocks

METADATA_KEY = "icis"

#: Numbers from which on unseen descriptors are mapped, not read (64 MiB).
_MAPPED = 1 << 24


def write_tensors(
    stream: IO[bytes], tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Write float32 and int64 tensors as the safetensors library does, without copying them all."""
    codes = {np.dtype(np.float32): "F32", np.dtype(np.int64): "I64"}
    infos = {key: TensorInfo(codes[value.dtype], value.shape) for key, value in tensors.items()}
    order = sorted(infos, key=lambda key: (-ITEM_SIZE[infos[key].dtype], key))
    write_header(stream, {key: infos[key] for key in order}, order, metadata)
    for key in order:
        for _, block in blocks(tensors[key]):
            stream.write(np.ascontiguousarray(block).data)


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    """Return the JSON text, read, and all tensors.

    Raises:
        InjectorError: the file is missing or no such file.

    """
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        inside = path / "injector.safetensors"
        raise InjectorError(
            path,
            "is a folder, expected the file that icis fit wrote",
            f"name the file: {inside}" if inside.is_file() else "name the file, not its folder",
        )
    if not path.is_file():
        raise InjectorError(path, "no such file", "run icis fit first, or name it with --injector")
    try:
        with safe_open(path, framework="np") as content:
            text = (content.metadata() or {}).get(METADATA_KEY)
            if text is None:
                raise InjectorError(path, "is a safetensors file, but no injector")
            record = json.loads(text)
            tensors = {key: _tensor(path, content, key) for key in content.keys()}  # noqa: SIM118
    except (
        SafetensorError,
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise InjectorError(
            path, f"is no readable injector ({error})", "make it again with icis fit"
        ) from None
    if not isinstance(record, dict):
        raise InjectorError(path, "is no injector")
    return record, tensors


def _tensor(path: Path, content: Any, key: str) -> NDArray[Any]:
    """Return one tensor: the descriptors of very many classes as a map of the file."""
    shape = content.get_slice(key).get_shape()
    if key != "descriptors.unseen" or math.prod(shape) < _MAPPED:
        tensor: NDArray[Any] = content.get_tensor(key)
        return tensor
    header, start = read_header(path)
    first, _ = header[key]["data_offsets"]
    if header[key]["dtype"] != "F32":
        raise ValueError(f"{key} is {header[key]['dtype']}, expected F32")
    return np.asarray(np.memmap(path, "<f4", "r", start + first, tuple(shape)))

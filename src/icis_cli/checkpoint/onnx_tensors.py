"""Tensors of ONNX files: their type and shape, and where their bytes lie.

The bytes are in the tensor itself (``raw_data``), in a field of its own for each kind of number, or
in another file beside the model. Sizes are compared before anything is allocated, and no other file
is read than one in the model's own folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from icis_cli.checkpoint.base import Buffer, TensorInfo
from icis_cli.errors import CheckpointError

#: ``TensorProto.DataType`` -> safetensors code; others are passed on as they are, unread.
_CODES = {
    1: "F32", 2: "U8", 3: "I8", 4: "U16", 5: "I16", 6: "I32", 7: "I64", 9: "BOOL", 10: "F16",
    11: "F64", 12: "U32", 13: "U64", 14: "C64", 16: "BF16", 17: "F8_E4M3", 19: "F8_E5M2",
    24: "F8_E8M0",
}  # fmt: skip

#: Where numbers lie that are not raw: the field, and how their bytes are made of its values.
_FIELDS = {
    "F32": ("float_data", "<f4"), "C64": ("float_data", "<f4"), "F64": ("double_data", "<f8"),
    "I64": ("int64_data", "<i8"), "U32": ("uint64_data", "<u4"), "U64": ("uint64_data", "<u8"),
    "I32": ("int32_data", "<i4"), "I16": ("int32_data", "<u2"), "U16": ("int32_data", "<u2"),
    "F16": ("int32_data", "<u2"), "BF16": ("int32_data", "<u2"),
}  # fmt: skip
_BYTES = ("int32_data", "<u1")  # all others

_EXTERNAL = 1
_MOST_AXES = 64
_EXPORT = "export the model again"


@dataclass(frozen=True)
class Place:
    """Where a tensor's bytes lie in another file: from byte ``first`` on."""

    file: Path
    first: int


def info_of(path: Path, tensor: Any) -> TensorInfo | None:
    """Return type and shape of a ``TensorProto``, None where it is of a type unknown here.

    Raises:
        CheckpointError: its name, its shape or the number of its values is wrong.

    """
    name = tensor.name
    if not isinstance(name, str) or not name:  # bytes where it is no UTF-8
        raise CheckpointError(path, f"holds a tensor of the name {name!r}, expected text", _EXPORT)
    shape = tuple(tensor.dims[: _MOST_AXES + 1])
    if any(size < 0 for size in shape) or len(shape) > _MOST_AXES:
        raise CheckpointError(path, f"tensor {name!r} has the shape {shape}", _EXPORT)
    code = _CODES.get(tensor.data_type)
    if code is None:
        return None
    info = TensorInfo(code, shape)
    if is_external(tensor):
        place_of(path, tensor, info)
        return info
    if tensor.HasField("raw_data"):
        found, expected, what = len(tensor.raw_data), info.size, "bytes"
    else:
        values = 2 if code == "C64" else 1
        found, expected, what = len(_values(tensor, code)), values * info.count, "numbers"
    if found != expected:
        raise CheckpointError(
            path, f"tensor {name!r} has {found} {what}, expected {expected} for {shape}", _EXPORT
        )
    return info


def require_own(path: Path, model: Any, unknown: Iterable[Any]) -> None:
    """Refuse tensors in other files that would not be found there by a copy of the model.

    These are constants inside of a graph, and stored tensors of ``unknown`` types.

    Raises:
        CheckpointError: there is one.

    """
    nodes = [*model.graph.node, *(node for part in model.functions for node in part.node)]
    if any(map(is_external, unknown)) or any(map(is_external, _constants(nodes))):
        raise CheckpointError(
            path,
            "keeps constants of its graph in another file, expected its weights alone there",
            "save it as one file: onnx.save(onnx.load(OLD), NEW)",
        )


def _constants(nodes: Iterable[Any]) -> Iterator[Any]:
    """Yield the tensors in the attributes of nodes, also inside of their branches."""
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in branches(attribute):
                yield from graph.initializer
                yield from _constants(graph.node)


def branches(attribute: Any) -> Iterator[Any]:
    """Yield the graphs in an attribute of a node, e.g. those of an If."""
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def is_external(tensor: Any) -> bool:
    """Tell whether the bytes of a ``TensorProto`` lie in another file."""
    return bool(tensor.data_location == _EXTERNAL)


def bytes_of(path: Path, tensor: Any, info: TensorInfo) -> Buffer:
    """Return the little-endian bytes of a tensor that :func:`info_of` has accepted.

    Raises:
        CheckpointError: the file that they lie in became shorter.

    """
    if is_external(tensor):
        place = place_of(path, tensor, info)
        with place.file.open("rb") as stream:
            stream.seek(place.first)
            data = stream.read(info.size)
        if len(data) < info.size:
            raise CheckpointError(place.file, "became shorter while it was read")
        return data
    if tensor.HasField("raw_data"):
        raw: bytes = tensor.raw_data
        return raw
    stored = _FIELDS.get(info.dtype, _BYTES)[1]
    values = _values(tensor, info.dtype)
    wide = np.int64 if stored in ("<u1", "<u2") else np.dtype(stored)  # bits of negative numbers
    return np.fromiter(values, dtype=wide, count=len(values)).astype(stored).tobytes()


def place_of(path: Path, tensor: Any, info: TensorInfo) -> Place:
    """Return where the bytes of an external tensor lie.

    Raises:
        CheckpointError: outside of the model's folder, in no file, or beyond its end.

    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    name = entries.get("location", "")
    what = f"tensor {tensor.name!r} lies in {name!r}"
    try:
        first, size = int(entries.get("offset") or 0), int(entries.get("length") or info.size)
    except (TypeError, ValueError):
        raise CheckpointError(path, f"{what} at no number of bytes", _EXPORT) from None
    file = _beside(path, name)
    if file is None:
        raise CheckpointError(path, f"{what}, expected a file in the folder of the model")
    try:
        there = file.is_file()
        end = file.stat().st_size if there else 0
    except (OSError, ValueError) as error:
        raise CheckpointError(path, f"{what}, which cannot be read ({error})") from None
    if not there:
        raise CheckpointError(
            path, f"{what}, but there is no such file", "keep it beside the model, or copy both"
        )
    if size != info.size:
        raise CheckpointError(
            path, f"{what} with {size} bytes, expected {info.size} for {info.shape}", _EXPORT
        )
    if not 0 <= first <= end - size:
        raise CheckpointError(
            path, f"{what} beyond the end of its {end} bytes", "copy the whole file"
        )
    return Place(file, first)


def _beside(path: Path, name: object) -> Path | None:
    """Return a file in the model's folder, None where the name leads out of it.

    A download cache keeps links to both files, which then lie in one folder elsewhere.
    """
    if not isinstance(name, str) or not name or "\0" in name or "\\" in name or ":" in name:
        return None
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        return None
    file = path.parent / relative
    try:
        true = file.resolve()
        folders = (path.parent.resolve(), path.resolve().parent)
    except (OSError, RuntimeError):  # links in a circle
        return None
    return file if any(true.is_relative_to(folder) for folder in folders) else None


def _values(tensor: Any, code: str) -> Any:
    return getattr(tensor, _FIELDS.get(code, _BYTES)[0])

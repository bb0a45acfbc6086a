"""Tensors of torch as the rest of the package has them: types, shapes and bytes."""

from __future__ import annotations

import mmap
import tempfile
from collections import OrderedDict
from collections.abc import Container, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from icis_cli.checkpoint.base import Buffer, Edit, TensorInfo
from icis_cli.checkpoint.torch_loading import RESAVE
from icis_cli.errors import CheckpointError
from icis_cli.runtime import import_torch

if TYPE_CHECKING:
    import torch

#: An edited tensor of more bytes than this is not held in memory while it is written.
_LARGE = 1 << 26

#: What modules that were quantised keep in place of a weight.
_PACKED = "_packed_params"


def infos_of(path: Path, state: Mapping[str, Any]) -> dict[str, TensorInfo]:
    """Return type and shape of every tensor of a state dict; other entries are passed over.

    Raises:
        CheckpointError: a tensor is quantised, sparse or without values, or there is none.

    """
    torch = import_torch()
    found: dict[str, TensorInfo] = {}
    for key, value in state.items():
        if isinstance(key, str) and _PACKED in key:
            raise _quantised(path, key, "quantised")
        if isinstance(key, str) and isinstance(value, torch.Tensor):
            found[key] = _info_of(path, key, value)
    if not found:
        raise CheckpointError(path, "expected a state dict, found no tensor in it", RESAVE)
    return found


def _dtypes() -> dict[Any, str]:
    torch = import_torch()
    return {
        torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64",
        torch.int8: "I8", torch.int16: "I16", torch.int32: "I32", torch.int64: "I64",
        torch.uint8: "U8", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
        torch.bool: "BOOL", torch.complex64: "C64",
        torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
        torch.float8_e8m0fnu: "F8_E8M0",
    }  # fmt: skip


def _info_of(path: Path, key: str, tensor: torch.Tensor) -> TensorInfo:
    dtypes = _dtypes()
    if tensor.is_meta:
        raise CheckpointError(path, f"tensor {key!r} has a shape but no values", RESAVE)
    dense = tensor.layout is import_torch().strided
    if tensor.dtype not in dtypes or not dense or tensor.is_quantized:
        kind = "quantised" if tensor.is_quantized else f"{tensor.layout} {tensor.dtype}"
        raise _quantised(path, key, kind)
    return TensorInfo(dtypes[tensor.dtype], tuple(tensor.shape))


def _quantised(path: Path, key: str, kind: str) -> CheckpointError:
    return CheckpointError(
        path,
        f"tensor {key!r} is {kind}, expected a dense unquantised one",
        "start from the checkpoint before quantisation",
    )


def bytes_of(tensor: Any) -> Buffer:
    """Return the bytes of a tensor, row-major, whatever its strides are."""
    torch = import_torch()
    flat = tensor.detach().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def over(data: Buffer | bytearray | mmap.mmap, info: TensorInfo) -> Any:
    """Return a tensor over bytes that may be written to, without a copy."""
    torch = import_torch()
    dtype = {code: dtype for dtype, code in _dtypes().items()}[info.dtype]
    if not info.size:
        return torch.empty(info.shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype).reshape(info.shape)


def folder_of(stream: IO[bytes]) -> Path:
    """Return the folder of an open file."""
    return Path(stream.name).parent


def tensor_of(edit: Edit, folder: Path) -> Any:
    """Return an edited tensor; a large one lies in a nameless file in ``folder``, not in memory."""
    if edit.info.size <= _LARGE:
        return over(bytearray().join(edit.parts), edit.info)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.writelines(edit.parts)
        file.flush()
        # The map keeps the file when its descriptor is closed.
        return over(mmap.mmap(file.fileno(), edit.info.size), edit.info)


def with_edits(
    state: Mapping[str, Any], kept: Container[str], edits: Mapping[str, Edit], folder: Path
) -> Mapping[str, Any]:
    """Copy the state dict (same type, order and ``_metadata``) with the edited tensors.

    Keys that share one tensor share the edited one, as tied modules need it. Tensors that are not
    among those ``kept`` are left out.
    """
    torch = import_torch()
    copy: Any = type(state)(state)  # type: ignore[call-arg]
    for key, value in state.items():
        if isinstance(value, torch.Tensor) and isinstance(key, str) and key not in kept:
            del copy[key]
    same = {key: keys for keys in tied(state) for key in keys}
    for key, edit in edits.items():
        tensor = tensor_of(edit, folder)
        tensor.requires_grad_(state[key].requires_grad)
        keys = (one for one in same.get(key, (key,)) if one in kept)
        copy.update(dict.fromkeys(keys, tensor))
    if isinstance(state, OrderedDict):
        # The versions of the modules, which load_state_dict reads, are an attribute.
        vars(copy).update(vars(state))
    edited: Mapping[str, Any] = copy
    return edited


def tied(state: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the groups of keys of a state dict that hold one and the same tensor."""
    torch = import_torch()
    places: dict[tuple[Any, ...], list[str]] = {}
    for key, value in state.items():
        if isinstance(key, str) and isinstance(value, torch.Tensor) and value.numel():
            place = value.data_ptr(), value.dtype, value.shape, value.stride()
            places.setdefault(place, []).append(key)
    return [tuple(keys) for keys in places.values() if len(keys) > 1]

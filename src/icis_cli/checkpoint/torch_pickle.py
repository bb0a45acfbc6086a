"""PyTorch's own container (``.pt``, ``.pth``): zip and legacy, bare or wrapped state dicts.

Loading is always ``weights_only=True``: a pickle is never executed. Torch is imported inside the
functions, because its import takes seconds and the safetensors path must not pay for it.
"""

from __future__ import annotations

import argparse
import mmap
import pickle
import re
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

from icis_cli.checkpoint.base import Buffer, Checkpoint, Edit, Extras, Labels, TensorInfo
from icis_cli.errors import CheckpointError, first_line
from icis_cli.runtime import import_torch

if TYPE_CHECKING:
    import torch

#: Where training scripts keep the state dict, in the order in which it is looked for: an averaged
#: copy is what people serve, so it comes first.
WRAPPERS = (
    "model_ema", "ema_state_dict", "state_dict_ema", "ema",
    "state_dict", "model_state_dict", "model", "net", "network", "weights", "params",
)  # fmt: skip

#: What only makes sense together with the old head: resuming with it would be silently wrong.
_TRAINING_STATE = (
    "optimizer", "optimizer_state_dict", "optimizer_states", "optim", "opt",
    "lr_scheduler", "lr_schedulers", "scheduler", "scheduler_state_dict", "scaler", "amp_scaler",
)  # fmt: skip

#: An edited tensor of more bytes than this is not held in memory while it is written.
_LARGE = 1 << 26


@dataclass(frozen=True)
class TorchCheckpoint(Checkpoint):
    """A file written by ``torch.save``.

    Attributes:
        root: the loaded object.
        wrapper: the key of ``root`` under which the state dict lies, or None where it is bare.

    """

    container: ClassVar[str] = "torch"
    suffix: ClassVar[str] = ".pt"
    root: Mapping[str, Any] = None  # type: ignore[assignment]
    wrapper: str | None = None

    @classmethod
    def open(cls, path: Path) -> TorchCheckpoint:
        """Load the file at ``path``, memory-mapped where its format allows.

        Raises:
            CheckpointError: it is no state dict that can be loaded safely.

        """
        torch = import_torch()
        legacy = not zipfile.is_zipfile(path)
        root = _load(path, legacy=legacy)
        if not isinstance(root, Mapping):
            kind = type(root).__name__
            raise CheckpointError(path, f"expected a state dict, found a {kind}", _RESAVE)
        wrapper = _find_wrapper(root)
        state = root if wrapper is None else root[wrapper]
        tensors: dict[str, TensorInfo] = {}
        for key, value in state.items():
            if isinstance(key, str) and isinstance(value, torch.Tensor):
                tensors[key] = _info_of(path, key, value)
        if not tensors:
            raise CheckpointError(path, "expected a state dict, found no tensor in it", _RESAVE)
        return cls(
            path,
            tensors,
            labels=_labels(root) if wrapper is not None else Labels(),
            notes=_notes(root, wrapper, legacy=legacy),
            root=root,
            wrapper=wrapper,
        )

    @property
    def state(self) -> Mapping[str, Any]:
        """The state dict inside ``root``."""
        state: Mapping[str, Any] = self.root if self.wrapper is None else self.root[self.wrapper]
        return state

    def only_here(self) -> tuple[str, ...]:
        lost = [repr(key) for key in self.state if key not in self.tensors]
        if self.wrapper is not None:
            lost += [repr(key) for key in self.root if key != self.wrapper]
        if getattr(self.state, "_metadata", None):
            lost.append(
                "the versions of its modules (some models then load with strict=False only)"
            )
        return (f"not carried over into the other format: {', '.join(lost)}",) if lost else ()

    def raw(self, key: str) -> Buffer:
        torch = import_torch()
        tensor = self.state[key].detach().contiguous().reshape(-1)
        if not tensor.numel():
            return b""
        return memoryview(tensor.view(torch.uint8).numpy())

    def write_copy(self, stream: IO[bytes], edits: Mapping[str, Edit], extras: Extras) -> None:
        # A state dict that must load strictly has no room for metadata: it is in the side file.
        torch = import_torch()
        edited = _with_edits(self.state, edits, _folder_of(stream))
        if self.wrapper is None:
            root: Any = edited
        else:
            root = {
                key: edited if key == self.wrapper else _relabelled(key, value, extras.class_names)
                for key, value in self.root.items()
                if key == self.wrapper or not _is_stale(key, value)
            }
        # Always a zip: the legacy format holds memory addresses, so its bytes differ every time.
        torch.save(root, stream)

    @classmethod
    def write_converted(
        cls,
        stream: IO[bytes],
        source: Checkpoint,
        edits: Mapping[str, Edit],
        extras: Extras,  # noqa: ARG003 - a bare state dict has no room for them
    ) -> None:
        torch = import_torch()
        state = {
            key: _over(source.mapped(key), info)
            for key, info in source.tensors.items()
            if key not in edits
        }
        state |= {key: _tensor(edit, _folder_of(stream)) for key, edit in edits.items()}
        torch.save({key: state[key] for key in source.tensors}, stream)


def state_dict_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return all tensors of a checkpoint of any container as torch tensors."""
    return {
        key: _over(bytearray(checkpoint.raw(key)), info) for key, info in checkpoint.tensors.items()
    }


_RESAVE = "save the state dict alone: torch.save(model.state_dict(), 'model.pt')"
#: The name of the refused class in torch's long explanation.
_REFUSED = re.compile(r"\bGLOBAL (\S+)")
_NAME_LISTS = ("classes", "class_names", "categories")
_NAME_INDEX = "class_to_idx"


def _load(path: Path, *, legacy: bool) -> Any:
    torch = import_torch()
    # torchvision's reference scripts keep their options as a Namespace: a plain bag of values.
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong is said once, by the error
        try:
            if legacy or path.name.endswith(".safetensors"):  # torch would believe the suffix
                with path.open("rb") as stream:
                    return torch.load(stream, map_location="cpu", weights_only=True)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError as error:
            if "TorchScript" in str(error):
                raise CheckpointError(path, "is a TorchScript archive, not a state dict", _RESAVE) \
                    from None  # fmt: skip
            refused = _REFUSED.search(str(error))
            if refused is None:
                raise CheckpointError(
                    path,
                    "is no readable PyTorch file (no pickle of tensors and plain values)",
                    _RESAVE,
                ) from None
            raise CheckpointError(
                path,
                "holds Python objects that only running code from the file could load "
                f"({refused[1][:160]}), expected a state dict",
                f"where you trust the file, {_RESAVE}",
            ) from None
        except OSError:
            raise
        except Exception as error:  # a damaged pickle can raise anything
            first = first_line(error)
            if "TorchScript" in str(error) or "torch.jit" in str(error):
                first = "a TorchScript archive"
            raise CheckpointError(path, f"is no readable PyTorch file ({first})", _RESAVE) from None


def _find_wrapper(root: Mapping[str, Any]) -> str | None:
    """Return the key under which the state dict lies, or None where ``root`` is one itself."""
    for key in WRAPPERS:
        if isinstance(root.get(key), Mapping) and _has_tensors(root[key]):
            return key
    return None


def _has_tensors(value: Any) -> bool:
    torch = import_torch()
    return isinstance(value, Mapping) and any(isinstance(v, torch.Tensor) for v in value.values())


def _is_stale(key: str, value: Any) -> bool:
    """Tell whether an entry beside the state dict would still describe the old head."""
    return key in _TRAINING_STATE or (key in WRAPPERS and _has_tensors(value))


def _notes(root: Mapping[str, Any], wrapper: str | None, *, legacy: bool) -> tuple[str, ...]:
    notes = []
    if legacy:
        notes.append("it is in the format from before PyTorch 1.6; a new .pt will be in today's")
    if wrapper is None:
        return tuple(notes)
    stale = [key for key, value in root.items() if key != wrapper and _is_stale(key, value)]
    notes.append(f"the state dict was found under {wrapper!r}")
    if stale:
        listed = ", ".join(repr(key) for key in stale)
        notes.append(f"{listed} belong to the old head and will be left out of a new checkpoint")
    return tuple(notes)


def _labels(root: Mapping[str, Any]) -> Labels:
    """Read class names and architecture from beside a wrapped state dict."""
    arch = root.get("arch")
    names: tuple[str, ...] | None = None
    for key in _NAME_LISTS:
        found = root.get(key)
        if isinstance(found, (list, tuple)) and found and all(isinstance(n, str) for n in found):
            names = tuple(found)
            break
    index = root.get(_NAME_INDEX)
    if names is None and isinstance(index, Mapping) and set(map(type, index.values())) == {int}:
        pairs = sorted((number, name) for name, number in index.items())
        if [number for number, _ in pairs] == list(range(len(pairs))):
            names = tuple(str(name) for _, name in pairs)
    return Labels(names, arch if isinstance(arch, str) else None)


def _relabelled(key: str, value: Any, class_names: tuple[str, ...]) -> Any:
    """Return an entry beside the state dict with the new class names, if it holds such."""
    if key in _NAME_LISTS and isinstance(value, (list, tuple)):
        return type(value)(class_names)
    if key == _NAME_INDEX and isinstance(value, Mapping):
        return {name: row for row, name in enumerate(class_names)}
    return value


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
        raise CheckpointError(path, f"tensor {key!r} has a shape but no values", _RESAVE)
    if tensor.dtype not in dtypes or tensor.is_sparse or tensor.is_quantized:
        kind = "quantised" if tensor.is_quantized else f"{tensor.layout} {tensor.dtype}"
        raise CheckpointError(
            path,
            f"tensor {key!r} is {kind}, expected a dense unquantised one",
            "start from the checkpoint before quantisation",
        )
    return TensorInfo(dtypes[tensor.dtype], tuple(tensor.shape))


def _over(data: Buffer | bytearray | mmap.mmap, info: TensorInfo) -> Any:
    """Return a tensor over bytes that may be written to, without a copy."""
    torch = import_torch()
    dtype = {code: dtype for dtype, code in _dtypes().items()}[info.dtype]
    if not info.size:
        return torch.empty(info.shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype).reshape(info.shape)


def _folder_of(stream: IO[bytes]) -> Path:
    return Path(stream.name).parent


def _tensor(edit: Edit, folder: Path) -> Any:
    """Return an edited tensor; a large one lies in a nameless file in ``folder``, not in memory."""
    if edit.info.size <= _LARGE:
        return _over(bytearray().join(edit.parts), edit.info)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.writelines(edit.parts)
        file.flush()
        # The map keeps the file when its descriptor is closed.
        return _over(mmap.mmap(file.fileno(), edit.info.size), edit.info)


def _with_edits(
    state: Mapping[str, Any], edits: Mapping[str, Edit], folder: Path
) -> Mapping[str, Any]:
    """Copy the state dict (same type, order and ``_metadata``) with the edited tensors."""
    copy: Any = state.copy() if hasattr(state, "copy") else dict(state)
    for key, edit in edits.items():
        tensor = _tensor(edit, folder)
        tensor.requires_grad_(state[key].requires_grad)
        copy[key] = tensor
    if hasattr(state, "_metadata"):  # versions of the modules, which load_state_dict reads
        copy._metadata = state._metadata  # noqa: SLF001
    edited: Mapping[str, Any] = copy
    return edited

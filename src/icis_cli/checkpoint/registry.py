"""Which container a file is, told by its content; one line per container."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from icis_cli.checkpoint.base import Checkpoint, stamp_of
from icis_cli.checkpoint.folder import FolderCheckpoint
from icis_cli.checkpoint.folder_config import told_beside
from icis_cli.checkpoint.onnx import OnnxCheckpoint
from icis_cli.checkpoint.refused import refuse_misnamed, refuse_onnx, refuse_others
from icis_cli.checkpoint.safetensors import SafetensorsCheckpoint
from icis_cli.checkpoint.sharded import INDEX_SUFFIX, ShardedCheckpoint, open_folder
from icis_cli.checkpoint.torch_pickle import TorchCheckpoint
from icis_cli.errors import CheckpointError, OutputError


def _looks_like_safetensors(start: bytes) -> bool:
    return start[8:9] == b"{"


def _looks_like_torch(start: bytes) -> bool:
    return start[:4] == b"PK\x03\x04" or start[:1] == b"\x80"


_BY_SUFFIX: dict[str, type[Checkpoint]] = {
    ".safetensors": SafetensorsCheckpoint,
    ".pt": TorchCheckpoint,
    ".pth": TorchCheckpoint,
    ".bin": TorchCheckpoint,
    ".ckpt": TorchCheckpoint,
    ".tar": TorchCheckpoint,
    ".onnx": OnnxCheckpoint,
}


#: What is said where one of two containers is ONNX, by whether it is the new one.
_BETWEEN = {
    True: (
        "an ONNX model has a graph, which no other checkpoint tells",
        "export the network with torch.onnx.export, and give that file to icis",
    ),
    False: (
        "the tensors of an ONNX model are no state dict that a network loads",
        "use --out NAME.onnx, or give the network's own checkpoint to icis",
    ),
}


def open_checkpoint(path: Path | str, state: str | None = None) -> Checkpoint:
    """Open a checkpoint without running anything from it.

    Args:
        path: a PyTorch state dict (zip or legacy, bare or wrapped) or a safetensors file. What it
            is, is told by its content, not by its suffix; but an ONNX model is one named
            ``.onnx``. Or a folder with a safetensors file, or with shards and their index, or that
            index.
        state: key of the entry that is the network, where a PyTorch file holds several, as
            training checkpoints do. Default: an averaged copy, or the usual one.

    Raises:
        CheckpointError: it is missing, unreadable or neither, or has no such entry.

    """
    opened = told_beside(_open(Path(path), state))
    if state is not None and not isinstance(opened, TorchCheckpoint):
        raise CheckpointError(
            path, "holds one network alone, but --state names an entry", "leave out --state"
        )
    try:
        return replace(opened, stamps={file: stamp_of(file) for file in opened.files})
    except OSError as error:
        raise CheckpointError(error.filename or path, "vanished meanwhile") from None


def _open(path: Path, state: str | None) -> Checkpoint:
    if not path.exists():
        raise CheckpointError(path, "no such file", "check the path of the checkpoint")
    if not path.is_file() and not path.is_dir():
        raise CheckpointError(path, "is no regular file, expected a checkpoint")
    try:
        if path.is_dir():
            return open_folder(path)
        if path.name.endswith((INDEX_SUFFIX, ".bin.index.json")):
            return ShardedCheckpoint.open(path)
        with path.open("rb") as stream:
            start = stream.read(64)
        if path.suffix == OnnxCheckpoint.suffix:  # nothing in its content tells it for certain
            refuse_misnamed(path, start)
            return OnnxCheckpoint.open(path)
        if _looks_like_safetensors(start):  # its length may look like another's first bytes
            return SafetensorsCheckpoint.open(path)
        refuse_others(path, start)
        if _looks_like_torch(start):
            return TorchCheckpoint.open(path, state)
        refuse_onnx(path, start)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror or error}") from error
    raise CheckpointError(
        path,
        "is neither a PyTorch file nor a safetensors file"
        + (" (it is empty)" if not start else ""),
        "expected a state dict saved as .pt, .pth or .safetensors, or an ONNX model named .onnx",
    )


def container_for(output: Path, source: Checkpoint) -> type[Checkpoint]:
    """Return the container that the suffix of ``output`` asks for; without one, the source's.

    A folder becomes one file only under a suffix that says so: folders may have any name.

    Raises:
        OutputError: the suffix names no container.

    """
    if output.name in ("", ".."):
        raise OutputError(output, "is a folder, expected a new name", "choose another --out")
    wanted = _BY_SUFFIX.get(output.suffix)
    if wanted is not None and (wanted is OnnxCheckpoint) != isinstance(source, OnnxCheckpoint):
        raise OutputError(output, *_BETWEEN[wanted is OnnxCheckpoint])
    if isinstance(source, FolderCheckpoint):
        return _BY_SUFFIX.get(output.suffix, type(source))
    if not output.suffix or output.suffix == source.path.suffix:
        return type(source)
    if output.suffix not in _BY_SUFFIX:
        raise OutputError(
            output,
            f"the suffix {output.suffix!r} names no container",
            f"use one of {', '.join(_BY_SUFFIX)}",
        )
    return _BY_SUFFIX[output.suffix]

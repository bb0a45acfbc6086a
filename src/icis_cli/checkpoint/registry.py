"""Which container a file is, told by its content; one line per container."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from icis_cli.checkpoint.base import Checkpoint, stamp_of
from icis_cli.checkpoint.safetensors import SafetensorsCheckpoint
from icis_cli.checkpoint.sharded import INDEX_SUFFIX, ShardedCheckpoint, find_index
from icis_cli.checkpoint.torch_pickle import TorchCheckpoint
from icis_cli.errors import CheckpointError, OutputError


def _looks_like_safetensors(start: bytes) -> bool:
    return start[8:9] == b"{"


def _looks_like_torch(start: bytes) -> bool:
    return start[:4] == b"PK\x03\x04" or start[:1] == b"\x80"


_OPENERS: tuple[tuple[Callable[[bytes], bool], Callable[[Path], Checkpoint]], ...] = (
    (_looks_like_safetensors, SafetensorsCheckpoint.open),  # its length may look like torch's magic
    (_looks_like_torch, TorchCheckpoint.open),
)

_BY_SUFFIX: dict[str, type[Checkpoint]] = {
    ".safetensors": SafetensorsCheckpoint,
    ".pt": TorchCheckpoint,
    ".pth": TorchCheckpoint,
    ".bin": TorchCheckpoint,
    ".ckpt": TorchCheckpoint,
    ".tar": TorchCheckpoint,
}


def open_checkpoint(path: Path | str) -> Checkpoint:
    """Open a checkpoint without running anything from it.

    Args:
        path: a PyTorch state dict (zip or legacy, bare or wrapped) or a safetensors file. What it
            is, is told by its content, not by its suffix. Or a folder of safetensors shards with
            an index, or that index.

    Raises:
        CheckpointError: it is missing, unreadable or neither.

    """
    opened = _open(Path(path))
    try:
        return replace(opened, stamps={file: stamp_of(file) for file in opened.files})
    except OSError as error:
        raise CheckpointError(error.filename or path, "vanished meanwhile") from None


def _open(path: Path) -> Checkpoint:
    if not path.exists():
        raise CheckpointError(path, "no such file", "check the path of the checkpoint")
    if not path.is_file() and not path.is_dir():
        raise CheckpointError(path, "is no regular file, expected a checkpoint")
    try:
        if path.is_dir():
            return ShardedCheckpoint.open(find_index(path))
        if path.name.endswith((INDEX_SUFFIX, ".bin.index.json")):
            return ShardedCheckpoint.open(path)
        with path.open("rb") as stream:
            start = stream.read(16)
        for recognises, opener in _OPENERS:
            if recognises(start):
                return opener(path)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror or error}") from error
    raise CheckpointError(
        path,
        "is neither a PyTorch file nor a safetensors file"
        + (" (it is empty)" if not start else ""),
        "expected a state dict saved as .pt, .pth or .safetensors",
    )


def container_for(output: Path, source: Checkpoint) -> type[Checkpoint]:
    """Return the container that the suffix of ``output`` asks for; without one, the source's.

    A sharded source becomes one file only under a suffix that says so: folders may have any name.

    Raises:
        OutputError: the suffix names no container.

    """
    if output.name in ("", ".."):
        raise OutputError(output, "is a folder, expected a new name", "choose another --out")
    if isinstance(source, ShardedCheckpoint):
        return _BY_SUFFIX.get(output.suffix, ShardedCheckpoint)
    if not output.suffix or output.suffix == source.path.suffix:
        return type(source)
    if output.suffix not in _BY_SUFFIX:
        raise OutputError(
            output,
            f"the suffix {output.suffix!r} names no container",
            f"use one of {', '.join(_BY_SUFFIX)}",
        )
    return _BY_SUFFIX[output.suffix]

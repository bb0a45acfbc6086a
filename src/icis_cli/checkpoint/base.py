"""What a checkpoint is to the rest of the package: named tensors, and a copy of it with edits.

A container (one file format) is one file beside this one and one line in ``registry``. It reads
lazily, never runs code from the file, and writes every tensor that was not edited bit by bit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, ClassVar, Self

from icis_cli.arrays import ITEM_SIZE, FloatArray, decode
from icis_cli.errors import CheckpointError
from icis_cli.files import sha256_of

Buffer = bytes | memoryview


@dataclass(frozen=True)
class TensorInfo:
    """Type and shape of a stored tensor.

    Attributes:
        dtype: safetensors code, e.g. ``"F32"`` or ``"BF16"``.
        shape: dimensions; ``()`` for a scalar.

    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of its values."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes of its values."""
        return ITEM_SIZE[self.dtype] * self.count


@dataclass(frozen=True)
class Edit:
    """A tensor that takes the place of a stored one.

    Attributes:
        info: its type and shape.
        parts: its row-major little-endian bytes in parts, which may be made while they are asked
            for. They can be gone through any number of times, and are the same every time.

    """

    info: TensorInfo
    parts: Iterable[Buffer]


@dataclass(frozen=True)
class Labels:
    """What a checkpoint says about itself, where it does.

    Attributes:
        class_names: names of the head's rows in order, or None.
        arch: name of the architecture, e.g. ``"resnet50"`` or ``"timm/vit_tiny_patch16_224"``, or
            None.
        heads: keys of the final linear layers, whose answers are averaged where there are
            several; empty where the checkpoint does not tell. Taken only as far as it is true.

    """

    class_names: tuple[str, ...] | None = None
    arch: str | None = None
    heads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Extras:
    """What travels beside the tensors of a new checkpoint, as far as its container has room.

    Attributes:
        metadata: text entries (safetensors).
        class_names: one name per row of the new head (wrapped PyTorch files).
        final: where a text is known only after all tensors are written: called then, it returns
            what takes the place of ``metadata``. The same keys with texts of the same lengths, so
            that the tensors lie where they would lie anyway.

    """

    metadata: Mapping[str, str]
    class_names: tuple[str, ...]
    final: Callable[[], Mapping[str, str]] | None = None


#: What tells that a file is another, or has been written to: device, inode, size, time.
Stamp = tuple[int, int, int, int]


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of a file.

    Raises:
        OSError: it is not there.

    """
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class Checkpoint(ABC):
    """An opened checkpoint.

    Attributes:
        path: the file, or the folder of a checkpoint in several.
        tensors: key -> type and shape, in file order. Keys are those of the state dict.
        metadata: text stored beside the tensors (safetensors only).
        labels: class names and architecture, where the file tells.
        notes: what a person should know about how the file was read or will be written.
        stamps: of each file when it was opened.

    """

    path: Path
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict)
    labels: Labels = Labels()
    notes: tuple[str, ...] = ()
    stamps: Mapping[Path, Stamp] = field(default_factory=dict, kw_only=True)

    #: Name of the container, and the suffix of files that hold it.
    container: ClassVar[str]
    suffix: ClassVar[str]

    @abstractmethod
    def raw(self, key: str) -> Buffer:
        """Return the stored bytes of one tensor, row-major and little-endian."""

    @abstractmethod
    def write_copy(self, stream: IO[bytes], edits: Mapping[str, Edit], extras: Extras) -> None:
        """Write this checkpoint to ``stream`` in its own container with ``edits`` put in place."""

    @classmethod
    @abstractmethod
    def write_converted(
        cls,
        stream: IO[bytes],
        source: Checkpoint,
        edits: Mapping[str, Edit],
        extras: Extras,
    ) -> None:
        """Write the tensors of ``source``, which came from another container, in this one."""

    def sha256(self) -> str:
        """Return the hexadecimal sha256 of the file; reads it whole."""
        return sha256_of(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that it is read from."""
        return (self.path,)

    @property
    def origin(self) -> Path:
        """What :func:`open_checkpoint` opens it again by."""
        return self.path

    @property
    def entry(self) -> str | None:
        """Which of several networks in the file it is, for :func:`open_checkpoint`, too."""
        return None

    def require_unchanged(self) -> None:
        """Refuse files that are no longer those that were opened.

        Raises:
            CheckpointError: naming the first of them.

        """
        for path, stamp in self.stamps.items():
            try:
                now = stamp_of(path)
            except OSError:
                raise CheckpointError(path, "vanished meanwhile") from None
            if now != stamp:
                how = "became shorter" if now[2] < stamp[2] else "changed"
                raise CheckpointError(
                    path, f"{how} while it was read", "wait until it is complete, then run it again"
                )

    def without(self, modules: Collection[str]) -> Self:
        """Return this checkpoint as if it had no tensor of some modules; copies leave them out."""
        parts = tuple(f"{module}." for module in modules)
        if not parts:
            return self
        kept = {key: info for key, info in self.tensors.items() if not key.startswith(parts)}
        return replace(self, tensors=kept)

    def blocks(self, key: str) -> Iterable[Buffer]:
        """Return the bytes of one tensor in parts, which need not all be in memory at once."""
        return (self.raw(key),)

    def mapped(self, key: str) -> Buffer:
        """Return the bytes of one tensor where possible as a private map of the file."""
        return self.raw(key)

    @classmethod
    def has_room(
        cls,
        source: Checkpoint,  # noqa: ARG003
        edits: Mapping[str, Edit],  # noqa: ARG003
        metadata: Mapping[str, str],  # noqa: ARG003
    ) -> bool:
        """Tell whether a copy of ``source`` with ``edits`` can hold so much ``metadata``."""
        return True

    def left_behind(self) -> tuple[str, ...]:
        """Say what lies with the tensors and is not carried over into any copy."""
        return ()

    def only_here(self) -> tuple[str, ...]:
        """Say what no other container has room for and a conversion would lose."""
        return ()

    def array(self, key: str) -> FloatArray:
        """Return one float tensor as float32; a copy."""
        info = self.tensors[key]
        return decode(self.raw(key), info.dtype, info.shape)

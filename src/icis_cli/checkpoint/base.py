"""What a checkpoint is to the rest of the package: named tensors, and a copy of it with edits.

A container (one file format) is one file beside this one and one line in ``registry``. It reads
lazily, never runs code from the file, and writes every tensor that was not edited bit by bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar

from icis_cli.arrays import FloatArray, decode

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


@dataclass(frozen=True)
class Edit:
    """A tensor that takes the place of a stored one: row-major little-endian bytes, in parts."""

    info: TensorInfo
    parts: tuple[Buffer, ...]


@dataclass(frozen=True)
class Labels:
    """What a checkpoint says about itself, where it does.

    Attributes:
        class_names: names of the head's rows in order, or None.
        arch: name of the torchvision architecture, or None.

    """

    class_names: tuple[str, ...] | None = None
    arch: str | None = None


@dataclass(frozen=True)
class Extras:
    """What travels beside the tensors of a new checkpoint, as far as its container has room.

    Attributes:
        metadata: text entries (safetensors).
        class_names: one name per row of the new head (wrapped PyTorch files).

    """

    metadata: Mapping[str, str]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Checkpoint(ABC):
    """An opened checkpoint.

    Attributes:
        path: the file.
        tensors: key -> type and shape, in file order. Keys are those of the state dict.
        metadata: text stored beside the tensors (safetensors only).
        labels: class names and architecture, where the file tells.
        notes: what a person should know about how the file was read or will be written.

    """

    path: Path
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict)
    labels: Labels = Labels()
    notes: tuple[str, ...] = ()

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

    def only_here(self) -> tuple[str, ...]:
        """Say what no other container has room for and a conversion would lose."""
        return ()

    def array(self, key: str) -> FloatArray:
        """Return one float tensor as float32; a copy."""
        info = self.tensors[key]
        return decode(self.raw(key), info.dtype, info.shape)

"""The safetensors container, read and written as a stream without torch.

The header is checked by the ``safetensors`` library (sizes, overlaps, duplicate keys); the copy is
written here because the library can only write what is wholly in memory. Layout of a file: eight
bytes header length, a JSON header, then the tensors' bytes.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from icis_cli.arrays import ITEM_SIZE
from icis_cli.checkpoint.base import Buffer, Checkpoint, Edit, Extras, Labels, TensorInfo
from icis_cli.errors import CheckpointError

_BLOCK = 1 << 24


@dataclass(frozen=True)
class SafetensorsCheckpoint(Checkpoint):
    """A ``.safetensors`` file; only its header is in memory.

    Attributes:
        spans: key -> (first byte, end byte) in the file.

    """

    container: ClassVar[str] = "safetensors"
    suffix: ClassVar[str] = ".safetensors"
    spans: Mapping[str, tuple[int, int]] = None  # type: ignore[assignment]

    @classmethod
    def open(cls, path: Path) -> SafetensorsCheckpoint:
        """Read the header of the file at ``path``.

        Raises:
            CheckpointError: it is no valid safetensors file.

        """
        header, start = read_header(path)
        metadata = header.pop("__metadata__", None) or {}
        tensors: dict[str, TensorInfo] = {}
        spans: dict[str, tuple[int, int]] = {}
        for key, entry in header.items():
            if entry["dtype"] not in ITEM_SIZE:
                raise CheckpointError(
                    path, f"tensor {key!r} has dtype {entry['dtype']}, which is not supported"
                )
            tensors[key] = TensorInfo(entry["dtype"], tuple(entry["shape"]))
            first, end = entry["data_offsets"]
            spans[key] = (start + first, start + end)
        return cls(path, tensors, metadata, Labels(), (), spans)

    def raw(self, key: str) -> Buffer:
        first, end = self.spans[key]
        if first == end:
            return b""
        with self.path.open("rb") as stream:
            view = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        return view[first:end]

    def write_copy(self, stream: IO[bytes], edits: Mapping[str, Edit], extras: Extras) -> None:
        infos = {k: edits[k].info if k in edits else info for k, info in self.tensors.items()}
        # The header keeps the order of the file's header, the data that of the file's data.
        order = sorted(self.spans, key=lambda key: self.spans[key])
        write_header(stream, infos, order, extras.metadata)
        with self.path.open("rb") as source:
            for key in order:
                if key in edits:
                    stream.writelines(edits[key].parts)
                else:
                    first, end = self.spans[key]
                    source.seek(first)
                    for block in _blocks(source, end - first):
                        stream.write(block)

    @classmethod
    def write_converted(
        cls,
        stream: IO[bytes],
        source: Checkpoint,
        edits: Mapping[str, Edit],
        extras: Extras,
    ) -> None:
        infos = {k: edits[k].info if k in edits else info for k, info in source.tensors.items()}
        # Wide dtypes first keeps every tensor aligned, as the safetensors library does.
        order = sorted(infos, key=lambda key: (-ITEM_SIZE[infos[key].dtype], key))
        write_header(stream, infos, order, extras.metadata)
        for key in order:
            stream.writelines(edits[key].parts if key in edits else (source.raw(key),))


def read_header(path: Path) -> tuple[dict[str, dict], int]:  # type: ignore[type-arg]
    """Return the checked JSON header of a safetensors file and where its data starts.

    Raises:
        CheckpointError: it is no valid safetensors file.

    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(
            path,
            f"is no valid safetensors file ({error})",
            "download or export the file again",
        ) from None
    return header, 8 + length


def write_header(
    stream: IO[bytes],
    infos: Mapping[str, TensorInfo],
    order: list[str],
    metadata: Mapping[str, str],
) -> None:
    """Write length and JSON header; the data must follow in the ``order`` of keys given."""
    offsets: dict[str, list[int]] = {}
    position = 0
    for key in order:
        size = ITEM_SIZE[infos[key].dtype]
        for dimension in infos[key].shape:
            size *= dimension
        offsets[key] = [position, position + size]
        position += size
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    for key, info in infos.items():
        header[key] = {
            "dtype": info.dtype,
            "shape": list(info.shape),
            "data_offsets": offsets[key],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    stream.write(len(text).to_bytes(8, "little") + text)


def _blocks(source: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield ``size`` bytes from where ``source`` stands, in blocks."""
    while size:
        block = source.read(min(size, _BLOCK))
        if not block:
            raise EOFError(f"{source.name} became shorter while it was read")
        size -= len(block)
        yield block

"""The safetensors container, read and written as a stream without torch.

The header is checked by the ``safetensors`` library (sizes, overlaps, duplicate keys); the copy is
written here because the library can only write what is wholly in memory. Layout of a file: eight
bytes header length, a JSON header, then the tensors' bytes.
"""

from __future__ import annotations

import contextlib
import json
import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, ClassVar

from icis_cli.arrays import ITEM_SIZE
from icis_cli.checkpoint.base import Buffer, Checkpoint, Edit, Extras, Labels, TensorInfo
from icis_cli.checkpoint.copying import blocks, copy_stretch
from icis_cli.errors import CheckpointError

#: Readers of this format refuse a longer header.
_LONGEST_HEADER = 100_000_000


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
        # Read, not mapped: pages of a map stay with the process.
        with self.path.open("rb") as stream:
            stream.seek(first)
            data = stream.read(end - first)
        if len(data) < end - first:
            raise CheckpointError(self.path, "became shorter while it was read")
        return data

    def blocks(self, key: str) -> Iterator[Buffer]:
        first, end = self.spans[key]
        with self.path.open("rb") as stream:
            stream.seek(first)
            yield from blocks(stream, end - first)

    def mapped(self, key: str) -> Buffer:
        first, end = self.spans[key]
        if first == end:
            return b""
        if end > len(self._map):
            raise EOFError(f"{self.path.name} became shorter while it was read")
        return self._map[first:end]

    @cached_property
    def _map(self) -> memoryview:
        # One for all tensors: each map takes a file descriptor.
        with self.path.open("rb") as stream:
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY))

    def write_copy(self, stream: IO[bytes], edits: Mapping[str, Edit], extras: Extras) -> None:
        infos = _with_edits(self, edits)
        # The header keeps the order of the file's header, the data that of the file's data.
        order = sorted(self.tensors, key=lambda key: self.spans[key])
        with _header_around(stream, infos, order, extras), self.path.open("rb") as source:
            for key, first, end in _runs(order, self.spans, edits):
                if key is None:
                    copy_stretch(source, stream, first, end - first)
                else:
                    stream.writelines(edits[key].parts)

    @classmethod
    def write_converted(
        cls,
        stream: IO[bytes],
        source: Checkpoint,
        edits: Mapping[str, Edit],
        extras: Extras,
    ) -> None:
        infos = _with_edits(source, edits)
        # Wide dtypes first keeps every tensor aligned, as the safetensors library does.
        order = sorted(infos, key=lambda key: (-ITEM_SIZE[infos[key].dtype], key))
        with _header_around(stream, infos, order, extras):
            for key in order:
                stream.writelines(edits[key].parts if key in edits else source.blocks(key))

    @classmethod
    def has_room(
        cls, source: Checkpoint, edits: Mapping[str, Edit], metadata: Mapping[str, str]
    ) -> bool:
        infos = _with_edits(source, edits)
        # A character takes six bytes at most, an entry's numbers some twenty each.
        texts = 6 * sum(len(key) + len(text) for key, text in metadata.items())
        entries = sum(6 * len(key) + 200 + 25 * len(info.shape) for key, info in infos.items())
        if texts + entries < _LONGEST_HEADER:
            return True
        return len(header_bytes(infos, list(infos), metadata)) - 8 <= _LONGEST_HEADER


def _with_edits(source: Checkpoint, edits: Mapping[str, Edit]) -> dict[str, TensorInfo]:
    return {k: edits[k].info if k in edits else info for k, info in source.tensors.items()}


def _runs(
    order: list[str], spans: Mapping[str, tuple[int, int]], edits: Mapping[str, Edit]
) -> Iterator[tuple[str | None, int, int]]:
    """Yield what to write: a stretch (None, first, end) of the old file, or an edited key."""
    run: tuple[int, int] | None = None
    for key in order:
        first, end = spans[key]
        if key not in edits and run is not None and run[1] == first:
            run = (run[0], end)
            continue
        if run is not None:
            yield None, *run
        run = None if key in edits else (first, end)
        if key in edits:
            yield key, first, end
    if run is not None:
        yield None, *run


@contextlib.contextmanager
def _header_around(
    stream: IO[bytes], infos: Mapping[str, TensorInfo], order: list[str], extras: Extras
) -> Iterator[None]:
    """Write the header, then let the data be written; put the final header in place at the end."""
    start = stream.tell()
    draft = header_bytes(infos, order, extras.metadata)
    stream.write(draft)
    yield
    if extras.final is not None:
        final = header_bytes(infos, order, extras.final())
        if len(final) != len(draft):
            raise ValueError(f"a header of {len(final)} bytes in the room of {len(draft)}")
        end = stream.tell()
        stream.seek(start)
        stream.write(final)
        stream.seek(end)


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
            header = json.loads(stream.read(length), object_pairs_hook=_once_each)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(
            path,
            f"is no valid safetensors file ({error})",
            "download or export the file again",
        ) from None
    return header, 8 + length


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object; readers do not agree which of two equal keys counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"its header has {twice[:200]!r} twice")
    return found


def header_bytes(
    infos: Mapping[str, TensorInfo], order: list[str], metadata: Mapping[str, str]
) -> bytes:
    """Return length and JSON header of a file whose data is in the ``order`` of keys given."""
    offsets: dict[str, list[int]] = {}
    position = 0
    for key in order:
        offsets[key] = [position, position + infos[key].size]
        position += infos[key].size
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    for key, info in infos.items():
        header[key] = {
            "dtype": info.dtype,
            "shape": list(info.shape),
            "data_offsets": offsets[key],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_header(
    stream: IO[bytes],
    infos: Mapping[str, TensorInfo],
    order: list[str],
    metadata: Mapping[str, str],
) -> None:
    """Write :func:`header_bytes`; the data must follow in the ``order`` of keys given."""
    stream.write(header_bytes(infos, order, metadata))

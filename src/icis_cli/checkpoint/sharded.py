"""Checkpoints in several safetensors files with an index, as Hugging Face's libraries write them.

The index, ``NAME.safetensors.index.json``, is ``{"metadata": {"total_size": ...}, "weight_map":
{tensor: shard}}``. It is not trusted: a shard must be a file in its folder, and hold exactly the
tensors that the index says. A copy rewrites the shards that change, and the index.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, NoReturn

from icis_cli.checkpoint.base import Buffer, Checkpoint, Edit, Extras, Labels, TensorInfo
from icis_cli.checkpoint.copying import copy_stretch
from icis_cli.checkpoint.safetensors import SafetensorsCheckpoint
from icis_cli.errors import CheckpointError
from icis_cli.files import new_stream, sha256_of, sync

INDEX_SUFFIX = ".safetensors.index.json"

#: What becomes of a shard that does not change: a copy, or another name of the same file.
Untouched = Literal["copy", "link"]

_LARGEST_INDEX = 100_000_000
_RESAVE = "save it again: model.save_pretrained(FOLDER, safe_serialization=True)"


@dataclass(frozen=True)
class ShardedCheckpoint(Checkpoint):
    """A folder with an index and the shards that it names.

    Attributes:
        index_name: file name of the index.
        index: its content.
        shards: file name -> shard, sorted by name.
        where: key -> file name of its shard.

    """

    container: ClassVar[str] = "sharded safetensors"
    suffix: ClassVar[str] = ""
    index_name: str = ""
    index: Mapping[str, Any] = None  # type: ignore[assignment]
    shards: Mapping[str, SafetensorsCheckpoint] = None  # type: ignore[assignment]
    where: Mapping[str, str] = None  # type: ignore[assignment]

    @classmethod
    def open(cls, index_path: Path) -> ShardedCheckpoint:
        """Read an index and the headers of its shards.

        Raises:
            CheckpointError: the index is damaged, or does not fit to the shards.

        """
        folder = index_path.parent
        if folder.name in ("", ".."):  # a record lies beside it under its name
            folder = folder.resolve()
        index = _read_index(index_path)
        where: dict[str, str] = index["weight_map"]
        shards = {
            name: SafetensorsCheckpoint.open(_shard_path(index_path, folder, name))
            for name in sorted(set(where.values()))
        }
        for key, name in where.items():
            if key not in shards[name].tensors:
                raise CheckpointError(
                    index_path, f"says that {key!r} is in {name}, but it is not", _DOWNLOAD
                )
        for name, shard in shards.items():
            for key in shard.tensors:
                if where.get(key) != name:
                    raise CheckpointError(
                        index_path, f"does not say that {key!r} is in {name}, but it is", _DOWNLOAD
                    )
        metadata: dict[str, str] = {}
        for shard in shards.values():
            metadata = {**shard.metadata, **metadata}
        tensors = {key: shards[name].tensors[key] for key, name in where.items()}
        return cls(
            folder, tensors, metadata, Labels(), (), index_path.name, index, shards, dict(where)
        )

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path / self.index_name, *(shard.path for shard in self.shards.values()))

    @property
    def origin(self) -> Path:
        indexes = [path for path in self.path.iterdir() if path.name.endswith(INDEX_SUFFIX)]
        return self.path if len(indexes) == 1 else self.path / self.index_name

    def raw(self, key: str) -> Buffer:
        return self.shards[self.where[key]].raw(key)

    def blocks(self, key: str) -> Iterable[Buffer]:
        return self.shards[self.where[key]].blocks(key)

    def mapped(self, key: str) -> Buffer:
        return self.shards[self.where[key]].mapped(key)

    def sha256(self) -> str:
        """Return a sha256 of index and shards.

        It is what ``sha256sum INDEX SHARD... | LC_ALL=C sort | sha256sum`` prints in the folder.
        """
        lines = sorted(f"{sha256_of(path)}  {path.name}\n" for path in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def left_behind(self) -> tuple[str, ...]:
        own = {path.name for path in self.files}
        others = sorted(path.name for path in self.path.iterdir() if path.name not in own)
        if not others:
            return ()
        shown = ", ".join(others[:8]) + (f", ... ({len(others)} in all)" if others[8:] else "")
        return (f"not carried over from {self.path}: {shown}",)

    def write_copy(self, stream: IO[bytes], edits: Mapping[str, Edit], extras: Extras) -> None:
        # A stream is one file: what ``write_folder`` keeps apart is joined.
        SafetensorsCheckpoint.write_converted(stream, self, edits, extras)

    @classmethod
    def write_converted(
        cls,
        stream: IO[bytes],
        source: Checkpoint,
        edits: Mapping[str, Edit],
        extras: Extras,
    ) -> None:
        SafetensorsCheckpoint.write_converted(stream, source, edits, extras)

    @classmethod
    def has_room(
        cls, source: Checkpoint, edits: Mapping[str, Edit], metadata: Mapping[str, str]
    ) -> bool:
        return SafetensorsCheckpoint.has_room(source, edits, metadata)

    def can_link(self, folder: Path) -> bool:
        """Tell whether ``folder`` is on the file system of the shards."""
        device = folder.stat().st_dev
        return all(shard.path.stat().st_dev == device for shard in self.shards.values())

    def write_folder(
        self, folder: Path, edits: Mapping[str, Edit], extras: Extras, untouched: Untouched
    ) -> None:
        """Fill an empty ``folder`` with this checkpoint with ``edits`` put in place.

        Args:
            folder: new and empty; all in it is on the disk at the end.
            edits: at least one; the shard of the first one gets the metadata.
            extras: as for a file.
            untouched: what becomes of shards without an edit. Where a file system has no links,
                they are copied.

        Raises:
            EOFError: a shard became shorter.

        """
        first = self.where[next(iter(edits))]
        for name, shard in self.shards.items():
            own = {key: edit for key, edit in edits.items() if self.where[key] == name}
            if not own and untouched == "link" and _linked(shard.path, folder / name):
                continue
            with new_stream(folder / name) as stream:
                if name == first:
                    shard.write_copy(stream, own, self._extras_of(shard, extras))
                elif own:
                    shard.write_copy(stream, own, Extras(shard.metadata, extras.class_names))
                else:
                    with shard.path.open("rb") as source:
                        copy_stretch(source, stream, 0, os.fstat(source.fileno()).st_size)
                sync(stream)
        with new_stream(folder / self.index_name) as stream:
            stream.write((json.dumps(self._new_index(edits), indent=2) + "\n").encode())
            sync(stream)

    def _extras_of(self, shard: SafetensorsCheckpoint, extras: Extras) -> Extras:
        """Return what of the whole checkpoint's metadata belongs to one shard that is rewritten."""

        def of(metadata: Mapping[str, str]) -> dict[str, str]:
            kept = {key: text for key, text in shard.metadata.items() if key in metadata}
            new = {k: text for k, text in metadata.items() if self.metadata.get(k) != text}
            return {**kept, **new}

        final = extras.final
        return Extras(
            of(extras.metadata), extras.class_names, None if final is None else lambda: of(final())
        )

    def _new_index(self, edits: Mapping[str, Edit]) -> dict[str, Any]:
        totals = dict(self.index.get("metadata") or {})
        changes = [(self.tensors[key], edit.info) for key, edit in edits.items()]
        for name, count in (("total_size", _size), ("total_parameters", _count)):
            if type(totals.get(name)) in (int, float):
                totals[name] += sum(count(new) - count(old) for old, new in changes)
        return {k: totals if k == "metadata" else value for k, value in self.index.items()}


_DOWNLOAD = "download or export the checkpoint again"


def find_index(folder: Path) -> Path:
    """Return the index in a folder.

    Raises:
        CheckpointError: there is none, or several; with the way out.

    """
    names = sorted(path.name for path in folder.iterdir())
    found = [name for name in names if name.endswith(INDEX_SUFFIX)]
    if len(found) == 1:
        return folder / found[0]
    if found:
        raise CheckpointError(
            folder,
            f"holds {len(found)} indexes: {', '.join(found[:5])}",
            f"name one of them, e.g. {folder / found[0]}",
        )
    single = [name for name in names if name.endswith(".safetensors")]
    if len(single) == 1:
        hint = f"name the file: {folder / single[0]}"
    elif any(name.endswith((".bin", ".bin.index.json")) for name in names):
        hint = f"its shards are pickles; {_RESAVE}"
    else:
        hint = f"a folder needs a *{INDEX_SUFFIX} in it"
    raise CheckpointError(folder, "is a folder, expected one checkpoint file", hint)


def _read_index(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST_INDEX:
        raise CheckpointError(path, "is too large for an index of shards")
    try:
        index = json.loads(path.read_bytes(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, f"is no readable index ({error})", _DOWNLOAD) from None
    where = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(where, dict) or not where:
        raise CheckpointError(path, "is no index: expected a weight_map", _DOWNLOAD)
    if not all(isinstance(name, str) for name in where.values()):
        raise CheckpointError(path, "has a weight_map to something else than file names", _DOWNLOAD)
    if not isinstance(index.get("metadata") or {}, dict):
        raise CheckpointError(path, "has metadata that is no object", _DOWNLOAD)
    return index  # type: ignore[no-any-return]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _shard_path(index: Path, folder: Path, name: str) -> Path:
    """Return where a shard is: a file of the folder, or a link there, as download caches have.

    Raises:
        CheckpointError: it would, it is not there, or it is a pickle.

    """
    if name != Path(name).name or "\\" in name or "\0" in name or name in ("", ".", ".."):
        raise CheckpointError(index, f"names the shard {name!r}, expected a plain file name")
    if name.endswith((".bin", ".pt", ".pth")):
        raise CheckpointError(index, f"names the shard {name!r}, which is a pickle", _RESAVE)
    path = folder / name
    try:
        there = path.is_file()
    except OSError as error:
        raise CheckpointError(index, f"names a shard: {error.strerror}", _DOWNLOAD) from None
    if not there:
        raise CheckpointError(path, "no such file, but the index names it", _DOWNLOAD)
    return path


def _linked(source: Path, target: Path) -> bool:
    """Give a file another name, and tell whether the file system can."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        return False
    return True


def _size(info: TensorInfo) -> int:
    return info.size


def _count(info: TensorInfo) -> int:
    return info.count

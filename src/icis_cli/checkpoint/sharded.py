"""Checkpoints in several safetensors files with an index, as Hugging Face's libraries write them.

The index, ``NAME.safetensors.index.json``, is ``{"metadata": {"total_size": ...}, "weight_map":
{tensor: shard}}``. It is not trusted: a shard must be a file in its folder, and hold exactly the
tensors that the index says. A copy rewrites the shards that change, and the index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from icis_cli.checkpoint.base import Edit, Extras, TensorInfo
from icis_cli.checkpoint.folder import FolderCheckpoint, TorchFolderCheckpoint, named
from icis_cli.checkpoint.folder_labels import described
from icis_cli.checkpoint.json_text import read_json
from icis_cli.checkpoint.safetensors import SafetensorsCheckpoint
from icis_cli.errors import CheckpointError
from icis_cli.files import sha256_of

INDEX_SUFFIX = ".safetensors.index.json"

#: The file that Hugging Face's libraries look for.
_USUAL = "model.safetensors"
#: What they wrote before.
_EARLIER = "pytorch_model.bin"

_RESAVE = "save it again: model.save_pretrained(FOLDER, safe_serialization=True)"
_DOWNLOAD = "download or export the checkpoint again"


@dataclass(frozen=True)
class ShardedCheckpoint(FolderCheckpoint):
    """A folder with an index and the shards that it names.

    Attributes:
        index_name: file name of the index.
        index: its content.

    """

    container: ClassVar[str] = "sharded safetensors"
    index_name: str = ""
    index: Mapping[str, Any] = None  # type: ignore[assignment]

    @classmethod
    def open(cls, path: Path) -> ShardedCheckpoint:
        """Read the index at ``path``, the headers of its shards, and what lies beside them.

        Raises:
            CheckpointError: the index is damaged, or does not fit to the shards, or
                ``config.json`` is damaged.

        """
        folder = named(path.parent)
        index = _read_index(path)
        where: dict[str, str] = index["weight_map"]
        shards = {
            name: SafetensorsCheckpoint.open(_shard_path(path, folder, name))
            for name in sorted(set(where.values()))
        }
        for key, name in where.items():
            if key not in shards[name].tensors:
                raise CheckpointError(
                    path, f"says that {key!r} is in {name}, but it is not", _DOWNLOAD
                )
        for name, shard in shards.items():
            for key in shard.tensors:
                if where.get(key) != name:
                    raise CheckpointError(
                        path, f"does not say that {key!r} is in {name}, but it is", _DOWNLOAD
                    )
        metadata: dict[str, str] = {}
        for shard in shards.values():
            metadata = {**shard.metadata, **metadata}
        tensors = {key: shards[name].tensors[key] for key, name in where.items()}
        return cls(
            folder,
            tensors,
            metadata,
            **described(folder, tensors),
            shards=shards,
            where=dict(where),
            index_name=path.name,
            index=index,
        )

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path / self.index_name, *super().files)

    @property
    def origin(self) -> Path:
        indexes = [path for path in self.path.iterdir() if path.name.endswith(INDEX_SUFFIX)]
        return self.path if len(indexes) == 1 else self.path / self.index_name

    def sha256(self) -> str:
        """Return a sha256 of index and shards.

        It is what ``sha256sum INDEX SHARD... | LC_ALL=C sort | sha256sum`` prints in the folder.
        """
        lines = sorted(f"{sha256_of(path)}  {path.name}\n" for path in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _texts(self, edits: Mapping[str, Edit], extras: Extras) -> Iterator[tuple[str, bytes]]:
        yield from super()._texts(edits, extras)
        yield self.index_name, (json.dumps(self._new_index(edits), indent=2) + "\n").encode()

    def _new_index(self, edits: Mapping[str, Edit]) -> dict[str, Any]:
        totals = dict(self.index.get("metadata") or {})
        changes = [(self.tensors[key], edit.info) for key, edit in edits.items()]
        stored = (pair for shard in self.shards.values() for pair in shard.tensors.items())
        gone = [info for key, info in stored if key not in self.where]
        for name, count in (("total_size", _size), ("total_parameters", _count)):
            if type(totals.get(name)) in (int, float):
                totals[name] += sum(count(new) - count(old) for old, new in changes)
                totals[name] -= sum(map(count, gone))
        now = {"metadata": totals, "weight_map": dict(self.where)}
        return {key: now.get(key, value) for key, value in self.index.items()}


def open_folder(folder: Path) -> FolderCheckpoint:
    """Open the checkpoint in a folder: an index and its shards, or a single file.

    Safetensors are taken before a pickle.

    Raises:
        CheckpointError: there is none, or several; with the way out. Or it is damaged.

    """
    names = sorted(path.name for path in folder.iterdir())
    indexes = [name for name in names if name.endswith(INDEX_SUFFIX)]
    if len(indexes) == 1:
        return ShardedCheckpoint.open(folder / indexes[0])
    if indexes:
        raise CheckpointError(
            folder,
            f"holds {len(indexes)} indexes: {', '.join(indexes[:5])}",
            f"name one of them, e.g. {folder / indexes[0]}",
        )
    files = [name for name in names if name.endswith(".safetensors")]
    if len(files) == 1 or _USUAL in files:
        return FolderCheckpoint.open(folder / (_USUAL if _USUAL in files else files[0]))
    if files:
        raise CheckpointError(
            folder,
            f"is a folder, expected one checkpoint file or an index, found {', '.join(files[:5])}",
            f"name one of them, e.g. {folder / files[0]}",
        )
    if _EARLIER in names:
        return TorchFolderCheckpoint.open(folder / _EARLIER)
    pickles = [name for name in names if name.endswith((".bin", ".bin.index.json"))]
    if len(pickles) == 1 and pickles[0].endswith(".bin"):
        hint = f"name the file, {folder / pickles[0]}, or {_RESAVE}"
    elif pickles:
        hint = f"its shards are pickles; {_RESAVE}"
    else:
        hint = f"a folder needs a *.safetensors or *{INDEX_SUFFIX} in it"
    raise CheckpointError(folder, "is a folder, expected one checkpoint file in it", hint)


def _read_index(path: Path) -> dict[str, Any]:
    index, _ = read_json(path, "an index of shards", _DOWNLOAD)
    where = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(where, dict) or not where:
        raise CheckpointError(path, "is no index: expected a weight_map", _DOWNLOAD)
    if not all(isinstance(name, str) for name in where.values()):
        raise CheckpointError(path, "has a weight_map to something else than file names", _DOWNLOAD)
    if not isinstance(index.get("metadata") or {}, dict):
        raise CheckpointError(path, "has metadata that is no object", _DOWNLOAD)
    return index  # type: ignore[no-any-return]


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


def _size(info: TensorInfo) -> int:
    return info.size


def _count(info: TensorInfo) -> int:
    return info.count

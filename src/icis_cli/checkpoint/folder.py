"""Model folders: tensors with a ``config.json`` beside them, as Hugging Face's libraries write.

A copy is a new folder: files with tensors that change are written anew, ``config.json`` gets the
new classes, and small files of text that belong to the model go with it. Other weights and the
state of a training describe the old head; they are never carried over.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, ClassVar, Literal, Self

from icis_cli.checkpoint.base import Buffer, Checkpoint, Edit, Extras
from icis_cli.checkpoint.copying import copy_stretch
from icis_cli.checkpoint.folder_config import ModelConfig
from icis_cli.checkpoint.folder_labels import belongs, described
from icis_cli.checkpoint.safetensors import SafetensorsCheckpoint
from icis_cli.checkpoint.torch_pickle import TorchCheckpoint
from icis_cli.errors import CheckpointError
from icis_cli.files import new_stream, sha256_of, sync

#: What becomes of a file with tensors that do not change: a copy, or another name of the same file.
Untouched = Literal["copy", "link"]

#: What lies beside a model and holds true for one with more classes, too.
_TEXTS = frozenset({".jinja", ".json", ".md", ".py", ".txt", ".yaml", ".yml"})
_TERMS = frozenset({"COPYING", "LICENSE", "LICENCE", "NOTICE"})
_LARGEST_TEXT = 1 << 24

#: What tells about the old head or its training.
_OUTDATED = (".index.json", ".icis.json", "_results.json", "trainer_state.json")


@dataclass(frozen=True)
class FolderCheckpoint(Checkpoint):
    """A folder with one file of tensors, in safetensors.

    Attributes:
        shards: file name -> file with tensors, sorted by name.
        where: key -> name of the file that it is in.
        config: its ``config.json``, or None where it has none.
        left_out: modules that the files hold, but that it is taken to be without.

    """

    container: ClassVar[str] = "safetensors folder"
    suffix: ClassVar[str] = ""
    shards: Mapping[str, Checkpoint] = None  # type: ignore[assignment]
    where: Mapping[str, str] = None  # type: ignore[assignment]
    config: ModelConfig | None = None
    left_out: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path) -> FolderCheckpoint:
        """Read the header of the file at ``path`` and what lies beside it.

        Raises:
            CheckpointError: it cannot be read, or ``config.json`` is damaged.

        """
        if not path.is_file():
            raise CheckpointError(path, "is no regular file, expected a checkpoint")
        folder = named(path.parent)
        file = cls._file(folder / path.name)
        return cls(
            folder,
            file.tensors,
            file.metadata,
            **described(folder, file.tensors, file),
            shards={path.name: file},
            where=dict.fromkeys(file.tensors, path.name),
        )

    @classmethod
    def _file(cls, path: Path) -> Checkpoint:
        return SafetensorsCheckpoint.open(path)

    @property
    def files(self) -> tuple[Path, ...]:
        # ``config.json`` is none of them: it is in memory, and takes part in no digest.
        return tuple(shard.path for shard in self.shards.values())

    def raw(self, key: str) -> Buffer:
        return self.shards[self.where[key]].raw(key)

    def blocks(self, key: str) -> Iterable[Buffer]:
        return self.shards[self.where[key]].blocks(key)

    def mapped(self, key: str) -> Buffer:
        return self.shards[self.where[key]].mapped(key)

    def without(self, modules: Collection[str]) -> Self:
        kept = super().without(modules)
        where = {key: name for key, name in self.where.items() if key in kept.tensors}
        return replace(kept, where=where, left_out=(*self.left_out, *modules))

    def sha256(self) -> str:
        """Return the sha256 of its one file with tensors."""
        return sha256_of(*self.files)

    def left_behind(self) -> tuple[str, ...]:
        own = {path.name for path in (*self.files, *self.companions())}
        others = sorted(path.name for path in self.path.iterdir() if path.name not in own)
        if not others:
            return ()
        shown = ", ".join(others[:8]) + (f", ... ({len(others)} in all)" if others[8:] else "")
        return (f"not carried over from {self.path}: {shown}",)

    def only_here(self) -> tuple[str, ...]:
        lost = ", ".join(path.name for path in self.companions())
        notes = [f"not carried over into a single file: {lost}"] if lost else []
        notes += [note for shard in self.shards.values() for note in shard.only_here()]
        return tuple(notes)

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
        """Tell whether ``folder`` is on the file system of the files with tensors."""
        device = folder.stat().st_dev
        return all(shard.path.stat().st_dev == device for shard in self.shards.values())

    def write_folder(
        self, folder: Path, edits: Mapping[str, Edit], extras: Extras, untouched: Untouched
    ) -> None:
        """Fill an empty ``folder`` with this checkpoint with ``edits`` put in place.

        Args:
            folder: new and empty; all in it is on the disk at the end.
            edits: at least one, that of the head's weight first; its file gets the metadata.
            extras: as for a file.
            untouched: what becomes of files without an edit. Where a file system has no links,
                they are copied.

        Raises:
            EOFError: a file became shorter.
            CheckpointError: a file of text cannot be read.

        """
        first = self.where[next(iter(edits))]
        for name, whole in self.shards.items():
            shard = whole.without(self.left_out)
            own = {key: edit for key, edit in edits.items() if self.where[key] == name}
            same = not own and len(shard.tensors) == len(whole.tensors)
            if not shard.tensors and not same:
                continue  # all in it is left out
            if same and untouched == "link" and _linked(shard.path, folder / name):
                continue
            with new_stream(folder / name) as stream:
                if name == first:
                    shard.write_copy(stream, own, self._extras_of(shard, extras))
                elif not same:
                    shard.write_copy(stream, own, Extras(shard.metadata, extras.class_names))
                else:
                    with shard.path.open("rb") as source:
                        copy_stretch(source, stream, 0, os.fstat(source.fileno()).st_size)
                sync(stream)
        for name, text in self._texts(edits, extras):
            with new_stream(folder / name) as stream:
                stream.write(text)
                sync(stream)

    def _texts(self, edits: Mapping[str, Edit], extras: Extras) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of all that is written beside the files with tensors."""
        rows = self.tensors[next(iter(edits))].shape[0]
        for path in self.companions():
            if self.config is not None and path == self.config.path:
                yield path.name, self.config.with_classes(rows, extras.class_names)
            else:
                yield path.name, _read_text(path)

    def companions(self) -> list[Path]:
        """Return the files without tensors that go with the model: ``config.json``, then others.

        A folder without it may be any folder with a file of tensors in it: nothing goes with that.
        """
        if self.config is None:
            return []
        config = self.config.path
        others = (path for path in self.path.iterdir() if path != config and _is_text(path))
        return [config, *sorted(others)]

    def _extras_of(self, shard: Checkpoint, extras: Extras) -> Extras:
        """Return what of the whole checkpoint's metadata belongs to one file that is rewritten."""

        def of(metadata: Mapping[str, str]) -> dict[str, str]:
            kept = {key: text for key, text in shard.metadata.items() if key in metadata}
            new = {k: text for k, text in metadata.items() if self.metadata.get(k) != text}
            return {**kept, **new}

        final = extras.final
        return Extras(
            of(extras.metadata), extras.class_names, None if final is None else lambda: of(final())
        )


@dataclass(frozen=True)
class TorchFolderCheckpoint(FolderCheckpoint):
    """A folder with one file of tensors, as ``torch.save`` writes it: ``pytorch_model.bin``."""

    container: ClassVar[str] = "torch folder"

    @classmethod
    def _file(cls, path: Path) -> Checkpoint:
        return TorchCheckpoint.open(path)

    @classmethod
    def has_room(
        cls,
        source: Checkpoint,  # noqa: ARG003
        edits: Mapping[str, Edit],  # noqa: ARG003
        metadata: Mapping[str, str],  # noqa: ARG003
    ) -> bool:
        return True  # there is none for metadata: the record lies beside the folder


def torch_file(checkpoint: Checkpoint) -> TorchCheckpoint | None:
    """Return the file of ``torch.save`` that a checkpoint is, or that is in its folder, or None."""
    if isinstance(checkpoint, TorchFolderCheckpoint):
        (checkpoint,) = checkpoint.shards.values()
    return checkpoint if isinstance(checkpoint, TorchCheckpoint) else None


def named(folder: Path) -> Path:
    """Return a folder by a path that ends with its name: the record lies beside it under that."""
    return folder.resolve() if folder.name in ("", "..") else folder


def _is_text(path: Path) -> bool:
    """Tell whether a file goes with the model: small text that is not about the old head."""
    known = path.suffix in _TEXTS or path.name.partition(".")[0] in _TERMS
    if not known or path.name.endswith(_OUTDATED) or not path.is_file() or not belongs(path):
        return False
    return path.stat().st_size <= _LARGEST_TEXT


def _read_text(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            text = stream.read(_LARGEST_TEXT + 1)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror or error}") from error
    if len(text) > _LARGEST_TEXT:
        raise CheckpointError(path, "changed while it was read")
    return text


def _linked(source: Path, target: Path) -> bool:
    """Give a file another name, and tell whether the file system can."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        return False
    return True

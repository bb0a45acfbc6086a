"""Expansion: a checkpoint with rows appended to its head or taken off again, and writing it.

Old rows are copied as bytes, never decoded and encoded again. Plans are made in ``planning``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import IO

from icis_cli.background import in_background
from icis_cli.checkpoint.base import Checkpoint, Edit, Extras
from icis_cli.checkpoint.folder import FolderCheckpoint, Untouched
from icis_cli.checkpoint.head import Head
from icis_cli.checkpoint.registry import container_for
from icis_cli.errors import CheckpointError, OutputError
from icis_cli.files import (
    appearing_folder,
    appearing_together,
    require_writable,
    require_writable_folder,
)
from icis_cli.injection.appending import tied_to
from icis_cli.injection.calibration import NONE, Calibration
from icis_cli.injection.record import METADATA_KEY, Record, side_file
from icis_cli.lazy import Matrix
from icis_cli.validation.certainty import Certainty


@dataclass(frozen=True)
class Expansion:
    """A new checkpoint, ready to be written.

    Attributes:
        checkpoint: the one it is made from.
        head: its head before.
        edits: the tensors that change.
        record: what the new checkpoint will say about itself; None after a removal.
        class_names: of all rows of the new head, in order.
        rows: (U, P) float32 joined rows that are added, made when they are looked at where they
            are very many; (0, P) for a removal.
        calibration: what was done to the rows; ``gamma`` is what an offset should be, also where
            the head has no bias to add it to.
        certainty: how sure each new row is; None where no seen class was held out.
        notes: what a person may want to check.
        warnings: what is odd about the descriptors.
        ties: keys of tensors that lose rows because they have those of the head -> the tensor of
            the head. Which ones gain rows with it, depends on the container that is written.

    """

    checkpoint: Checkpoint
    head: Head
    edits: Mapping[str, Edit]
    record: Record | None
    class_names: tuple[str, ...]
    rows: Matrix
    calibration: Calibration = NONE
    certainty: Certainty | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    ties: Mapping[str, str] = field(default_factory=dict)

    def outputs(self, out: Path) -> tuple[Path, ...]:
        """Return the files that :meth:`write` makes, the checkpoint last."""
        return (out,) if self.record is None else (side_file(out), out)

    def losses(self, out: Path, shards: Untouched = "copy") -> tuple[str, ...]:
        """Return what :meth:`write` does not carry over or do as asked, for people."""
        container = container_for(out, self.checkpoint)
        notes = list(self.checkpoint.left_behind())
        if container is not type(self.checkpoint):
            notes += self.checkpoint.only_here()
        elif self.record is not None:
            notes += [
                f"{key!r} shares its values with {own!r}, and gets the new rows, too"
                for key, own in tied_to(self.checkpoint, self.edits).items()
            ]
        notes += [
            f"{key!r} shares its values with {own!r}, and loses the new rows, too"
            for key, own in self.ties.items()
        ]
        if self.record is not None and not self._has_room(container):
            notes.append(
                "the record is too long for the file's header: it is in "
                f"{side_file(out).name} only, keep it beside the checkpoint"
            )
        if (
            shards == "link"
            and isinstance(self.checkpoint, FolderCheckpoint)
            and container is type(self.checkpoint)
            and not self.checkpoint.can_link(out.parent)
        ):
            notes.append("shards cannot be linked to another file system: they are copied")
        return tuple(notes)

    def write(
        self,
        out: Path | str,
        *,
        force: bool = False,
        shards: Untouched = "copy",
        beside: Mapping[Path, str] = MappingProxyType({}),
    ) -> tuple[Path, ...]:
        """Write the checkpoint, and beside it its record; both appear whole or not at all.

        Where the record waits for the digest of the present checkpoint, it is found beside the
        copying, so that the disk is read once.

        Args:
            out: the new checkpoint. Its suffix chooses the container; the same suffix as the
                input keeps everything else bit-identical. Of a checkpoint in a folder: a new
                folder, or with a suffix one file.
            force: replace existing files.
            shards: of a sharded checkpoint, whether those that do not change are copied, or are
                another name of the same file.
            beside: texts, e.g. a model card, that appear together with them, by file.

        Returns:
            The files written, the checkpoint last.

        Raises:
            OutputError: an output exists, is the input, or cannot be written.
            CheckpointError: the input changed or vanished meanwhile.

        """
        out = Path(out)
        check_outputs(self.checkpoint, out, force=force, beside=tuple(beside))
        container = container_for(out, self.checkpoint)
        final = self._final()
        paths = (*beside, *self.outputs(out))
        self.checkpoint.require_unchanged()
        with _outputs(paths, container, force=force) as (target, streams), self._told(out):
            self._write_tensors(target, container, self._extras(container, final), shards)
            if final is not None:
                streams[side_file(out)].write(final().encode() + b"\n")
            for path, text in beside.items():
                streams[path].write(text.encode())
            self.checkpoint.require_unchanged()
        if final is None:  # what an older file of this name said is no longer true
            side_file(out).unlink(missing_ok=True)
        return paths

    def _write_tensors(
        self,
        target: IO[bytes] | Path,
        container: type[Checkpoint],
        extras: Extras,
        shards: Untouched,
    ) -> None:
        if isinstance(target, Path):
            if not isinstance(self.checkpoint, FolderCheckpoint):
                raise TypeError(f"{self.checkpoint.path} is no folder")
            self.checkpoint.write_folder(target, self.edits, extras, shards)
        elif container is type(self.checkpoint):
            self.checkpoint.write_copy(target, self.edits, extras)
        else:
            container.write_converted(target, self.checkpoint, self.edits, extras)

    def _extras(self, container: type[Checkpoint], final: Callable[[], str] | None) -> Extras:
        if final is None or not self._has_room(container):
            return Extras(self._metadata(None), self.class_names)
        return Extras(
            self._metadata(self._draft), self.class_names, lambda: self._metadata(final())
        )

    @cached_property
    def _draft(self) -> str | None:
        """The record as text, made once: of a million classes it is long."""
        return None if self.record is None else self.record.to_json()

    def _final(self) -> Callable[[], str] | None:
        """Return what waits for the record's last text; the checkpoint is hashed meanwhile."""
        record, draft = self.record, self._draft
        if record is None or draft is None:
            return None
        if not record.is_pending:
            return lambda: draft
        return in_background(lambda: record.with_digest(self.checkpoint.sha256()).to_json()).result

    def _metadata(self, record: str | None) -> dict[str, str]:
        kept = {k: v for k, v in self.checkpoint.metadata.items() if k != METADATA_KEY}
        return kept if record is None else {**kept, METADATA_KEY: record}

    def _has_room(self, container: type[Checkpoint]) -> bool:
        return container.has_room(self.checkpoint, self.edits, self._metadata(self._draft))

    @contextmanager
    def _told(self, out: Path) -> Iterator[None]:
        """Turn what goes wrong while tensors are written into our own errors."""
        try:
            yield
        except EOFError as error:
            raise CheckpointError(self.checkpoint.path, str(error)) from None
        except FileNotFoundError as error:
            if error.filename not in map(str, self.checkpoint.files):
                raise
            raise CheckpointError(error.filename, "vanished meanwhile") from None
        except RuntimeError as error:  # torch's zip writer wraps whatever stopped it
            reason = error.__context__
            if isinstance(reason, KeyboardInterrupt):
                raise reason from None
            told = reason.strerror if isinstance(reason, OSError) else error
            raise OutputError(out, f"cannot be written: {told}") from None


@contextmanager
def _outputs(
    paths: tuple[Path, ...], container: type[Checkpoint], *, force: bool
) -> Iterator[tuple[IO[bytes] | Path, Mapping[Path, IO[bytes]]]]:
    """Open what is to be written: the checkpoint (a stream, or a folder), and all streams."""
    if issubclass(container, FolderCheckpoint):
        with appearing_folder(paths[-1], paths[:-1], force=force) as (folder, streams):
            yield folder, streams
    else:
        with appearing_together(paths, force=force) as streams:
            yield streams[paths[-1]], streams


def check_outputs(
    checkpoint: Checkpoint,
    out: Path,
    *,
    force: bool,
    inputs: tuple[Path, ...] = (),
    beside: tuple[Path, ...] = (),
) -> None:
    """Refuse what :meth:`Expansion.write` would refuse, before any work is done.

    Args:
        checkpoint: the one that is expanded.
        out: the new checkpoint.
        force: whether existing files may be replaced.
        inputs: files besides the checkpoint that must not be overwritten.
        beside: texts that are written together with it.

    Raises:
        OutputError: with the way out.

    """
    guarded = (*checkpoint.files, checkpoint.path, side_file(checkpoint.path), *inputs)
    if issubclass(container_for(out, checkpoint), FolderCheckpoint):
        require_writable_folder(out, inputs=guarded)
    else:
        require_writable(out, force=force, inputs=guarded)
    for path in (side_file(out), *beside):
        require_writable(path, force=force, inputs=guarded)
    if checkpoint.path.is_dir() and checkpoint.path.resolve() in out.resolve().parents:
        raise OutputError(
            out, f"lies in the folder of the checkpoint, {checkpoint.path}", "choose another --out"
        )

"""Expansion: a checkpoint with rows appended to its head or taken off again, and writing it.

Old rows are copied as bytes, never decoded and encoded again. Plans are made in ``planning``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from icis_cli.arrays import FloatArray
from icis_cli.checkpoint.base import Checkpoint, Edit, Extras
from icis_cli.checkpoint.head import Head
from icis_cli.checkpoint.registry import container_for
from icis_cli.errors import CheckpointError, OutputError
from icis_cli.files import appearing_together, require_writable
from icis_cli.injection.calibration import NONE, Calibration
from icis_cli.injection.record import METADATA_KEY, Record, side_file
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
        rows: (U, P) float32 joined rows that are added; (0, P) for a removal.
        calibration: what was done to the rows; ``gamma`` is what an offset should be, also where
            the head has no bias to add it to.
        certainty: how sure each new row is; None where no seen class was held out.
        notes: what a person may want to check.
        warnings: what is odd about the descriptors.

    """

    checkpoint: Checkpoint
    head: Head
    edits: Mapping[str, Edit]
    record: Record | None
    class_names: tuple[str, ...]
    rows: FloatArray
    calibration: Calibration = NONE
    certainty: Certainty | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def outputs(self, out: Path) -> tuple[Path, ...]:
        """Return the files that :meth:`write` makes, the checkpoint last."""
        return (out,) if self.record is None else (side_file(out), out)

    def losses(self, out: Path) -> tuple[str, ...]:
        """Return what would not survive a change of container, for people."""
        container = container_for(out, self.checkpoint)
        return () if container is type(self.checkpoint) else self.checkpoint.only_here()

    def write(self, out: Path | str, *, force: bool = False) -> tuple[Path, ...]:
        """Write the checkpoint, and beside it its record; both appear whole or not at all.

        Args:
            out: the new checkpoint. Its suffix chooses the container; the same suffix as the
                input keeps everything else bit-identical.
            force: replace existing files.

        Returns:
            The files written, the checkpoint last.

        Raises:
            OutputError: an output exists, is the input, or cannot be written.
            CheckpointError: the input changed or vanished meanwhile.

        """
        out = Path(out)
        check_outputs(self.checkpoint, out, force=force)
        container = container_for(out, self.checkpoint)
        record = None if self.record is None else self.record.to_json()
        metadata = {k: v for k, v in self.checkpoint.metadata.items() if k != METADATA_KEY}
        if record is not None:
            metadata[METADATA_KEY] = record
        extras = Extras(metadata, self.class_names)
        paths = self.outputs(out)
        with appearing_together(paths, force=force) as streams:
            if record is not None:
                streams[side_file(out)].write(record.encode() + b"\n")
            try:
                if container is type(self.checkpoint):
                    self.checkpoint.write_copy(streams[out], self.edits, extras)
                else:
                    container.write_converted(streams[out], self.checkpoint, self.edits, extras)
            except EOFError as error:
                raise CheckpointError(self.checkpoint.path, str(error)) from None
            except RuntimeError as error:  # torch's zip writer reports a full disk so
                reason = error.__context__ or error
                raise OutputError(out, f"cannot be written ({reason})") from None
        if record is None:  # what an older file of this name said is no longer true
            side_file(out).unlink(missing_ok=True)
        return paths


def check_outputs(
    checkpoint: Checkpoint, out: Path, *, force: bool, inputs: tuple[Path, ...] = ()
) -> None:
    """Refuse what :meth:`Expansion.write` would refuse, before any work is done.

    Args:
        checkpoint: the one that is expanded.
        out: the new checkpoint.
        force: whether existing files may be replaced.
        inputs: files besides the checkpoint that must not be overwritten.

    Raises:
        OutputError: with the way out.

    """
    container_for(out, checkpoint)
    guarded = (checkpoint.path, side_file(checkpoint.path), *inputs)
    for path in (out, side_file(out)):
        require_writable(path, force=force, inputs=guarded)

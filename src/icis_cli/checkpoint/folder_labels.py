"""What a folder says of the tensors in it: its ``config.json``, and the file with the tensors."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from icis_cli.checkpoint.base import Checkpoint, Labels
from icis_cli.checkpoint.folder_config import CONFIG, ModelConfig, disputed, joined
from icis_cli.errors import CheckpointError


def described(
    folder: Path, tensors: Collection[str], file: Checkpoint | None = None
) -> dict[str, Any]:
    """Read what a folder says of its tensors: values of a checkpoint's attributes, by name.

    Args:
        folder: with or without a ``config.json``.
        tensors: of the checkpoint.
        file: with these tensors, where there is but one. It may say something, too; what
            ``config.json`` says counts before it.

    Raises:
        CheckpointError: there is a ``config.json``, but it is damaged.

    """
    path = folder / CONFIG
    own = Labels() if file is None else file.labels
    notes = () if file is None else _notes_on(file)
    if not path.is_file():
        return {"labels": own, "notes": notes}
    if not belongs(path):
        raise CheckpointError(
            path,
            f"is a link to {path.resolve()}, expected a file of this folder",
            "copy the file here; a new folder would hold a copy of it",
        )
    config = ModelConfig.read(path)
    told = config.labels(tensors)
    if file is not None:
        notes += disputed(CONFIG, told, file.path.name, own)
    return {"labels": joined(told, own), "notes": notes + config.notes(), "config": config}


def _notes_on(file: Checkpoint) -> tuple[str, ...]:
    """Return the notes on a file of a folder; only the file itself is read with ``--state``."""
    return tuple(
        note.replace(": --state ", f": --weights {file.path} --state ") for note in file.notes
    )


def belongs(path: Path) -> bool:
    """Tell whether a file is in its folder, or a link into a download cache as its files are.

    A folder from a stranger may hold links to a person's own files: a copy must not hold those.
    """
    true = path.resolve()
    return true.parent == path.parent.resolve() or true.parent.name == "blobs"

"""Files beside a checkpoint that say which network it is of; they come from strangers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.json_text import read_json
from icis_cli.errors import CheckpointError
from icis_cli.evaluation.preprocessing import LARGEST_SIDE

CONFIG = "config.json"
#: Settings that are sizes of images.
_SIZES = ("input_size", "image_size", "size", "crop_size", "pad_size")


def folder_of(checkpoint: Checkpoint) -> Path:
    """Return the folder in which a checkpoint lies, or which it is."""
    return checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent


def config_of(checkpoint: Checkpoint, name: str = CONFIG) -> dict[str, Any] | None:
    """Read a JSON file beside a checkpoint, None where there is none.

    Raises:
        CheckpointError: it is damaged.

    """
    path = folder_of(checkpoint) / name
    if not path.is_file():
        return None
    try:
        content, _ = read_json(path, "configuration", "mend it, or name the network with --arch")
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror or error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(path, "holds no object, expected a configuration")
    return content


def require_sane_sizes(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> None:
    """Refuse settings that would make images larger than any network takes.

    Raises:
        CheckpointError: they would.

    """
    for key in _SIZES:
        for number in _numbers(settings.get(key)):
            if not 0 <= number <= LARGEST_SIDE:
                raise CheckpointError(
                    checkpoint.path,
                    f"its configuration has {key} {number}, expected at most {LARGEST_SIDE} pixels",
                )


def _numbers(value: Any) -> list[float]:
    """Return a number, or those in a list or an object."""
    if isinstance(value, list | dict):
        parts = value.values() if isinstance(value, dict) else value
        return [part for part in parts if isinstance(part, int | float)]
    return [value] if isinstance(value, int | float) else []

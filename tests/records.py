"""What a new checkpoint says about itself, read without the package's own classes for it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from icis_cli import open_checkpoint


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def side_file(path: Path) -> Path:
    """Where the record of the checkpoint ``path`` lies."""
    return Path(f"{path}.icis.json")


def record_of(path: Path) -> Any:
    """Return the record inside a checkpoint, else that beside it."""
    inside = open_checkpoint(path).metadata.get("icis")
    return json.loads(side_file(path).read_text(encoding="utf-8") if inside is None else inside)

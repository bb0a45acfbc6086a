"""Writing descriptors, in the form that every reader of numpy knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icis_cli.descriptors.base import Descriptors
from icis_cli.files import appearing_together


def write_descriptors(path: Path, found: Descriptors, *, force: bool = False) -> None:
    """Write an ``.npz`` with ``descriptors`` (C, d), and ``names`` and ``columns`` if there are.

    The same descriptors give the same bytes.

    Raises:
        OutputError: it exists (without ``force``) or cannot be written.

    """
    arrays: dict[str, np.ndarray] = {"descriptors": found.values}
    if found.names is not None:
        arrays["names"] = np.array(found.names)
    if found.columns is not None:
        arrays["columns"] = np.array(found.columns)
    with appearing_together((path,), force=force) as streams:
        np.savez_compressed(streams[path], allow_pickle=False, **arrays)

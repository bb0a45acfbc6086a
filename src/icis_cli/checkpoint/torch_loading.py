"""Loading a file of ``torch.save`` without ever running what is in it, and saying why not.

Loading is always ``weights_only=True``: of a pickle, only tensors and plain values are made; see
``torch_values`` for the plain values that torch alone would refuse.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

from icis_cli.checkpoint import torch_values
from icis_cli.checkpoint.torch_unreadable import unreadable_entries
from icis_cli.checkpoint.torch_values import UnsafeValueError, load_allowing
from icis_cli.errors import CheckpointError, first_line
from icis_cli.runtime import import_torch

#: What to do where a file is no state dict.
RESAVE = "save the state dict alone: torch.save(model.state_dict(), 'model.pt')"

#: The name of the refused class in torch's long explanation.
_REFUSED = re.compile(r"\bGLOBAL (\S+)")


def load_root(path: Path, *, legacy: bool) -> Any:
    """Load the object in a file, memory-mapped where its format allows.

    Raises:
        CheckpointError: it is damaged, or holds what only running code could load.

    """
    root = _loaded(path, legacy=legacy)
    if any(map(torch_values.is_stand_in, torch_values.all_parts(root))):
        raise _holds_objects(path, "a part of numpy itself")
    if not legacy:
        _require_whole(path, root)
    return root


def _loaded(path: Path, *, legacy: bool) -> Any:
    try:
        return load_allowing(path, torch_values.allowed(), legacy=legacy)
    except pickle.UnpicklingError as error:
        refused = _REFUSED.search(str(error))
        if refused is None:
            raise CheckpointError(
                path,
                "is no readable PyTorch file (no pickle of tensors and plain values)",
                RESAVE,
            ) from None
        raise _holds_objects(path, refused[1][:160]) from None
    except UnsafeValueError as error:
        raise _holds_objects(path, str(error)) from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(
            path, f"is no readable PyTorch file ({first_line(error)})", RESAVE
        ) from None


def _holds_objects(path: Path, what: str) -> CheckpointError:
    """Return the error for a file with more than plain values, and what to take out of it."""
    problem = f"holds Python objects that only running code from the file could load ({what})"
    entries, alone = unreadable_entries(path)
    load = "where you trust the file, load it with the code that saved it (c = ...)"
    if alone is not None:
        return CheckpointError(
            path,
            f"{problem}, expected a state dict under {alone!r}",
            f"{load}; torch.save(c[{alone!r}].state_dict(), 'model.pt')",
        )
    if entries:
        left_out = "; ".join(f"del c[{entry!r}]" for entry in entries[:8])
        return CheckpointError(
            path,
            f"{problem}, in {', '.join(map(repr, entries[:8]))}, expected tensors and plain values",
            f"{load}; {left_out}; torch.save(c, 'model.pt')",
        )
    return CheckpointError(
        path, f"{problem}, expected a state dict", f"where you trust the file, {RESAVE}"
    )


def _require_whole(path: Path, root: Any) -> None:
    """Refuse an archive with less in it than its tensors take: torch would read what comes next.

    Raises:
        CheckpointError: it is such a one.

    """
    torch = import_torch()
    try:
        with zipfile.ZipFile(path) as archive:
            there = sum(part.file_size for part in archive.infolist() if "/data/" in part.filename)
    except Exception as error:  # a damaged archive can raise anything
        raise CheckpointError(
            path, f"is no readable PyTorch file ({first_line(error)})", RESAVE
        ) from None
    sizes: dict[int, int] = {}
    for value in torch_values.all_parts(root):
        if isinstance(value, torch.Tensor) and not value.is_sparse and value.device.type == "cpu":
            storage = value.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
    needed = sum(sizes.values())
    if needed > there:
        raise CheckpointError(
            path,
            f"is damaged: its tensors take {needed} bytes, but {there} are in it",
            "download or save it again",
        )

"""Loading a file of ``torch.save`` without ever running what is in it, and saying why not.

Loading is always ``weights_only=True``: of a pickle, only tensors and plain values are made.
"""

from __future__ import annotations

import argparse
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icis_cli.errors import CheckpointError, first_line
from icis_cli.runtime import import_torch

#: What to do where a file is no state dict.
RESAVE = "save the state dict alone: torch.save(model.state_dict(), 'model.pt')"

#: Plain bags of values that training scripts keep beside the tensors: options, and paths in them.
_PLAIN = (argparse.Namespace, pathlib.PosixPath)

#: The name of the refused class in torch's long explanation.
_REFUSED = re.compile(r"\bGLOBAL (\S+)")


def load_root(path: Path, *, legacy: bool) -> Any:
    """Load the object in a file, memory-mapped where its format allows.

    Raises:
        CheckpointError: it is damaged, or holds what only running code could load.

    """
    root = _loaded(path, legacy=legacy)
    if not legacy:
        _require_whole(path, root)
    return root


def _loaded(path: Path, *, legacy: bool) -> Any:
    torch = import_torch()
    with torch.serialization.safe_globals(list(_PLAIN)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong is said once, by the error
        try:
            if legacy or path.name.endswith(".safetensors"):  # torch would believe the suffix
                with path.open("rb") as stream:
                    return torch.load(stream, map_location="cpu", weights_only=True)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError as error:
            refused = _REFUSED.search(str(error))
            if refused is None:
                raise CheckpointError(
                    path,
                    "is no readable PyTorch file (no pickle of tensors and plain values)",
                    RESAVE,
                ) from None
            raise CheckpointError(
                path,
                "holds Python objects that only running code from the file could load "
                f"({refused[1][:160]}), expected a state dict",
                f"where you trust the file, {RESAVE}",
            ) from None
        except OSError:
            raise
        except Exception as error:  # a damaged pickle can raise anything
            raise CheckpointError(
                path, f"is no readable PyTorch file ({first_line(error)})", RESAVE
            ) from None


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
    seen: set[int] = set()
    left = [root]
    while left:
        value = left.pop()
        if isinstance(value, torch.Tensor):
            if not value.is_sparse and value.device.type == "cpu":
                storage = value.untyped_storage()
                sizes[storage.data_ptr()] = storage.nbytes()
        elif id(value) not in seen and isinstance(value, (Mapping, list, tuple)):
            seen.add(id(value))
            left += value.values() if isinstance(value, Mapping) else value
    needed = sum(sizes.values())
    if needed > there:
        raise CheckpointError(
            path,
            f"is damaged: its tensors take {needed} bytes, but {there} are in it",
            "download or save it again",
        )

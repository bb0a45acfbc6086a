"""Loading a file of ``torch.save`` without ever running what is in it, and saying why not.

Loading is always ``weights_only=True``: of a pickle, only tensors and plain values are made; see
``torch_values`` for the plain values that torch alone would refuse. What comes of it is looked at
once by ``torch_walk`` before anything else touches it.
"""

from __future__ import annotations

import math
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

from icis_cli.checkpoint import torch_values
from icis_cli.checkpoint.torch_bytearrays import makes_bytes_of_numbers
from icis_cli.checkpoint.torch_choice import WRAPPERS
from icis_cli.checkpoint.torch_unreadable import unreadable_entries
from icis_cli.checkpoint.torch_values import UnsafeValueError, load_allowing
from icis_cli.checkpoint.torch_walk import DEEPEST, TooDeepError, require_plain
from icis_cli.errors import CheckpointError, first_line
from icis_cli.runtime import import_torch

#: What to do where a file is no state dict.
RESAVE = "save the state dict alone: torch.save(model.state_dict(), 'model.pt')"

#: The name of the refused class in torch's long explanation.
_REFUSED = re.compile(r"\bGLOBAL (\S+)")

#: Bytes that tensors may take in all that are more than what is stored of them.
_REPEATED = 1 << 24

#: Entries that are looked through for the way out.
_ENTRIES = 64


def load_root(path: Path, *, legacy: bool) -> Any:
    """Load the object in a file, memory-mapped where its format allows.

    Raises:
        CheckpointError: it is damaged, or holds what only running code could load.

    """
    if makes_bytes_of_numbers(path, legacy=legacy):
        raise _holds_objects(path, "a bytearray of a size", ())
    root = _loaded(path, legacy=legacy)
    try:
        found = require_plain(root)
    except UnsafeValueError as error:
        raise _holds_objects(path, str(error), _odd_entries(root)) from None
    except TooDeepError:
        raise CheckpointError(
            path,
            f"holds dictionaries or lists that lie more than {DEEPEST} deep in each other",
            RESAVE,
        ) from None
    tensors = [part for part in found if isinstance(part, import_torch().Tensor)]
    _require_stored(path, tensors)
    _require_whole(path, tensors, legacy=legacy)
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


def _holds_objects(path: Path, what: str, odd: tuple[str, ...] | None = None) -> CheckpointError:
    """Return the error for a file with more than plain values, and what to take out of it.

    Args:
        path: of the file.
        what: it holds.
        odd: entries that it lies in, where that is known.

    """
    problem = f"holds Python objects that only running code from the file could load ({what})"
    entries, alone = unreadable_entries(path) if odd is None else (list(odd), None)
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


def _odd_entries(root: Any) -> tuple[str, ...]:
    """Return the entries of a file that are not plain, of the first ones; none if a network is."""
    if type(root) is not dict:
        return ()
    odd = []
    for key, value in list(root.items())[:_ENTRIES]:
        try:
            require_plain(value)
        except ValueError:
            odd.append(key)
    named = all(type(key) is str and key not in WRAPPERS for key in odd)
    return tuple(odd) if named else ()


def _require_stored(path: Path, tensors: list[Any]) -> None:
    """Refuse tensors that repeat few bytes of the file very often.

    Raises:
        CheckpointError: there is such a one.

    """
    torch = import_torch()
    left = _REPEATED
    for tensor in tensors:
        if tensor.layout is torch.strided and tensor.device.type == "cpu":
            size = math.prod(tensor.shape) * tensor.element_size()
            stored = torch.UntypedStorage.nbytes(tensor.untyped_storage())
            left -= size if size > stored else 0
            if left < 0:
                raise CheckpointError(
                    path,
                    f"has a tensor of {size} bytes that repeats {stored} bytes of the file",
                    "save it with t.contiguous() in place of each expanded tensor t",
                )


def _require_whole(path: Path, tensors: list[Any], *, legacy: bool) -> None:
    """Refuse a file with less in it than its tensors take: torch would read what comes next.

    Raises:
        CheckpointError: it is such a one.

    """
    torch = import_torch()
    there = path.stat().st_size if legacy else _archived(path)
    sizes: dict[int, int] = {}
    for tensor in tensors:
        if tensor.layout is torch.strided and tensor.device.type == "cpu":
            storage = tensor.untyped_storage()
            sizes[torch.UntypedStorage.data_ptr(storage)] = torch.UntypedStorage.nbytes(storage)
    needed = sum(sizes.values())
    if needed > there:
        raise CheckpointError(
            path,
            f"is damaged: its tensors take {needed} bytes, but {there} are in it",
            "download or save it again",
        )


def _archived(path: Path) -> int:
    """Return how many bytes of tensors an archive says that it has."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(part.file_size for part in archive.infolist() if "/data/" in part.filename)
    except Exception as error:  # a damaged archive can raise anything
        raise CheckpointError(
            path, f"is no readable PyTorch file ({first_line(error)})", RESAVE
        ) from None

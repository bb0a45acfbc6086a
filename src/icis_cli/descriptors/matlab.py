"""Descriptors in MATLAB v5 files, as xlsa17's ``att_splits.mat`` (extra ``[mat]``: scipy).

There ``att`` is (d, C), one column per class in the order of ``allclasses_names``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from icis_cli.descriptors.base import Descriptors, checked
from icis_cli.errors import DescriptorError
from icis_cli.runtime import import_extra


def read_mat(path: Path) -> Descriptors:
    """Read ``att`` and ``allclasses_names``.

    Raises:
        DescriptorError: not MATLAB v5, or without ``att``.
        InstallationError: scipy is not installed.

    """
    scipy_io = import_extra("scipy.io", "mat", f"{path}: reading a MATLAB file")
    try:
        content: dict[str, Any] = scipy_io.loadmat(
            path, variable_names=("att", "allclasses_names"), appendmat=False
        )
    except NotImplementedError:
        raise DescriptorError(
            path, "is a MATLAB v7.3 (HDF5) file, expected v5", "save it with: save(..., '-v7')"
        ) from None
    except Exception as error:  # scipy raises many kinds on damaged files
        raise DescriptorError(path, f"is no readable MATLAB v5 file ({error})") from None
    if "att" not in content:
        raise DescriptorError(path, "expected an array 'att' (attributes, classes), found none")
    names = None
    if "allclasses_names" in content:
        names = [_text(path, cell) for cell in np.asarray(content["allclasses_names"]).ravel()]
    return checked(path, np.asarray(content["att"]).T, names)


def _text(path: Path, cell: Any) -> str:
    """Return the one string inside a MATLAB cell."""
    while isinstance(cell, np.ndarray) and cell.size == 1:
        cell = cell.ravel()[0]
    if not isinstance(cell, str):
        raise DescriptorError(path, "'allclasses_names' holds something that is no text")
    return cell.strip()

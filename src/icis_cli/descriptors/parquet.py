"""Descriptors in ``.parquet``: columns of numbers, or one column of lists, and one of names.

pyarrow ends the whole process on some damaged files, and makes gigabytes of a few bytes on others.
It therefore reads in a process of its own, with a limit to its memory: see ``parquet_process``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from icis_cli.descriptors.base import Descriptors, checked
from icis_cli.errors import DescriptorError
from icis_cli.runtime import import_extra

#: Bytes that pyarrow may take, itself included, and for each byte of the file.
_ALWAYS, _INFLATION = 1 << 30, 200

#: What the process of its own runs.
_MODULE = "icis_cli.descriptors.parquet_process"


def read_parquet(path: Path) -> Descriptors:
    """Read descriptors (C, d): one class per row.

    A column of lists of numbers holds the values, as tables of embeddings have it; else all
    columns of numbers do. The names are in the one column of text, or in the one that is called
    ``class``, ``name`` or the like, which may hold numbers.

    Raises:
        DescriptorError: no such file, damaged, far larger in memory than a file of its size should
            be, without numbers, or with several columns of text.
        InstallationError: pyarrow is not installed.

    """
    import_extra("pyarrow", "parquet", f"{path}: a Parquet file")
    limit = _ALWAYS + _INFLATION * path.stat().st_size
    # It must find the packages that this process finds, wherever they are.
    here = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryFile() as answer:
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", _MODULE, str(path), str(limit)],
            env={**os.environ, **here, "ARROW_DEFAULT_MEMORY_POOL": "system"},
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        answer.seek(0)
        if done.returncode == 0:
            return _received(path, answer)
    raise DescriptorError(
        path,
        f"is no readable Parquet file (pyarrow ended with code {done.returncode}: it is damaged, "
        "or becomes far larger than a file of its size should)",
        "write it anew",
    )


def _received(path: Path, answer: IO[bytes]) -> Descriptors:
    told: dict[str, Any] = json.loads(answer.readline())
    if "problem" in told:
        raise DescriptorError(path, told["problem"], told["hint"])
    values = np.frombuffer(bytearray(answer.read()), dtype=np.float32).reshape(told["shape"])
    found = checked(path, values, told["names"], told["columns"])
    return replace(found, notes=(*found.notes, *(f"{path}: {note}" for note in told["notes"])))

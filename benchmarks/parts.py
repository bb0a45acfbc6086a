"""Parts of a section that need a folder each; one that fails does not end the others."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.children import CommandError
from benchmarks.measure import Line, Setting, Skipped

#: Measures something with files in a new folder.
Part = Callable[[Setting, Path], Iterator[Line]]


def in_folders(setting: Setting, name: str, parts: Sequence[Part]) -> Iterator[Line]:
    """Yield the lines of all parts, each with a folder of its own that is removed after it."""
    for number, part in enumerate(parts):
        folder = setting.work / f"part{number}"
        folder.mkdir(parents=True)
        try:
            yield from part(setting, folder)
        except CommandError as error:
            yield Skipped(f"{name}: {part.__name__.strip('_').replace('_', ' ')}", str(error))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

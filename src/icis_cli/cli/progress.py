"""Where ``icis fit`` keeps the progress of long trainings, and when that is removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from icis_cli import __version__
from icis_cli.errors import IcisError
from icis_cli.runtime import core_count

if TYPE_CHECKING:
    from icis_cli.cli.output import Output, ProgressBar
    from icis_cli.methods.base import Watch
    from icis_cli.methods.progress import Progress


@contextmanager
def kept_progress(output: Output, out: Path, device: str, *, anew: bool) -> Iterator[Progress]:
    """Keep progress in a folder beside ``out`` while a block runs.

    It is removed at the end of the block and after an error; after an interrupt, or if the process
    is killed, it stays.
    """
    from importlib.metadata import version

    from icis_cli.methods.progress import Progress

    # The sums of another number of threads are rounded otherwise.
    versions = f"{__version__} {version('torch')} {version('numpy')} {device} {core_count()}"
    progress = Progress(Path(f"{out}.progress"), versions)
    folder = progress.folder
    if anew:
        if progress.kept():
            output.note(
                [f"{folder}, which a stopped fit left, is removed: --resume would have gone on"]
            )
        progress.forget()
    elif not folder.is_dir():
        output.note([f"there is no {folder} to go on from: starting anew"])
    unfit = (
        f"nothing in {folder} fits this fit (it is of other options, inputs or versions, another "
        "device or number of cores)"
    )
    progress = replace(
        progress,
        stale=lambda: output.note([f"{unfit}: starting anew"]),
        earlier=progress.kept(),
    )
    try:
        yield progress
    except KeyboardInterrupt:
        if progress.folder.is_dir():
            output.note([f"{progress.folder} has what was trained: icis fit --resume goes on"])
        raise
    except IcisError:
        progress.forget()
        raise
    if progress.earlier:  # no training was long enough to be told of
        output.note([f"{unfit}: all was trained anew"])
    progress.forget()


def shown(bar: ProgressBar) -> Watch:
    """Return what shows epochs on a bar."""
    return lambda step: bar.show(step.epoch, step.epochs, f"loss {step.loss:.4f}")

"""Options about labelled samples: where their labels are, and who reads their images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from icis_cli.cli.output import ProgressBar

Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="Labels of --features F.npy: .npy, or class names or row numbers, one a line.",
    ),
]
Readers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=0,
        help="Processes that read images. Default: 0 for few images, else one a core, up to 8.",
        show_default=False,
    ),
]


def one_sided(seen: int, new: int) -> tuple[str, ...]:
    """Warn where no sample is of a seen, or of a new class: half of the figures need some.

    Args:
        seen: samples of seen classes.
        new: samples of new ones.

    """
    if not new:
        return ("no sample is of a new class: T1, u and H need samples of new classes",)
    if not seen:
        return ("no sample is of a seen class: s and H need samples of seen classes",)
    return ()


def with_rate(bar: ProgressBar | None) -> Callable[[int, int], None] | None:
    """Return what shows samples done and in all on a bar, and how many a second it are."""
    if bar is None:
        return None
    first: list[tuple[int, float]] = []

    def show(done: int, total: int) -> None:
        # Counted from the end of the first batch, which waits for all that has to start.
        if not first:
            first.append((done, time.monotonic()))
        seconds = time.monotonic() - first[0][1]
        bar.show(done, total, f"({(done - first[0][0]) / seconds:.0f}/s)" if seconds else "")

    return show

"""Options about labelled samples: where their labels are, and who reads their images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from icis_cli.evaluation.result import Evaluation

SAMPLES = "Labelled samples"
IMAGES = "How images are answered (default: as the network's own library does)"

Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="Labels of --features F.npy: .npy, or class names or descriptor row numbers, one a "
        "line.",
        rich_help_panel=SAMPLES,
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
        rich_help_panel=IMAGES,
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


def one_sided_result(evaluation: Evaluation) -> tuple[str, ...]:
    """Warn as :func:`one_sided` does, of the samples of an evaluation."""
    new = sum(one.samples for one in evaluation.classes if one.kind == "unseen")
    return one_sided(evaluation.samples - new, new)

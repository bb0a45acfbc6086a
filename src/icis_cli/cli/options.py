"""Options that several commands share, and how option values become API values."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icis_cli.errors import DescriptorError, UsageError
from icis_cli.runtime import require_device

if TYPE_CHECKING:
    from icis_cli.injection.tuning import Wanted

_HOW = "What is printed"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=_HOW)]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print the result in one line.", rich_help_panel=_HOW),
]
NoProgress = Annotated[
    bool, typer.Option("--no-progress", help="Show no progress bar.", rich_help_panel=_HOW)
]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Replace existing output files.", rich_help_panel="What is written"
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Tell what would be written, only.", rich_help_panel="What is written"
    ),
]
HeadKey = Annotated[
    str | None,
    typer.Option(
        "--head",
        metavar="KEY",
        help="The final linear layer, e.g. classifier.6. Default: found.",
        show_default=False,
        rich_help_panel="Which part of the checkpoint",
    ),
]

State = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="KEY",
        help="Of a training checkpoint with several networks in it (model, model_ema): the entry "
        "to take. Default: an averaged one first.",
        show_default=False,
        rich_help_panel="Which part of the checkpoint",
    ),
]


def _known_device(device: str) -> str:
    require_device(device)
    return device


Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda",
        help="Where to compute.",
        callback=_known_device,
        autocompletion=lambda: ["auto", "cpu", "cuda"],
    ),
]


#: What every random number generator takes.
LARGEST_SEED = 2**32 - 1

#: No logit comes near; a larger offset would round the differences between new rows away.
_TOO_LARGE = 1e4


def lines_of(path: Path | None) -> list[str] | None:
    """Read a list file, if there is one.

    Raises:
        DescriptorError: it is not there, or no list: a name is given instead of a file with names.

    """
    if path is None:
        return None
    from icis_cli.descriptors.registry import read_lines

    if not os.path.lexists(path):
        raise DescriptorError(
            path,
            "no such file, expected one with names, one a line",
            "write the names into a text file, and give that",
        )

    return read_lines(path)


def calibration_of(calibration: str, accuracy: float | None) -> Wanted:
    """Return what ``--calibration`` asks for; checks ``--expected-accuracy``, too.

    Raises:
        UsageError: no calibration, or an accuracy beyond 0..1 or without ``auto``.

    """
    if accuracy is not None:
        if not 0 < accuracy <= 1:
            raise UsageError(
                f"--expected-accuracy {accuracy}: expected a fraction above 0 and up to 1"
            )
        if calibration != "auto":
            raise UsageError("--expected-accuracy is for --calibration auto")
    if calibration == "auto":
        return "auto"
    if calibration == "none":
        return "none"
    try:
        gamma = float(calibration)
    except ValueError:
        gamma = math.nan
    if not abs(gamma) < _TOO_LARGE:  # nan, too
        raise UsageError(
            f"--calibration {calibration}: expected 'auto', 'none' or a number below {_TOO_LARGE:g}"
        )
    return gamma

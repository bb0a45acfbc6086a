"""Options that several commands share, and how option values become API values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icis_cli.runtime import require_device

_HOW = "What is printed"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=_HOW)]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print the result in one line.", rich_help_panel=_HOW),
]
NoProgress = Annotated[
    bool, typer.Option("--no-progress", help="Show no progress bar.", rich_help_panel=_HOW)
]
Force = Annotated[bool, typer.Option("--force", help="Replace existing output files.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be written, only.")]
HeadKey = Annotated[
    str | None,
    typer.Option(
        "--head",
        metavar="KEY",
        help="The final linear layer, e.g. classifier.6. Default: found.",
        show_default=False,
    ),
]


def _known_device(device: str) -> str:
    require_device(device)
    return device


Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="auto|cpu|cuda", help="Where to compute.", callback=_known_device
    ),
]


#: What every random number generator takes.
LARGEST_SEED = 2**32 - 1


def lines_of(path: Path | None) -> list[str] | None:
    """Read a list file, if there is one."""
    if path is None:
        return None
    from icis_cli.descriptors.registry import read_lines

    return read_lines(path)

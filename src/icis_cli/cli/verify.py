"""``icis verify``: whether a new checkpoint is the old one plus rows, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icis_cli.cli import options
from icis_cli.cli.output import Output


def verify(
    old: Annotated[
        Path,
        typer.Argument(
            metavar="OLD", help="The checkpoint that rows were added to.", show_default=False
        ),
    ],
    new: Annotated[
        Path,
        typer.Argument(
            metavar="NEW",
            help="What icis inject wrote, in the same format or another one.",
            show_default=False,
        ),
    ],
    state: options.State = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Prove that a checkpoint is another one plus rows: all else is the same, bit for bit.

    Exits with 1 where it is not.

    Example: icis verify resnet50.pt resnet50.injected.pt
    """
    output = Output.of("verify", json=json, quiet=quiet, no_progress=no_progress)
    from icis_cli import open_checkpoint
    from icis_cli import verify as compare
    from icis_cli.report.verifications import verification_line, verification_report

    with output.bar("compare", "MB") as bar:

        def show(done: int, total: int, tensor: str) -> None:
            if bar is not None:
                bar.show(done // 1_000_000, total // 1_000_000, tensor[-40:])

        found = compare(open_checkpoint(old, state), new, show)
    output.result(verification_report(found), verification_line(found), found.to_json())
    found.require()

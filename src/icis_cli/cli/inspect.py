"""``icis inspect``: what a checkpoint holds, and what icis understands of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icis_cli.cli import options
from icis_cli.cli.output import Output


def inspect(
    weights: Annotated[
        Path,
        typer.Argument(
            metavar="CKPT",
            help="The checkpoint: .pt, .safetensors, .onnx, or a folder.",
            show_default=False,
        ),
    ],
    head: options.HeadKey = None,
    state: options.State = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Say what a checkpoint holds: its final layer, class names, what was injected into it.

    Of the tensors, only the final layer is read.

    Example: icis inspect resnet50.pt
    """
    output = Output.of("inspect", json=json, quiet=quiet, no_progress=no_progress)
    from icis_cli import inspect_checkpoint, open_checkpoint
    from icis_cli.report.inspections import inspection_line, inspection_report

    with output.busy("inspect"):
        inspection = inspect_checkpoint(open_checkpoint(weights, state), head)
    output.result(inspection_report(inspection), inspection_line(inspection), inspection.to_json())

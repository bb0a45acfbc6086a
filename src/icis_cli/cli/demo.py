"""``icis demo``: the three commands on a real ImageNet classifier, without any image."""

from __future__ import annotations

import shlex
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Annotated

import typer

from icis_cli.cli import options
from icis_cli.cli.output import Output


def demo(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where to put the files.",
            rich_help_panel="What is written",
        ),
    ] = Path("icis-demo"),
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, max=options.LARGEST_SEED, help="Of every random choice."),
    ] = 0,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Take 200 classes out of a real ImageNet classifier, inject them back, compare the rows.

    Needs the extra named demo, which make demo installs.

    Example: icis demo
    """
    output = Output.of("demo", json=json, quiet=quiet, no_progress=no_progress)
    from icis_cli.cli.main import run
    from icis_cli.demo.material import prepare

    material = prepare(out, force=force)
    output.say("EfficientNet-Lite0, trained on ImageNet's 1000 classes, without every fifth:")
    output.say(str(material.weights))
    injector, new = out / "injector.safetensors", out / "lite0_1000.pth"
    common = {"human": [], "json": ["--json"], "quiet": ["--quiet"]}[output.mode]
    writing = [*common, *(["--force"] if force else [])]
    bar = ["--no-progress"] if no_progress else []
    fit = ["fit", "--weights", material.weights, "--attrs", material.attrs, "--seen", material.seen]
    inject = ["inject", "--injector", injector, "--out", new]
    evaluate = ["eval", "--weights", new, "--reference", material.reference]
    evaluate += ["--reference-classes", material.classes, "--injector", injector]
    steps = (
        [*fit, "--out", injector, "--seed", seed, *writing, *bar],
        [*inject, *writing],
        [*evaluate, *common],
    )
    for step in steps:
        command = [str(word) for word in step]
        output.say("")
        output.show_command(f"icis {shlex.join(command)}")
        # With --json or --quiet the last command's result is the only one.
        silent = output.mode != "human" and step is not steps[-1]
        kept = StringIO()
        with redirect_stdout(kept) if silent else nullcontext():
            code = run(command)
        if code:
            print(kept.getvalue(), end="")  # with --json: what went wrong
            raise typer.Exit(code)

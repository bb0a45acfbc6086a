"""``icis describe``: descriptors made of class names, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icis_cli.cli import name_options as naming
from icis_cli.cli import options
from icis_cli.cli.output import Output
from icis_cli.errors import UsageError
from icis_cli.files import require_writable


def describe(
    names: naming.Names = None,
    encoder: naming.Encoder = None,
    prompt: naming.Prompt = None,
    download: naming.Download = False,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE.npz",
            help="The descriptors to write.",
            rich_help_panel="What is written",
        ),
    ] = Path("descriptors.npz"),
    force: options.Force = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Describe classes by their names, and write that as a file for --attrs.

    Example: icis describe --names birds.txt --encoder glove.txt --out birds.npz
    """
    output = Output.of("describe", json=json, quiet=quiet, no_progress=no_progress)
    given = naming.Naming(names, encoder, prompt or [], download)
    given.check()
    if names is None:
        raise UsageError("--names is missing: the classes to describe", "see icis describe --help")
    if out.suffix.casefold() != ".npz":
        raise UsageError(f"--out {out}: expected a name that ends in .npz")
    require_writable(out, force=force, inputs=given.paths)
    from icis_cli.descriptors.writing import write_descriptors

    with output.busy("describe"):
        found = given.read()
    output.note(found.notes)
    output.warn(found.warnings)
    if not dry_run:
        write_descriptors(out, found, force=force)
    count, width = found.values.shape
    made = found.encoding
    output.result(
        f"{'would write' if dry_run else 'wrote'} {out}: {count} classes, d = {width}",
        str(out),
        {
            "out": str(out),
            "dry_run": dry_run,
            "classes": list(found.names or ()),
            "width": width,
            "encoder": None if made is None else made.label,
            "prompts": [] if made is None else list(made.prompts),
            "notes": list(found.notes),
            "warnings": list(found.warnings),
        },
    )

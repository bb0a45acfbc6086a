"""``icis inject``: write the checkpoint with rows for the new classes, or take them off again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icis_cli.cli import name_options as naming
from icis_cli.cli import options
from icis_cli.cli.output import Output
from icis_cli.cli.report_options import checked_outputs
from icis_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from icis_cli.checkpoint.base import Checkpoint
    from icis_cli.checkpoint.folder import Untouched
    from icis_cli.descriptors.base import Descriptors
    from icis_cli.injection.expansion import Expansion
    from icis_cli.injection.injector import Injector
    from icis_cli.injection.planning import Auxiliary
    from icis_cli.report.outlook import Outlook


def inject(
    injector: Annotated[
        Path, typer.Option("--injector", metavar="FILE", help="Made by icis fit.")
    ] = Path("injector.safetensors"),
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights", metavar="CKPT", help="The classifier. Default: the one given to fit."
        ),
    ] = None,
    state: options.State = None,
    attrs: Annotated[
        list[Path] | None,
        typer.Option(
            "--attrs",
            metavar="DESC",
            help="Other or more new classes than fit saw. As often as fit had --attrs, in the "
            "same order.",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes",
            metavar="FILE",
            help="Names of the rows of every --attrs file that has none; one a line.",
            rich_help_panel="Which class is which",
        ),
    ] = None,
    unseen: Annotated[
        Path | None,
        typer.Option(
            "--unseen",
            metavar="FILE",
            help="Names or row numbers of the classes to add. Default: all that are new.",
            rich_help_panel="Which class is which",
        ),
    ] = None,
    names: naming.Names = None,
    encoder: naming.SameEncoder = None,
    download: naming.Download = False,
    calibration: Annotated[
        str,
        typer.Option(
            "--calibration",
            metavar="auto|none|FLOAT",
            help="What makes new classes compete fairly with trained ones, which win most "
            "contests otherwise. auto: found without images; a number: offset added to the biases "
            "of the new rows.",
            rich_help_panel="How new classes are made to compete",
        ),
    ] = "auto",
    expected_accuracy: Annotated[
        float | None,
        typer.Option(
            "--expected-accuracy",
            metavar="X",
            help="How often the classifier is right on its own classes, 0 to 1: makes auto better "
            "for classifiers that are right in less than two of three cases.",
            rich_help_panel="How new classes are made to compete",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="NEW",
            help="The checkpoint to write; its suffix chooses the format. "
            "Default: NAME.injected.SUFFIX in this folder.",
            rich_help_panel="What is written",
        ),
    ] = None,
    shards: Annotated[
        str,
        typer.Option(
            "--shards",
            metavar="copy|link",
            help="Of a checkpoint in several files: what becomes of those that do not change. "
            "link: another name of the same file, which takes no room.",
            rich_help_panel="What is written",
        ),
    ] = "copy",
    auxiliary: Annotated[
        str,
        typer.Option(
            "--auxiliary",
            metavar="widen|drop",
            help="What becomes of heads that take part in training alone (GoogLeNet, Inception "
            "v3): neutral rows for the new classes, or they are left out.",
            rich_help_panel="What is written",
        ),
    ] = "widen",
    card: Annotated[
        bool,
        typer.Option(
            "--card",
            help="Write a model card, too: NEW.md says what was added, how good it may be, and "
            "how to load it.",
            rich_help_panel="What is written",
        ),
    ] = False,
    remove: Annotated[
        bool,
        typer.Option("--remove", help="Take all injected rows off --weights instead."),
    ] = False,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Write the checkpoint with rows for the new classes; old rows and all else stay as they are.

    Example: icis inject --out resnet50_plus.pt
    """
    output = Output.of("inject", json=json, quiet=quiet, no_progress=no_progress)
    wanted = options.calibration_of(calibration, expected_accuracy)
    untouched = _untouched(shards)
    sides = _sides(auxiliary)
    if remove and weights is None:
        raise UsageError("--remove needs --weights: the checkpoint to take rows off")
    if names is None and (encoder is not None or download):
        raise UsageError("--encoder and --download need --names: the classes to describe")
    if remove and (
        attrs or names or unseen or calibration != "auto" or expected_accuracy is not None
    ):
        raise UsageError("--remove takes all injected rows off: leave out what to add")
    if remove and card:
        raise UsageError("--card tells what was added, but --remove takes it off: leave one out")
    from icis_cli import Injector, expand, open_checkpoint, read_views
    from icis_cli import remove as remove_rows
    from icis_cli.injection.expansion import check_outputs
    from icis_cli.report.card import card_file
    from icis_cli.report.outlook import outlook_of

    if remove and weights is not None:
        checkpoint = open_checkpoint(weights, state)
        output.note(checkpoint.notes)
        original = out or _beside(checkpoint, "original")
        check_outputs(checkpoint, original, force=force)
        removal = remove_rows(checkpoint)
        _finish(output, removal, None, original, untouched, {}, force=force, dry_run=dry_run)
        return
    loaded = Injector.load(injector)
    if weights is None:
        checkpoint = open_checkpoint(loaded.source.path, state or loaded.source.state)
    else:
        checkpoint = open_checkpoint(weights, state)
    output.note(checkpoint.notes)
    new = out or _beside(checkpoint, "injected")
    described = (injector, *(attrs or ()), classes, unseen, names)
    inputs = tuple(path for path in described if path is not None)
    cards = (card_file(new),) if card else ()

    def check() -> None:
        check_outputs(checkpoint, new, force=force, inputs=inputs, beside=cards)

    with checked_outputs(inputs, check):
        table = read_views(attrs, classes) if attrs and names is None else None
        if names is not None:
            table = _named(loaded, names, attrs or [], classes, encoder, download=download)
        chosen = options.lines_of(unseen)
    with output.busy("predict rows"):
        expansion = expand(
            checkpoint,
            loaded,
            table,
            unseen=None if chosen is None else tuple(chosen),
            calibration=wanted,
            accuracy=expected_accuracy,
            auxiliary=sides,
        )
    outlook = outlook_of(expansion, loaded, table)
    beside = {path: _card(expansion, outlook, new) for path in cards}
    _finish(output, expansion, outlook, new, untouched, beside, force=force, dry_run=dry_run)


def _card(expansion: Expansion, outlook: Outlook, out: Path) -> str:
    """Return the model card of a new checkpoint."""
    from icis_cli.evaluation.networks.telling import network_of
    from icis_cli.report.card import model_card

    network = network_of(expansion.checkpoint, len(expansion.head.weight))
    return model_card(expansion, outlook, out, network)


def _named(
    injector: Injector,
    names: Path,
    attrs: list[Path],
    classes: Path | None,
    encoder: str | None,
    *,
    download: bool,
) -> Descriptors:
    """Describe classes by their names, and by files where fit had some, too."""
    from icis_cli import describe_further, read_descriptors

    others = [read_descriptors(path, classes) for path in attrs]
    return describe_further(injector, names, others, encoder=encoder, download=download)


#: Suffixes of two parts, of training checkpoints.
_ARCHIVED = (".pth.tar", ".pt.tar", ".ckpt.tar")


def _beside(checkpoint: Checkpoint, what: str) -> Path:
    """Return the default output, in the working folder: ``NAME.injected.SUFFIX``."""
    path = checkpoint.path
    if not checkpoint.suffix:  # a folder, whose name may have a dot in it
        true, here = path.resolve(), Path.cwd().resolve()
        name = f"{true.name if path.name in ('', '..') else path.name}.{what}"
        inside = true in (here, *here.parents)  # a new folder cannot lie in it
        return true.with_name(name) if inside else Path(name)
    end = next((one for one in _ARCHIVED if path.name.endswith(one)), path.suffix)
    return Path(f"{path.name.removesuffix(end)}.{what}{end or checkpoint.suffix}")


def _untouched(shards: str) -> Untouched:
    known: dict[str, Untouched] = {"copy": "copy", "link": "link"}
    if shards not in known:
        raise UsageError(f"--shards {shards}: expected copy or link")
    return known[shards]


def _sides(auxiliary: str) -> Auxiliary:
    known: dict[str, Auxiliary] = {"widen": "widen", "drop": "drop"}
    if auxiliary not in known:
        raise UsageError(f"--auxiliary {auxiliary}: expected widen or drop")
    return known[auxiliary]


def _finish(
    output: Output,
    expansion: Expansion,
    outlook: Outlook | None,
    out: Path,
    shards: Untouched,
    beside: Mapping[Path, str],
    *,
    force: bool,
    dry_run: bool,
) -> None:
    """Write what was planned, and texts ``beside`` it, and print the result.

    There is no ``outlook`` where rows are taken off.
    """
    from icis_cli.report.injections import (
        calibration_line,
        certainty_table,
        injection_json,
        injection_warnings,
    )

    notes = (*expansion.notes, *expansion.losses(out, shards))
    output.note(notes)
    output.warn(expansion.warnings)
    files = [str(path) for path in (*beside, *expansion.outputs(out))]
    before, after = len(expansion.head.weight), len(expansion.class_names)
    if not dry_run:
        with output.busy(f"write {out.name}"):
            expansion.write(out, force=force, shards=shards, beside=beside)
    verb = "would write" if dry_run else "wrote"
    doubts: Sequence[str] = ()
    if outlook is not None:
        output.say(calibration_line(expansion))
        if expansion.certainty is not None:
            output.say(certainty_table(expansion, outlook))
        doubts = injection_warnings(expansion, outlook)
        output.warn(doubts)
    content: dict[str, Any] = {}
    if output.mode == "json":  # an entry per class: of a million of them, only if they are wanted
        content = {
            "out": str(out),
            "files": files,
            "dry_run": dry_run,
            "head": expansion.head.key,
            "rows_before": before,
            "rows_after": after,
            "classes": list(expansion.class_names[before:]),
            **injection_json(expansion, outlook),
            "notes": [*expansion.checkpoint.notes, *notes],
            "warnings": [*expansion.warnings, *doubts],
        }
    output.result(
        f"{verb} {out}: {expansion.head.key} with {before} -> {after} rows", str(out), content
    )
    if outlook is not None:
        for text in outlook.lines:
            output.say(text)

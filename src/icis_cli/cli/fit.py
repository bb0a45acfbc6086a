"""``icis fit``: learn from a checkpoint's own classes how a descriptor becomes a row."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icis_cli.cli import class_options as given
from icis_cli.cli import name_options as naming
from icis_cli.cli import options
from icis_cli.cli import report_options as with_report
from icis_cli.cli.output import Output
from icis_cli.cli.progress import kept_progress, shown
from icis_cli.cli.recipe_options import (
    METHOD_NAMES,
    RECIPE_NAMES,
    Batch,
    Epochs,
    Hidden,
    Inputs,
    Loss,
    Lr,
    Without,
    methods_of,
)
from icis_cli.errors import UsageError
from icis_cli.files import require_writable

if TYPE_CHECKING:
    from icis_cli.checkpoint.base import Checkpoint
    from icis_cli.cli.output import ProgressBar
    from icis_cli.injection.injector import Injector
    from icis_cli.methods.base import Watch
    from icis_cli.report.verdict import Verdict

_TRAINING = "Training"
_VALIDATION = "Validation by held-out seen classes"


def fit(
    weights: given.Weights,
    attrs: given.Attrs = None,
    unseen_attrs: given.UnseenAttrs = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The injector to write.",
            rich_help_panel=with_report.WRITTEN,
        ),
    ] = Path("injector.safetensors"),
    classes: given.Classes = None,
    seen: given.Seen = None,
    unseen: given.Unseen = None,
    names: naming.Names = None,
    encoder: naming.Encoder = None,
    prompt: naming.Prompt = None,
    download: naming.Download = False,
    head: options.HeadKey = None,
    state: options.State = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help=f"{', '.join(METHOD_NAMES)}; or auto: icis or ridge, whichever held-out classes "
            "favour.",
            rich_help_panel=_TRAINING,
            autocompletion=lambda: [*METHOD_NAMES, "auto"],
        ),
    ] = "icis",
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            help="default, or paper: exactly as published (slow).",
            rich_help_panel=_TRAINING,
            autocompletion=lambda: list(RECIPE_NAMES),
        ),
    ] = "default",
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            min=0,
            max=options.LARGEST_SEED,
            help="Of every random choice.",
            rich_help_panel=_TRAINING,
        ),
    ] = 0,
    ensemble: Annotated[
        int | None,
        typer.Option(
            "--ensemble",
            metavar="N",
            min=1,
            max=100,
            help="Train N times and average the rows: better by a point or two. Default: 1, or 3 "
            "where auto takes icis.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    cv: Annotated[
        int | None,
        typer.Option(
            "--cv",
            metavar="FOLDS",
            min=0,
            help="Hold seen classes out in so many folds: tells how good the rows are, and how to "
            "calibrate. Default: 5, or 0 where it takes minutes.",
            rich_help_panel=_VALIDATION,
        ),
    ] = None,
    select: Annotated[
        bool,
        typer.Option(
            "--select",
            help="Choose the method's settings by held-out classes. Another than the default is "
            "taken only if it is clearly better.",
            rich_help_panel=_VALIDATION,
        ),
    ] = False,
    device: options.Device = "auto",
    hidden: Hidden = None,
    epochs: Epochs = None,
    lr: Lr = None,
    batch: Batch = None,
    loss: Loss = None,
    inputs: Inputs = None,
    without: Without = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on where a long fit with the same options was stopped. What it had trained is "
            "in OUT.progress until it is complete.",
            rich_help_panel=_TRAINING,
        ),
    ] = False,
    report: with_report.ReportFile = None,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Learn from the classifier's own classes how a descriptor becomes a row of its final layer.

    Example: icis fit --weights resnet50.pt --attrs attributes.csv
    """
    output = Output.of("fit", json=json, quiet=quiet, no_progress=no_progress)
    if cv == 1:
        raise UsageError("--cv 1: expected 0 for none, or at least 2 folds")
    methods = methods_of(
        method,
        select=select,
        recipe=recipe,
        hidden=hidden,
        epochs=epochs,
        lr=lr,
        batch=batch,
        loss=loss,
        inputs=inputs,
        without=without,
    )
    if ensemble is not None and ensemble > 1 and not any(one.seeded for one in methods):
        raise UsageError(
            f"--ensemble {ensemble}: --method {method} gives the same rows whatever the seed",
            "leave it out",
        )
    if cv == 0 and len(methods) > 1:
        raise UsageError("nothing can be chosen with --cv 0", "leave it out, or name one --method")
    named = naming.Naming(names, encoder, prompt or [], download)
    files = given.ClassFiles(attrs or [], unseen_attrs, classes, seen, unseen, named)
    files.check()
    from icis_cli import fit as fit_injector
    from icis_cli.injection.choosing import choose
    from icis_cli.injection.record import side_file
    from icis_cli.report.choices import choice_json, choice_report
    from icis_cli.report.understood import fit_summary, summary_json
    from icis_cli.report.verdict import few_warnings, of_all_views, verdict_of
    from icis_cli.runtime import choose_device
    from icis_cli.validation.heldout import fold_numbers, judge
    from icis_cli.validation.selection import AUTO_MEMBERS

    read = (weights, side_file(weights), *files.paths)

    def check_outputs() -> None:
        require_writable(out, force=force, inputs=read)
        with_report.require_report(report, force=force, inputs=read, out=out)

    with with_report.checked_outputs((weights, *files.paths), check_outputs):
        known = given.understand(output, weights, files, head, state)
    checkpoint, found, aligned = known.checkpoint, known.head, known.classes
    if cv:
        fold_numbers(len(found.rows), cv)  # too many folds are refused before anything is trained
    label = " or ".join(one.name for one in methods) if method == "auto" else method
    output.say(fit_summary(checkpoint, found, aligned, methods[0], label, seed))
    output.note(aligned.notes)
    few = few_warnings(len(found.rows), aligned.seen.shape[1], len(aligned.unseen_names))
    output.warn((*aligned.warnings, *few))
    understood = {
        "report": None if report is None else str(report),
        **summary_json(checkpoint, found, aligned, methods[0], label, seed),
        "warnings": [*aligned.warnings, *few],
    }
    if dry_run:
        output.result(
            f"would write {out}", str(out), {"out": str(out), "dry_run": True, **understood}
        )
        return
    device = choose_device(device) if any(one.seeded for one in methods) else "cpu"
    members = ensemble or (AUTO_MEMBERS if method == "auto" else 1)
    with kept_progress(output, out, device, anew=not resume) as progress:
        with output.bar("hold out", "tried") as bar:
            choice = choose(
                found,
                aligned,
                methods,
                folds=cv,
                members=members,
                seed=seed,
                device=device,
                watch=None if bar is None else bar.show,
                trainings=replace(progress, watch=None if bar is None else _within(bar)),
            )
        figures = None if choice.held is None else judge(found.rows, choice.held)
        verdict = verdict_of(len(found.rows), figures, of_all_views(aligned.doubts))
        output.say(choice_report(choice, figures, len(found.rows)))
        with output.bar(f"fit {choice.method.name}", "epochs") as bar:
            injector = fit_injector(
                checkpoint,
                found,
                aligned,
                choice.method,
                seed=seed,
                device=device,
                views=choice.views,
                members=members if choice.method.seeded else 1,
                folds=0,
                held=choice.held,
                watch=replace(progress, watch=None if bar is None else shown(bar)),
            )
        if report is None:
            injector.save(out, force=force)
        else:
            page = _page(output, checkpoint, injector)
            with_report.save_with_report(injector, out, report, page, force=force)
    bad = verdict.warnings if verdict.step == "guess" else ()
    output.say(f"{injector.stopped}{_course(injector)}")
    if report is not None:
        output.note([f"wrote {report}; open it in a browser"])
    output.result(
        f"wrote {out}: rows for {len(aligned.unseen_names)} new classes",
        str(out),
        {
            "out": str(out),
            "dry_run": False,
            **understood,
            **choice_json(choice, figures, verdict),
            "warnings": [*understood["warnings"], *bad],
            "settings": dict(injector.settings),
            "training": {
                "epochs": len(injector.losses),
                "first_loss": injector.losses[0] if injector.losses else None,
                "last_loss": injector.losses[-1] if injector.losses else None,
                "stopped": injector.stopped,
            },
        },
    )
    _tell_next(output, verdict, out)


def _tell_next(output: Output, verdict: Verdict, out: Path) -> None:
    """Say what comes next: not an injection of rows that are hardly better than guessing."""
    if verdict.step == "guess":
        output.warn(verdict.warnings)
        return
    if verdict.doubt is not None:
        output.say(verdict.doubt)
    here = out.name == "injector.safetensors" and out.parent == Path()
    output.say("next: icis inject" + ("" if here else f" --injector {out}"))


def _within(bar: ProgressBar) -> Watch:
    """Return what shows how far one of several trainings is."""
    return lambda step: bar.tell(f"epoch {step.epoch}/{step.epochs}, loss {step.loss:.4f}")


def _page(output: Output, checkpoint: Checkpoint, injector: Injector) -> str:
    """Return the HTML report on what ``icis inject`` would write."""
    from icis_cli import expand
    from icis_cli.html.gathering import planned_report
    from icis_cli.html.page import html_of

    with output.busy("report"):
        return html_of(planned_report(expand(checkpoint, injector), injector))


def _course(injector: Injector) -> str:
    """Return how the loss fell, in figures and as a row of bars; nothing for a closed form."""
    losses = injector.losses
    if not losses:
        return ""
    from icis_cli.report.courses import loss_course
    from icis_cli.report.plots import glyphs_for, sparkline

    bars = sparkline(loss_course(injector), glyphs_for(sys.stderr.encoding))
    return f"; loss {losses[0]:.4f} -> {losses[-1]:.4f} {bars}".rstrip()

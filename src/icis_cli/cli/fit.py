"""``icis fit``: learn from a checkpoint's own classes how a descriptor becomes a row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icis_cli.cli import options
from icis_cli.cli.output import Output
from icis_cli.cli.recipe_options import Batch, Epochs, Hidden, Inputs, Loss, Lr, Without, methods_of
from icis_cli.errors import UsageError
from icis_cli.files import require_writable

if TYPE_CHECKING:
    from icis_cli.descriptors.base import Descriptors

_CLASSES = "Which class is which"
_TRAINING = "Training"
_VALIDATION = "Validation by held-out seen classes"


def fit(
    weights: Annotated[
        Path, typer.Option("--weights", metavar="CKPT", help="The classifier: .pt, .safetensors.")
    ],
    attrs: Annotated[
        list[Path],
        typer.Option(
            "--attrs",
            metavar="DESC",
            help="One descriptor per class: .npy, .npz, .csv, .tsv, .json, .mat. Given several "
            "times: several views of the same classes, side by side.",
        ),
    ],
    unseen_attrs: Annotated[
        list[Path] | None,
        typer.Option(
            "--unseen-attrs",
            metavar="DESC",
            help="The new classes in a file of their own; --attrs then holds the seen ones. "
            "As often as --attrs, in the same order.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The injector to write.")
    ] = Path("injector.safetensors"),
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes",
            metavar="FILE",
            help="Names of the rows of every --attrs file that has none; one a line.",
            rich_help_panel=_CLASSES,
        ),
    ] = None,
    seen: Annotated[
        Path | None,
        typer.Option(
            "--seen",
            metavar="FILE",
            help="Names or 0-based descriptor row numbers of the classifier's classes, one a "
            "line, in its order. Default: by name if the checkpoint has names, else the first K.",
            rich_help_panel=_CLASSES,
        ),
    ] = None,
    unseen: Annotated[
        Path | None,
        typer.Option(
            "--unseen",
            metavar="FILE",
            help="Names or row numbers of the classes to add. Default: all others.",
            rich_help_panel=_CLASSES,
        ),
    ] = None,
    head: options.HeadKey = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="icis, ridge, mlp, subreg, wdae, costa, wavg, smo, nearest, mean; or auto: icis "
            "or ridge, whichever held-out classes favour.",
            rich_help_panel=_TRAINING,
        ),
    ] = "icis",
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            help="default, or paper: exactly as published (slow).",
            rich_help_panel=_TRAINING,
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
    if cv == 1:
        raise UsageError("--cv 1: expected 0 for none, or at least 2 folds")
    if cv == 0 and len(methods) > 1:
        raise UsageError("nothing can be chosen with --cv 0", "leave it out, or name one --method")
    if unseen_attrs and len(unseen_attrs) != len(attrs):
        raise UsageError(
            f"--attrs is given {len(attrs)} time(s), --unseen-attrs {len(unseen_attrs)}",
            "describe the new classes by the same views: as many files, in the same order",
        )
    from icis_cli import align, find_head, open_checkpoint, read_views
    from icis_cli import fit as fit_injector
    from icis_cli.descriptors.views import require_different_files
    from icis_cli.injection.choosing import choose
    from icis_cli.injection.record import find_record, side_file
    from icis_cli.report.choices import choice_json, choice_report
    from icis_cli.report.understood import fit_summary, summary_json
    from icis_cli.runtime import choose_device
    from icis_cli.validation.heldout import judge
    from icis_cli.validation.selection import AUTO_MEMBERS, CLEARLY

    require_different_files([*attrs, *(unseen_attrs or ())])
    lists = tuple(path for path in (classes, seen, unseen) if path is not None)
    sources = (weights, side_file(weights), *attrs, *(unseen_attrs or ()), *lists)
    require_writable(out, force=force, inputs=sources)
    checkpoint = open_checkpoint(weights)
    output.note(checkpoint.notes)
    found = find_head(checkpoint, head)
    record = find_record(checkpoint)
    if record is not None:
        injected = len(record.class_names) - record.seen
        output.warn([_guess(injected, len(record.class_names))])
    descriptors = read_views(attrs, classes)
    new: Descriptors | None = read_views(unseen_attrs) if unseen_attrs else None
    aligned = align(
        found.rows,
        descriptors,
        new,
        head_names=checkpoint.labels.class_names if record is None else record.class_names,
        seen=options.lines_of(seen),
        unseen=options.lines_of(unseen),
    )
    label = " or ".join(one.name for one in methods) if method == "auto" else method
    output.say(fit_summary(checkpoint, found, aligned, methods[0], label, seed))
    output.note(aligned.notes)
    output.warn(aligned.warnings)
    understood = summary_json(checkpoint, found, aligned, methods[0], label, seed)
    if dry_run:
        output.result(
            f"would write {out}", str(out), {"out": str(out), "dry_run": True, **understood}
        )
        return
    device = choose_device(device) if any(one.seeded for one in methods) else "cpu"
    with output.bar("hold out", "tried") as bar:
        choice = choose(
            found,
            aligned,
            methods,
            folds=cv,
            clearly=CLEARLY,
            seed=seed,
            device=device,
            watch=None if bar is None else bar.show,
        )
    figures = None if choice.held is None else judge(found.rows, choice.held)
    output.say(choice_report(choice, figures))
    members = ensemble or (AUTO_MEMBERS if method == "auto" else 1)
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
            watch=None
            if bar is None
            else lambda step: bar.show(step.epoch, step.epochs, f"loss {step.loss:.4f}"),
        )
    injector.save(out, force=force)
    if injector.losses:
        output.say(
            f"{injector.stopped}; loss {injector.losses[0]:.4f} -> {injector.losses[-1]:.4f}"
        )
    output.result(
        f"wrote {out}: rows for {len(aligned.unseen_names)} new classes",
        str(out),
        {
            "out": str(out),
            "dry_run": False,
            **understood,
            **choice_json(choice, figures),
            "settings": dict(injector.settings),
            "training": {
                "epochs": len(injector.losses),
                "first_loss": injector.losses[0] if injector.losses else None,
                "last_loss": injector.losses[-1] if injector.losses else None,
                "stopped": injector.stopped,
            },
        },
    )
    here = out.name == "injector.safetensors" and out.parent == Path()
    output.say("next: icis inject" + ("" if here else f" --injector {out}"))


def _guess(injected: int, rows: int) -> str:
    return (
        f"{injected} of the {rows} rows were injected, not trained: what is learned from them is a "
        "guess about a guess; better fit on the original checkpoint and inject into this one"
    )

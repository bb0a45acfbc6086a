"""``icis report``: one HTML file about a checkpoint with new classes, to look at in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icis_cli.cli import options
from icis_cli.cli import sample_options as sample
from icis_cli.cli.output import Output
from icis_cli.errors import UsageError

if TYPE_CHECKING:
    from icis_cli.checkpoint.base import Checkpoint
    from icis_cli.evaluation.known import KnownHead
    from icis_cli.evaluation.result import Evaluation
    from icis_cli.injection.injector import Injector

#: Where ``icis fit`` leaves the injector.
_USUAL = Path("injector.safetensors")


def report(
    new: Annotated[
        Path,
        typer.Argument(metavar="NEW", help="What icis inject wrote.", show_default=False),
    ],
    injector: Annotated[
        Path | None,
        typer.Option(
            "--injector",
            metavar="FILE",
            help="Made by icis fit: adds the training and how sure each class is. "
            f"Default: {_USUAL} of this folder, if NEW was made with it.",
            show_default=False,
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            metavar="F.npz",
            help="Labelled samples, as for icis eval: adds accuracy and confusions.",
        ),
    ] = None,
    labels: sample.Labels = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes",
            metavar="FILE",
            help="Names of all rows, in order, where the checkpoint does not say.",
        ),
    ] = None,
    unseen: Annotated[
        Path | None,
        typer.Option("--unseen", metavar="FILE", help="With --classes: the new ones."),
    ] = None,
    head: options.HeadKey = None,
    state: options.State = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The file to write. Default: NEW.report.html.",
            show_default=False,
        ),
    ] = None,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Write a report to look at in a browser: one HTML file that loads nothing from anywhere.

    Example: icis report resnet50.injected.pt --features test.npz
    """
    output = Output.of("report", json=json, quiet=quiet, no_progress=no_progress)
    if labels is not None and features is None:
        raise UsageError("--labels needs --features")
    if unseen is not None and classes is None:
        raise UsageError("--unseen needs --classes")
    from icis_cli import known_head, open_checkpoint, report_of, write_html
    from icis_cli.files import require_writable
    from icis_cli.injection.record import side_file

    checkpoint = open_checkpoint(new, state)
    target = out or new.with_name(f"{new.name}.report.html")
    given = tuple(
        path for path in (injector, features, labels, classes, unseen) if path is not None
    )
    inputs = (*checkpoint.files, new, side_file(new), _USUAL, *given)
    require_writable(target, force=force, inputs=inputs)
    output.note(checkpoint.notes)
    loaded = _injector(output, checkpoint, injector)
    known = known_head(
        checkpoint,
        loaded,
        names=options.lines_of(classes),
        unseen=options.lines_of(unseen),
        head_key=head,
    )
    evaluation = None if features is None else _evaluation(output, known, features, labels)
    content = report_of(checkpoint, known, loaded, evaluation)
    write_html(content, target, force=force)
    output.note(f"not in it: {what} ({how})" for what, how in content.missing)
    output.result(
        f"wrote {target}: {content.subject.new} new classes; open it in a browser",
        str(target),
        {
            "out": str(target),
            "weights": str(new),
            "seen_classes": content.subject.seen,
            "new_classes": content.subject.new,
            "missing": [{"what": what, "how": how} for what, how in content.missing],
        },
    )


def _injector(output: Output, checkpoint: Checkpoint, path: Path | None) -> Injector | None:
    """Return the injector that is named, or the one that lies here and made these rows."""
    from icis_cli import Injector
    from icis_cli.files import sha256_of
    from icis_cli.injection.record import find_record

    if path is not None:
        return Injector.load(path)
    record = find_record(checkpoint)
    if record is None or not _USUAL.is_file():
        return None
    if sha256_of(_USUAL) not in {part.injector_sha256 for part in record.rounds}:
        return None
    output.note([f"{_USUAL} is what these rows were made with: it is used, too"])
    return Injector.load(_USUAL)


def _evaluation(output: Output, known: KnownHead, path: Path, labels: Path | None) -> Evaluation:
    from icis_cli import evaluate_features, read_features

    samples = read_features(path, labels)
    with output.bar("eval", "samples") as bar:
        evaluation = evaluate_features(known, samples, watch=sample.with_rate(bar))
    new = sum(one.samples for one in evaluation.classes if one.kind == "unseen")
    output.warn(sample.one_sided(evaluation.samples - new, new))
    return evaluation

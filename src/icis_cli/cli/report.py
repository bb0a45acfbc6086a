"""``icis report``: one HTML file about a checkpoint with new classes, to look at in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icis_cli.cli import image_options as image
from icis_cli.cli import options
from icis_cli.cli import sample_options as sample
from icis_cli.cli.output import Output
from icis_cli.cli.report_options import (
    USUAL_INJECTOR,
    WRITTEN,
    ImageExamples,
    checked_outputs,
    injector_of,
    require_html,
)
from icis_cli.errors import UsageError
from icis_cli.workers import ALONE

if TYPE_CHECKING:
    from icis_cli.evaluation.known import KnownHead
    from icis_cli.evaluation.result import Evaluation

_CLASSES = "Which row is which class, where the checkpoint does not say"


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
            f"Default: {USUAL_INJECTOR} of this folder, if NEW was made with it.",
            show_default=False,
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            metavar="F.npz",
            help="As for icis eval: adds accuracy and confusions.",
            rich_help_panel=sample.SAMPLES,
        ),
    ] = None,
    labels: sample.Labels = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="DIR",
            help="One folder of images per class name: adds images of confusions, too.",
            rich_help_panel=sample.SAMPLES,
        ),
    ] = None,
    folders: image.Folders = None,
    arch: image.Arch = None,
    device: options.Device = "auto",
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes",
            metavar="FILE",
            help="Names of all rows, in order.",
            rich_help_panel=_CLASSES,
        ),
    ] = None,
    unseen: Annotated[
        Path | None,
        typer.Option(
            "--unseen",
            metavar="FILE",
            help="With --classes: the new ones.",
            rich_help_panel=_CLASSES,
        ),
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
            rich_help_panel=WRITTEN,
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
    if features is not None and images is not None:
        raise UsageError("give one of --features and --images")
    for option, value, needed, there in (
        ("--labels", labels, "--features", features),
        ("--folders", folders, "--images", images),
        ("--arch", arch, "--images", images),
    ):
        if value is not None and there is None:
            raise UsageError(f"{option} needs {needed}")
    if unseen is not None and classes is None:
        raise UsageError("--unseen needs --classes")
    from icis_cli import known_head, open_checkpoint, report_of, write_html
    from icis_cli.files import require_writable
    from icis_cli.injection.record import side_file

    checkpoint = open_checkpoint(new, state)
    target = out or new.with_name(f"{new.name}.report.html")
    given = tuple(
        path for path in (injector, features, labels, folders, classes, unseen) if path is not None
    )
    inputs = (*checkpoint.files, new, side_file(new), USUAL_INJECTOR, *given)

    def check() -> None:
        require_writable(target, force=force, inputs=inputs)
        require_html(target, "--out")

    evaluation, examples = None, None
    with checked_outputs(given if images is None else (*given, images), check):
        output.note(checkpoint.notes)
        loaded = injector_of(output, checkpoint, injector)
        known = known_head(
            checkpoint,
            loaded,
            names=options.lines_of(classes),
            unseen=options.lines_of(unseen),
            head_key=head,
        )
        if features is not None:
            evaluation = _evaluation(output, known, features, labels)
        elif images is not None:
            prepared = image.preprocessing_of(None, None, None, None, None)
            run = image.ImageRun(folders, arch, prepared, device, 32, None, ALONE)
            evaluation, network = run.evaluate(output, checkpoint, known, images)
            examples = ImageExamples(run, images, network)
            output.warn(sample.one_sided_result(evaluation))
    with output.busy("report"):
        shown = () if examples is None or evaluation is None else examples.find(known, evaluation)
        content = report_of(checkpoint, known, loaded, evaluation, shown)
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
            "verdict": content.verdict.to_json(),
            "missing": [{"what": what, "how": how} for what, how in content.missing],
        },
    )


def _evaluation(output: Output, known: KnownHead, path: Path, labels: Path | None) -> Evaluation:
    from icis_cli import evaluate_features, read_features

    samples = read_features(path, labels)
    with output.bar("eval", "samples") as bar:
        watch = None if bar is None else bar.show
        evaluation = evaluate_features(known, samples, watch=watch)
    output.warn(sample.one_sided_result(evaluation))
    return evaluation

"""``icis eval``: how good an expanded checkpoint is, on features, on images, or row by row."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icis_cli.cli import gates as gate
from icis_cli.cli import image_options as image
from icis_cli.cli import options
from icis_cli.cli import report_options as with_report
from icis_cli.cli import sample_options as sample
from icis_cli.cli.output import Output
from icis_cli.errors import UsageError
from icis_cli.workers import Workers, joined_workers

if TYPE_CHECKING:
    from icis_cli.checkpoint.base import Checkpoint
    from icis_cli.evaluation.known import KnownHead
    from icis_cli.evaluation.result import Evaluation
    from icis_cli.injection.injector import Injector

_REFERENCE = "True rows, instead of samples"
_CLASSES = "Which row is which class, where the checkpoint does not say"


def evaluate(
    weights: Annotated[
        Path, typer.Option("--weights", metavar="NEW", help="The expanded checkpoint.")
    ],
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            metavar="F.npz",
            help="features (N, D): inputs of the final layer; labels (N,): class names or "
            "descriptor row numbers.",
            rich_help_panel=sample.SAMPLES,
        ),
    ] = None,
    labels: sample.Labels = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="DIR",
            help="One folder of images per class name.",
            rich_help_panel=sample.SAMPLES,
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            metavar="CKPT",
            help="A checkpoint that was trained on the new classes, too: compares rows, needs no "
            "sample.",
            rich_help_panel=_REFERENCE,
        ),
    ] = None,
    reference_classes: Annotated[
        Path | None,
        typer.Option(
            "--reference-classes",
            metavar="FILE",
            help="Names of the rows of --reference, one a line.",
            rich_help_panel=_REFERENCE,
        ),
    ] = None,
    injector: Annotated[
        Path | None,
        typer.Option(
            "--injector", metavar="FILE", help="Made by icis fit.", rich_help_panel=_CLASSES
        ),
    ] = None,
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
    folders: image.Folders = None,
    arch: image.Arch = None,
    resize: image.Resize = None,
    crop: image.Crop = None,
    mean: image.Mean = None,
    std: image.Std = None,
    interpolation: image.Interpolation = None,
    device: options.Device = "auto",
    batch: Annotated[
        int,
        typer.Option("--batch-size", min=1, help="Images at once.", rich_help_panel=sample.IMAGES),
    ] = 32,
    readers: sample.Readers = None,
    min_harmonic: gate.MinHarmonic = None,
    min_zsl: gate.MinZsl = None,
    report: with_report.ReportFile = None,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Say how good an expanded checkpoint is: on features, on images, or against known rows.

    Example: icis eval --weights resnet50.injected.pt --features test.npz
    """
    output = Output.of("eval", json=json, quiet=quiet, no_progress=no_progress)
    if sum(source is not None for source in (features, images, reference)) != 1:
        raise UsageError("give one of --features, --images and --reference")
    _require_partner("--unseen", unseen, "--classes", classes)
    for option, given in (
        ("--folders", folders), ("--arch", arch), ("--resize", resize), ("--crop", crop),
        ("--mean", mean), ("--std", std), ("--interpolation", interpolation),
        ("--workers", readers),
    ):  # fmt: skip
        _require_partner(option, given, "--images", images)
    _require_partner("--labels", labels, "--features", features)
    _require_partner("--reference-classes", reference_classes, "--reference", reference)
    if report is not None and reference is not None:
        raise UsageError(
            "--report shows samples: --features or --images", "icis report NEW needs none"
        )
    gate.check("--min-harmonic", min_harmonic, reference)
    gate.check("--min-zsl", min_zsl, reference)
    prepared = image.preprocessing_of(resize, crop, mean, std, interpolation)
    from icis_cli import Injector, known_head, open_checkpoint

    network, examples = None, None
    with joined_workers(device) as workers:
        checkpoint = open_checkpoint(weights, state)
        given_files = (features, labels, folders, injector, classes, unseen)
        inputs = (weights, *checkpoint.files, *(path for path in given_files if path is not None))

        def check() -> None:
            with_report.require_report(report, force=force, inputs=inputs)

        read = tuple(path for path in (*given_files, images, reference) if path is not None)
        with with_report.checked_outputs(read, check):
            output.note(checkpoint.notes)
            loaded = None if injector is None else Injector.load(injector)
            known = known_head(
                checkpoint,
                loaded,
                names=options.lines_of(classes),
                unseen=options.lines_of(unseen),
                head_key=head,
            )
            if reference is not None:
                if workers.rank == 0:  # there is nothing to share
                    _compare(output, known, reference, options.lines_of(reference_classes), loaded)
                return
            if features is not None:
                evaluation = _features(output, known, features, labels, workers)
            elif images is not None:
                run = image.ImageRun(folders, arch, prepared, device, batch, readers, workers)
                evaluation, network = run.evaluate(output, checkpoint, known, images)
                examples = with_report.ImageExamples(run, images, network)
        output.warn(sample.one_sided_result(evaluation))
        gates = gate.gates_of(evaluation, min_harmonic, min_zsl)
        if report is not None and workers.rank == 0:
            used = loaded or with_report.injector_of(output, checkpoint, None)
            _write(output, checkpoint, known, used, evaluation, examples, report, force=force)
        about = {} if network is None else {"network": network.to_json()}
        told = {"gates": gates, "report": None if report is None else str(report)}
        _print(output, weights, evaluation, {**about, **told})
        gate.require_passed(gates)


def _require_partner(option: str, given: object, needed: str, there: object) -> None:
    if given is not None and there is None:
        raise UsageError(f"{option} needs {needed}")


def _features(
    output: Output, known: KnownHead, path: Path, labels: Path | None, workers: Workers
) -> Evaluation:
    from icis_cli import evaluate_features, read_features

    features = read_features(path, labels)
    with output.bar("eval", "samples") as bar:
        watch = None if bar is None else bar.show
        return evaluate_features(known, features, workers=workers, watch=watch)


def _compare(
    output: Output,
    known: KnownHead,
    reference: Path,
    names: list[str] | None,
    injector: Injector | None,
) -> None:
    """Compare injected rows with those of a checkpoint that was trained on the classes."""
    from icis_cli import find_head, open_checkpoint
    from icis_cli.evaluation.reference import compare_with_reference
    from icis_cli.report.tables import comparison_table

    checkpoint = open_checkpoint(reference)
    comparisons = compare_with_reference(known, checkpoint, find_head(checkpoint), names, injector)
    first = comparisons[0].figures
    output.result(
        comparison_table(comparisons),
        f"cosine {first.cosine:.4f} nearest {first.nearest:.4f}",
        {
            "rows": first.to_json(),
            "controls": {part.name: part.figures.to_json() for part in comparisons[1:]},
        },
    )


def _write(
    output: Output,
    checkpoint: Checkpoint,
    known: KnownHead,
    injector: Injector | None,
    evaluation: Evaluation,
    examples: with_report.ImageExamples | None,
    report: Path,
    *,
    force: bool,
) -> None:
    """Write the HTML report, also where a quality gate will be missed: it shows why."""
    from icis_cli import report_of, write_html

    with output.busy("report"):
        shown = () if examples is None else examples.find(known, evaluation)
        content = report_of(checkpoint, known, injector, evaluation, shown)
        write_html(content, report, force=force)
    output.note([f"wrote {report}; open it in a browser"])


def _print(output: Output, weights: Path, evaluation: Evaluation, more: dict[str, Any]) -> None:
    from icis_cli.report.plots import glyphs_for
    from icis_cli.report.tables import evaluation_report, fraction

    # Whoever reads it from a pipe gets the tables alone.
    glyphs = glyphs_for(sys.stdout.encoding) if sys.stdout.isatty() else None
    output.result(
        evaluation_report(evaluation, glyphs),
        f"harmonic {fraction(evaluation.harmonic)} seen {fraction(evaluation.seen)} "
        f"unseen {fraction(evaluation.unseen)} ausuc {fraction(evaluation.ausuc)} "
        f"zsl {fraction(evaluation.zsl_top1)}",
        {"weights": str(weights), **evaluation.to_json(), **more},
    )

"""``icis eval``: how good an expanded checkpoint is, on features, on images, or row by row."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icis_cli.cli import image_options as image
from icis_cli.cli import options
from icis_cli.cli import sample_options as sample
from icis_cli.cli.output import Output
from icis_cli.errors import QualityGateError, UsageError
from icis_cli.workers import Workers, joined_workers

if TYPE_CHECKING:
    from icis_cli.evaluation.known import KnownHead
    from icis_cli.evaluation.result import Evaluation
    from icis_cli.injection.injector import Injector

_SAMPLES = "What to evaluate on (one of these)"
_CLASSES = "Which row is which class, where the checkpoint does not say"
_GATES = "Quality gates (exit code 3 when missed)"


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
            rich_help_panel=_SAMPLES,
        ),
    ] = None,
    labels: sample.Labels = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="DIR",
            help="One folder of images per class name.",
            rich_help_panel=_SAMPLES,
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            metavar="CKPT",
            help="A checkpoint that was trained on the new classes, too: compares rows, needs no "
            "sample.",
            rich_help_panel=_SAMPLES,
        ),
    ] = None,
    reference_classes: Annotated[
        Path | None,
        typer.Option(
            "--reference-classes",
            metavar="FILE",
            help="Names of the rows of --reference, one a line.",
            rich_help_panel=_SAMPLES,
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
    batch: Annotated[int, typer.Option("--batch-size", min=1, help="Images at once.")] = 32,
    readers: sample.Readers = None,
    min_harmonic: Annotated[
        float | None,
        typer.Option("--min-harmonic", metavar="X", help="0 to 1.", rich_help_panel=_GATES),
    ] = None,
    min_zsl: Annotated[
        float | None,
        typer.Option("--min-zsl", metavar="X", help="0 to 1.", rich_help_panel=_GATES),
    ] = None,
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
    _check_gate("--min-harmonic", min_harmonic, reference)
    _check_gate("--min-zsl", min_zsl, reference)
    prepared = image.preprocessing_of(resize, crop, mean, std, interpolation)
    from icis_cli import Injector, known_head, open_checkpoint

    network = None
    with joined_workers(device) as workers:
        checkpoint = open_checkpoint(weights, state)
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
        new = sum(one.samples for one in evaluation.classes if one.kind == "unseen")
        output.warn(sample.one_sided(evaluation.samples - new, new))
        gates = _gates(evaluation, min_harmonic, min_zsl)
        about = {} if network is None else {"network": network.to_json()}
        _print(output, weights, evaluation, {**about, "gates": gates})
        _require_passed(gates)


def _require_partner(option: str, given: object, needed: str, there: object) -> None:
    if given is not None and there is None:
        raise UsageError(f"{option} needs {needed}")


def _check_gate(option: str, value: float | None, reference: Path | None) -> None:
    if value is None:
        return
    if not 0 <= value <= 1:
        raise UsageError(f"{option} {value}: expected a fraction from 0 to 1")
    if reference is not None:
        raise UsageError("the quality gates need samples: --features or --images")


def _features(
    output: Output, known: KnownHead, path: Path, labels: Path | None, workers: Workers
) -> Evaluation:
    from icis_cli import evaluate_features, read_features

    features = read_features(path, labels)
    with output.bar("eval", "samples") as bar:
        watch = sample.with_rate(bar)
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


def _gates(
    evaluation: Evaluation, min_harmonic: float | None, min_zsl: float | None
) -> list[dict[str, Any]]:
    wanted = (
        ("harmonic", evaluation.harmonic, min_harmonic),
        ("zsl_top1", evaluation.zsl_top1, min_zsl),
    )
    return [
        {
            "metric": metric,
            "minimum": minimum,
            "value": value if math.isfinite(value) else None,
            "passed": math.isfinite(value) and value >= minimum,
        }
        for metric, value, minimum in wanted
        if minimum is not None
    ]


def _require_passed(gates: list[dict[str, Any]]) -> None:
    """Refuse a result that misses a gate.

    Raises:
        QualityGateError: it does.

    """
    from icis_cli.report.tables import fraction

    missed = ", ".join(
        f"{gate['metric']} is {fraction(gate['value'])}, expected at least {gate['minimum']}"
        for gate in gates
        if not gate["passed"]
    )
    if missed:
        raise QualityGateError(f"quality gate missed: {missed}")


def _print(output: Output, weights: Path, evaluation: Evaluation, more: dict[str, Any]) -> None:
    from icis_cli.report.tables import evaluation_report, fraction

    output.result(
        evaluation_report(evaluation),
        f"harmonic {fraction(evaluation.harmonic)} seen {fraction(evaluation.seen)} "
        f"unseen {fraction(evaluation.unseen)} ausuc {fraction(evaluation.ausuc)} "
        f"zsl {fraction(evaluation.zsl_top1)}",
        {"weights": str(weights), **evaluation.to_json(), **more},
    )

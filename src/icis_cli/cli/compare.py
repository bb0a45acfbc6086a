"""``icis compare``: several methods and seeds over one checkpoint and its descriptors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icis_cli.cli import class_options as given
from icis_cli.cli import comparison_options as run
from icis_cli.cli import name_options as naming
from icis_cli.cli import options
from icis_cli.cli import sample_options as sample
from icis_cli.cli.output import Output
from icis_cli.errors import UsageError
from icis_cli.files import require_writable
from icis_cli.workers import joined_workers


def compare(
    weights: given.Weights,
    attrs: given.Attrs = None,
    unseen_attrs: given.UnseenAttrs = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            metavar="F.npz",
            help="Test samples: features (N, D), inputs of the final layer; labels (N,), class "
            "names or descriptor row numbers. Without: held-out classes alone.",
            rich_help_panel=sample.SAMPLES,
        ),
    ] = None,
    labels: sample.Labels = None,
    classes: given.Classes = None,
    seen: given.Seen = None,
    unseen: given.Unseen = None,
    names: naming.Names = None,
    encoder: naming.Encoder = None,
    prompt: naming.Prompt = None,
    download: naming.Download = False,
    head: options.HeadKey = None,
    state: options.State = None,
    method: run.CompareMethods = None,
    seeds: run.Seeds = "0",
    calibration: run.Calibration = "auto",
    expected_accuracy: run.ExpectedAccuracy = None,
    ensemble: run.Ensemble = None,
    cv: run.Cv = None,
    device: options.Device = "auto",
    csv: run.Csv = None,
    force: options.Force = False,
    markdown: run.Markdown = False,
    json: options.Json = False,
    quiet: run.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Compare methods on your own classifier: fit, calibrate and evaluate each, seed by seed.

    Example: icis compare --weights resnet50.pt --attrs attributes.csv --features test.npz
    """
    output = Output.of("compare", json=json, quiet=quiet, no_progress=no_progress)
    chosen = run.seeds_of(seeds)
    contenders = None if method is None else run.contenders_of(method)
    terms = run.terms_of(calibration, expected_accuracy, ensemble, cv, device)
    if labels is not None and features is None:
        raise UsageError("--labels needs --features")
    if features is None and contenders and "conse" in contenders:
        raise UsageError("--method conse needs --features: it predicts no rows to compare")
    from icis_cli import compare as compare_methods
    from icis_cli import problem_of, read_features
    from icis_cli.injection.record import side_file
    from icis_cli.report.comparisons import comparison_report, markdown_lines, quiet_lines

    named = naming.Naming(names, encoder, prompt or [], download)
    files = given.ClassFiles(attrs or [], unseen_attrs, classes, seen, unseen, named)
    with joined_workers(device) as workers:
        files.check()
        if csv is not None:
            given_files = (*files.paths, *(path for path in (features, labels) if path is not None))
            inputs = (weights, side_file(weights), *given_files)
            require_writable(csv, force=force, inputs=inputs, option="--csv")
        understood = given.understand(output, weights, files, head, state)
        found, aligned = understood.head, understood.classes
        count, width = found.weight.shape
        output.say(
            f"head {found.key}: {count} classes of {width} inputs; {len(aligned.unseen_names)} new "
            f"classes; {aligned.how}"
        )
        output.note(aligned.notes)
        output.warn(aligned.warnings)
        samples = None if features is None else read_features(features, labels)
        problem = problem_of(found, aligned, samples)
        if len(problem.views.weights) > 1:
            shares = " : ".join(f"{weight:g}" for weight in problem.views.weights)
            output.say(f"descriptor files are weighed {shares}, by held-out classes")
        if contenders is None and (cv == 0 or not problem.selectable):
            output.note(["auto is left out: seen classes cannot be held out to choose by"])
        if samples is not None and terms.calibration == "auto" and not problem.has_bias:
            output.warn(
                ["the head has no bias to add an offset to: H is that of the rows as they are"]
            )
        if problem.samples is not None:
            new = int((problem.samples.labels >= count).sum())
            output.warn(sample.one_sided(len(problem.samples.labels) - new, new))
        with output.bar("compare", "runs") as bar:
            comparison = compare_methods(
                problem,
                contenders,
                chosen,
                terms,
                workers=workers,
                watch=None if bar is None else bar.show,
            )
        output.warn(comparison.warnings)
        if csv is not None and workers.rank == 0:
            run.write_csv(csv, {"": comparison}, force=force)
            output.note([f"wrote {csv}"])
        output.result(
            markdown_lines(comparison) if markdown else comparison_report(comparison),
            quiet_lines(comparison),
            {
                "weights": str(weights),
                "head": found.key,
                "view_weights": list(problem.views.weights),
                "calibration": terms.calibration,
                **comparison.to_json(),
                "csv": None if csv is None else str(csv),
            },
        )

"""``icis benchmark``: the paper's protocol on the data sets of an xlsa17 folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icis_cli.cli import comparison_options as run
from icis_cli.cli import options
from icis_cli.cli.output import Output
from icis_cli.cli.recipe_options import RECIPE_NAMES
from icis_cli.errors import UsageError
from icis_cli.files import require_writable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icis_cli.comparison.benchmark import Benchmark
    from icis_cli.comparison.result import Comparison
    from icis_cli.protocol.published import Published

_DEFAULT = ("auto", "icis", "ridge")


def benchmark(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A data set (res101.mat and att_splits.mat), or a folder of several, as xlsa17.",
            show_default=False,
        ),
    ],
    data_set: Annotated[
        list[str] | None,
        typer.Option(
            "--data-set", metavar="NAME", help="Only this one, e.g. CUB; as often as you like."
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            metavar="F.mat",
            help="Other features of the data set than its res101.mat, in the same form.",
        ),
    ] = None,
    method: run.BenchmarkMethods = None,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            metavar="default|paper",
            help="Of --method icis; paper: exactly as published (slow).",
            rich_help_panel="What is run",
            autocompletion=lambda: list(RECIPE_NAMES),
        ),
    ] = "default",
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
    """Run the paper's protocol: train the base head on seen classes, add the rest, evaluate.

    Each seed trains a base head of its own on the trainval rows of the Proposed Split.

    Example: icis benchmark xlsa17/data --data-set CUB --seeds 0-4
    """
    output = Output.of("benchmark", json=json, quiet=quiet, no_progress=no_progress)
    chosen = run.seeds_of(seeds)
    terms = run.terms_of(calibration, expected_accuracy, ensemble, cv, device)
    from rich.console import Group

    from icis_cli import read_xlsa17
    from icis_cli.comparison.benchmark import benchmark as run_benchmark
    from icis_cli.methods.recipes import RECIPES
    from icis_cli.protocol.folders import find_datasets
    from icis_cli.report.comparisons import comparison_report, markdown_lines, quiet_lines

    if recipe not in RECIPES:
        raise UsageError(f"--recipe {recipe}: expected one of {', '.join(RECIPES)}")
    if recipe != "default" and "icis" not in (method or _DEFAULT):
        raise UsageError("--recipe needs --method icis")
    contenders = run.contenders_of(
        method or _DEFAULT, None if recipe == "default" else RECIPES[recipe]
    )
    folders = _wanted(find_datasets(folder), data_set)
    if features is not None and len(folders) > 1:
        raise UsageError(
            f"--features is of one data set, but {len(folders)} are to be run",
            "name it: --data-set " + folders[0].name,
        )
    if csv is not None:
        inputs = _read_files(folders, features)
        require_writable(csv, force=force, inputs=inputs, option="--csv")
    found: list[Benchmark] = []
    for path in folders:
        data = read_xlsa17(path, features)
        output.note(data.notes)
        output.say(
            f"{data.name}: {len(data.trainval)} samples of {len(data.seen_classes)} seen classes "
            f"to train the base head on, {data.features.shape[1]} numbers each"
        )
        with output.bar(data.name, "steps") as bar:
            watch = None if bar is None else bar.show
            found.append(run_benchmark(data, contenders, chosen, terms, watch=watch))
        del data
        output.warn(f"{path.name}: {text}" for text in found[-1].comparison.warnings)
    if csv is not None:
        run.write_csv(csv, {part.name: part.comparison for part in found}, force=force)
        output.note([f"wrote {csv}"])
    texts = [line for part in found for line in (*markdown_lines(*_shown(part)), "")]
    tables = [table for part in found for table in (comparison_report(*_shown(part)), "")]
    output.result(
        tuple(texts[:-1]) if markdown else Group(*tables[:-1]),
        tuple(line for part in found for line in quiet_lines(part.comparison, part.name)),
        {
            "folder": str(folder),
            "calibration": terms.calibration,
            "recipe": recipe,
            "data_sets": [part.to_json() for part in found],
            "csv": None if csv is None else str(csv),
        },
    )


def _wanted(folders: Sequence[Path], names: list[str] | None) -> tuple[Path, ...]:
    """Return the folders of these names, in any case; all of them without names.

    Raises:
        UsageError: a name that is none of them, or two folders of one name.

    """
    known: dict[str, Path] = {}
    for path in folders:
        name = path.resolve().name.casefold()
        if name in known:
            raise UsageError(
                f"two data sets are called {path.name}: {known[name]} and {path}",
                "name the folder of one of them",
            )
        known[name] = path
    if not names:
        return tuple(folders)
    missing = [name for name in names if name.casefold() not in known]
    if missing:
        raise UsageError(
            f"--data-set {missing[0]}: expected one of "
            + ", ".join(path.resolve().name for path in folders)
        )
    return tuple(known[name.casefold()] for name in dict.fromkeys(names))


def _read_files(folders: Sequence[Path], features: Path | None) -> tuple[Path, ...]:
    """Return all files that are read: splits and features of every data set.

    Raises:
        FeatureError: a data set has no features.

    """
    from icis_cli.protocol.folders import SPLITS, find_features

    values = [find_features(path) for path in folders] if features is None else [features]
    return (*(path / SPLITS for path in folders), *values)


def _shown(part: Benchmark) -> tuple[Comparison, str, Published | None]:
    return part.comparison, part.name, part.published

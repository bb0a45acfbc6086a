"""Options of ``icis compare`` and ``icis benchmark``, how they are read, and what both write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icis_cli.cli.options import LARGEST_SEED, calibration_of
from icis_cli.cli.recipe_options import METHOD_NAMES
from icis_cli.cli.report_options import WRITTEN
from icis_cli.errors import UsageError

if TYPE_CHECKING:
    from icis_cli.comparison.compare import Contender, Terms
    from icis_cli.comparison.result import Comparison
    from icis_cli.methods.recipes import Recipe

_RUNS = "What is run"
_MOST_SEEDS = 1000


def _methods(default: str) -> Any:
    return typer.Option(
        "--method",
        metavar="NAME",
        help=f"A method, auto, or conse; several times for several. Default: {default}.",
        rich_help_panel=_RUNS,
        show_default=False,
        autocompletion=lambda: [*METHOD_NAMES, "auto", "conse"],
    )


CompareMethods = Annotated[
    list[str] | None, _methods("all, plus auto, and conse where there are --features")
]
BenchmarkMethods = Annotated[list[str] | None, _methods("auto, icis, ridge")]
Seeds = Annotated[
    str,
    typer.Option(
        "--seeds",
        metavar="0-4|0,1,2",
        help="Seeds of every random choice; figures are then means.",
        rich_help_panel=_RUNS,
    ),
]
Calibration = Annotated[
    str,
    typer.Option(
        "--calibration",
        metavar="auto|none|FLOAT",
        help="auto: the lengths of new rows are evened, and an offset is added to their biases, "
        "both found from held-out classes; a number: this offset alone.",
        rich_help_panel=_RUNS,
    ),
]
ExpectedAccuracy = Annotated[
    float | None,
    typer.Option(
        "--expected-accuracy",
        metavar="X",
        help="Of the classifier on its own classes, 0 to 1, if you know it.",
        rich_help_panel=_RUNS,
    ),
]
Ensemble = Annotated[
    int | None,
    typer.Option(
        "--ensemble",
        min=1,
        max=100,
        help="Trainings with seeds of their own whose rows are averaged. Default: 1; auto: 3.",
        rich_help_panel=_RUNS,
    ),
]
Cv = Annotated[
    int | None,
    typer.Option(
        "--cv",
        metavar="FOLDS",
        min=0,
        help="Folds in which seen classes are held out. Default: 5 where that is cheap.",
        rich_help_panel=_RUNS,
    ),
]
Csv = Annotated[
    Path | None,
    typer.Option(
        "--csv", metavar="FILE", help="Write one line per run, too.", rich_help_panel=WRITTEN
    ),
]
Markdown = Annotated[
    bool,
    typer.Option("--markdown", help="Print a Markdown table.", rich_help_panel="What is printed"),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="Print one line a method.", rich_help_panel="What is printed"
    ),
]


def seeds_of(text: str) -> tuple[int, ...]:
    """Return the seeds that ``0-4``, ``0,1,2`` or ``7`` means, in that order.

    Raises:
        UsageError: anything else, a seed twice or too large, or more than 1000.

    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = (end.strip() for end in part.partition("-"))
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdecimal() and len(end) <= 10 for end in ends):
            raise UsageError(f"--seeds {text}: expected e.g. 0-4, or 0,1,2")
        start, stop = map(int, ends)
        if start > stop or stop > LARGEST_SEED:
            raise UsageError(f"--seeds {text}: expected rising numbers up to {LARGEST_SEED}")
        if len(seeds) + stop - start + 1 > _MOST_SEEDS:
            raise UsageError(f"--seeds {text}: more than {_MOST_SEEDS} seeds")
        seeds += range(start, stop + 1)
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text}: names a seed twice")
    return tuple(seeds)


def contenders_of(names: Sequence[str], recipe: Recipe | None = None) -> tuple[Contender, ...]:
    """Return what the names mean; a recipe is that of ``icis``.

    Raises:
        UsageError: an unknown name, or one twice.

    """
    known = (*METHOD_NAMES, "auto", "conse")
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise UsageError(f"--method {twice} is given twice")
    for name in names:
        if name not in known:
            raise UsageError(f"--method {name}: expected one of {', '.join(known)}")
    from icis_cli.methods.icis import Icis
    from icis_cli.methods.registry import METHODS

    found: list[Contender] = []
    for name in names:
        if name == "auto" or name == "conse":
            found.append("auto" if name == "auto" else "conse")
        elif name == Icis.name and recipe is not None:
            found.append(Icis(recipe))
        else:
            found.append(METHODS[name]())
    return tuple(found)


def terms_of(
    calibration: str, accuracy: float | None, members: int | None, folds: int | None, device: str
) -> Terms:
    """Return what is the same for all methods.

    Raises:
        UsageError: a calibration that is none, or an accuracy beyond 0..1 or without ``auto``.

    """
    if folds == 1:
        raise UsageError("--cv 1: expected 2 or more folds, or 0 for none")
    wanted = calibration_of(calibration, accuracy)
    from icis_cli.comparison.compare import Terms

    return Terms(wanted, accuracy, members, folds, device)


def write_csv(path: Path, comparisons: Mapping[str, Comparison], *, force: bool) -> None:
    """Write one line per run.

    Raises:
        OutputError: it exists already (without ``force``), or cannot be written.

    """
    from icis_cli.comparison.result import csv_of
    from icis_cli.files import appearing_together

    with appearing_together((path,), force=force) as streams:
        streams[path].write(csv_of(comparisons))

"""Comparisons as printed in papers: one line a method, mean ± deviation over seeds, in per cent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icis_cli.comparison.result import Comparison, ComparisonRow
from icis_cli.protocol.published import SOURCE, Published
from icis_cli.report.tables import fraction
from icis_cli.validation.heldout import affordable_folds

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class _Column:
    """A column: its head, the figure in it, how a number is shown, and whether its deviation is."""

    head: str
    figure: str
    show: Callable[[float], str]
    deviation: bool = True


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


_TIME = _Column("time s", "fit_seconds", _seconds, deviation=False)
_ACCURACY = (
    _Column("T1", "zsl_top1", _percent),
    _Column("u", "unseen", _percent),
    _Column("s", "seen", _percent),
    _Column("H", "harmonic", _percent),
    _Column("AUSUC", "ausuc", _percent),
    _Column("best H", "best_harmonic", _percent),
    _Column("raw H", "raw_harmonic", _percent, deviation=False),
    _TIME,
)
_HELD_OUT = (
    _Column("cosine", "held_out_cosine", lambda value: f"{value:.3f}"),
    _Column("retrieval", "held_out_retrieval", _percent),
    _Column("norm ratio", "held_out_norm_ratio", lambda value: f"{value:.2f}"),
    _TIME,
)

#: Figures of a line of ``--quiet``, by their labels there.
_QUIET = {"harmonic": "harmonic", "ausuc": "ausuc", "zsl": "zsl_top1"}
_QUIET_HELD_OUT = {
    "cosine": "held_out_cosine",
    "retrieval": "held_out_retrieval",
    "norm_ratio": "held_out_norm_ratio",
}

ACCURACY_CAPTION = (
    "T1: new classes, sought among new ones only; u, s: new and seen classes, sought among all; "
    "H: their harmonic mean; AUSUC: area under the seen-unseen curve; best H: over all offsets, "
    "which only labelled samples tell; raw H: without calibration; time: training alone"
)
HELD_OUT_CAPTION = (
    "held-out seen classes: cosine of predicted and true row, around the mean row; retrieval: how "
    "often the own true row is the most similar one of the fold (%); norm ratio: predicted / true "
    "distance from the mean row"
)
PUBLISHED_CAPTION = (
    f"published: {SOURCE}; features of this width need not be the paper's own (those of xlsa17 "
    "are not fine-tuned), so that the figures are comparable only where they are"
)


def title_of(comparison: Comparison, name: str = "") -> str:
    """Return what a table is about."""
    about = f"{name}: " if name else ""
    if comparison.samples:
        about += f"accuracy on {comparison.samples} samples (%), "
    else:
        about += "held-out seen classes, "
    about += f"{comparison.seen_classes} seen + {comparison.unseen_classes} new classes"
    seeds = max((row.seeds for row in comparison.rows), key=len)
    return about + (f", {len(seeds)} seeds" if len(seeds) > 1 else "")


def caption_of(comparison: Comparison, published: Published | None = None) -> str:
    """Return what the columns mean."""
    text = ACCURACY_CAPTION if comparison.samples else HELD_OUT_CAPTION + _not_held(comparison)
    mixed = [row for row in comparison.rows if len(row.chosen) > 1]
    for row in mixed:
        counts = ", ".join(
            f"{sum(run.chosen == name for run in row.runs)} x {name}" for name in row.chosen
        )
        text += f"; auto took {counts}"
    return text if published is None else f"{text}; {PUBLISHED_CAPTION}"


def _not_held(comparison: Comparison) -> str:
    """Return why a figure of held-out classes is not there, where one is not."""
    missing = [any(run.held_out is None for run in row.runs) for row in comparison.rows]
    if not any(missing):
        return ""
    folds = affordable_folds(comparison.seen_classes)
    if not folds:
        return "; -: not held out, because there are too few seen classes to hold out"
    why = "" if all(missing) else ", because refits take long"  # or because --cv 0 forbade it
    return f"; -: not held out{why} (--cv {folds} does it)"


def cells_of(
    comparison: Comparison, published: Published | None = None
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the column heads and the cells of each line; ``-`` where there is no figure."""
    columns = _ACCURACY if comparison.samples else _HELD_OUT
    lines = [
        (label_of(row), *(_cell(row, column) for column in columns)) for row in comparison.rows
    ]
    if published is not None:
        figures = dict(vars(published))
        shown = ("zsl_top1", "unseen", "seen", "harmonic")
        cells = (
            column.show(figures[column.figure]) if column.figure in shown else "-"
            for column in columns
        )
        lines.append(("published", *cells))
    return ("method", *(column.head for column in columns)), lines


def label_of(row: ComparisonRow) -> str:
    """Return a method's name, with what ``auto`` chose."""
    if not row.chosen:
        return row.method
    return f"{row.method}: {row.chosen[0] if len(row.chosen) == 1 else 'mixed'}"


def _cell(row: ComparisonRow, column: _Column) -> str:
    mean, deviation = row.mean()[column.figure], row.std()[column.figure]
    if mean is None:
        return "-"
    if deviation is None or not column.deviation:
        return column.show(mean)
    return f"{column.show(mean)}±{column.show(deviation)}"


def comparison_report(
    comparison: Comparison, name: str = "", published: Published | None = None
) -> Table:
    """Return the table for a terminal of 80 columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heads, lines = cells_of(comparison, published)
    wide = any("±" in cell for line in lines for cell in line)
    table = Table(
        title=Text(title_of(comparison, name)),
        caption=Text(caption_of(comparison, published)),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        padding=(0, 0 if wide else 1),
        show_edge=False,
        pad_edge=False,
    )
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number == 0 else "right", no_wrap=number == 0)
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def markdown_lines(
    comparison: Comparison, name: str = "", published: Published | None = None
) -> tuple[str, ...]:
    """Return a Markdown table, line by line, with its title above and its caption below."""
    heads, lines = cells_of(comparison, published)
    return (
        title_of(comparison, name),
        "",
        f"| {' | '.join(heads)} |",
        f"| --- |{' ---: |' * (len(heads) - 1)}",
        *(f"| {' | '.join(line)} |" for line in lines),
        "",
        caption_of(comparison, published),
    )


def quiet_lines(comparison: Comparison, name: str = "") -> tuple[str, ...]:
    """Return one line a method: H, AUSUC and T1; without samples cosine, retrieval, norm ratio.

    Figures are labelled as those of ``icis eval``.
    """
    shown = _QUIET if comparison.samples else _QUIET_HELD_OUT
    found = []
    for row in comparison.rows:
        means = row.mean()
        texts = (f"{label} {fraction(means[figure])}" for label, figure in shown.items())
        found.append(" ".join((*([name] if name else []), row.method, *texts)))
    return tuple(found)

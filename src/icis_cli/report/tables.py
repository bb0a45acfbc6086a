"""Tables of results for the terminal. Percentages are shown; the API and JSON hold fractions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from icis_cli.errors import printable
from icis_cli.evaluation.reference import NamedComparison
from icis_cli.evaluation.result import ClassResult, Evaluation
from icis_cli.report.plots import Glyphs, curve_lines

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_MOST_CLASSES = 10
_MOST_CONFUSIONS = 5


def percent(value: float) -> str:
    """Return a fraction as a percentage with one decimal, ``-`` for NaN."""
    return f"{100 * value:.1f}" if math.isfinite(value) else "-"


def fraction(value: float | None) -> str:
    """Return a fraction with four decimals, ``unknown`` for None and NaN."""
    return "unknown" if value is None or not math.isfinite(value) else f"{value:.4f}"


def further(offset: float) -> str:
    """Return by how much an offset should be another one: ``0.3 more`` or ``0.12 less``."""
    return f"{abs(offset):.3g} {'more' if offset >= 0 else 'less'}"


def new_table(title: str, *columns: str) -> Table:
    """Return an empty table whose first column is text and whose others are numbers."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    return table


def evaluation_report(evaluation: Evaluation, glyphs: Glyphs | None = None) -> Group:
    """Return all that a person wants to see of an evaluation.

    Args:
        evaluation: its result.
        glyphs: characters to draw the seen-unseen curve with; None where nobody looks at it.

    """
    from rich.console import Group
    from rich.text import Text

    parts: list[Table | Text] = [_figures(evaluation)]
    curve = () if glyphs is None else curve_lines(evaluation, glyphs)
    if curve:
        parts.append(Text("\n".join((*curve, "")), no_wrap=True))
    parts.append(_weakest(evaluation.classes))
    if evaluation.confusions:
        parts.append(_confusions(evaluation))
    return Group(*parts)


def _figures(evaluation: Evaluation) -> Table:
    table = new_table(
        f"accuracy on {evaluation.samples} samples, mean over classes (%)", "", "top-1", "top-5"
    )
    e = evaluation
    for label, top1, top5 in (
        ("new classes, sought among new classes only (T1)", e.zsl_top1, e.zsl_top5),
        ("new classes, among all (u)", e.unseen, e.unseen_top5),
        ("seen classes, among all (s)", e.seen, e.seen_top5),
    ):
        table.add_row(label, percent(top1), percent(top5))
    if math.isfinite(e.seen_alone):
        table.add_row(
            "seen classes, among seen only (the old checkpoint)", percent(e.seen_alone), ""
        )
        table.add_row("points that seen classes lose to new ones", percent(e.lost), "")
    table.add_row("harmonic mean of u and s (H)", percent(e.harmonic), "")
    table.add_row("area under the seen-unseen curve (AUSUC)", percent(e.ausuc), "")
    if math.isfinite(e.best_harmonic):
        table.add_row(
            f"best H, with {further(e.best_gamma)} on the new rows' biases",
            percent(e.best_harmonic),
            "",
        )
    return table


def _weakest(classes: Sequence[ClassResult]) -> Table:
    from rich.text import Text

    unseen = sorted((c for c in classes if c.kind == "unseen"), key=lambda c: (c.own_top1, c.name))
    shown = unseen[:_MOST_CLASSES]
    title = f"weakest {len(shown)} of {len(unseen)} new classes (%)"
    table = new_table(title, "class", "samples", "among new", "among all")
    for c in shown:
        table.add_row(Text(printable(c.name)), str(c.samples), percent(c.own_top1), percent(c.top1))
    return table


def _confusions(evaluation: Evaluation) -> Table:
    from rich.text import Text

    table = new_table("most frequent wrong answers", "class", "answered", "times", "share %")
    for c in evaluation.confusions[:_MOST_CONFUSIONS]:
        table.add_row(
            Text(printable(c.true)), Text(printable(c.answer)), str(c.count), percent(c.share)
        )
    return table


def comparison_table(comparisons: Sequence[NamedComparison]) -> Table:
    """Return a table of rows compared with true rows."""
    count = comparisons[0].figures.classes
    table = new_table(
        f"{count} new rows compared with the true rows of these classes",
        "rows",
        "cosine",
        "nearest true row is the right one",
        "norm / true norm",
    )
    for part in comparisons:
        figures = part.figures
        table.add_row(
            part.name,
            f"{figures.cosine:.3f}",
            f"{percent(figures.nearest)} %",
            f"{figures.norm_ratio:.2f}",
        )
    table.caption = (
        f"cosine after the mean row is taken off; by chance {percent(1 / count)} % would be right"
    )
    return table

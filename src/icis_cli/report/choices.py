"""What held-out seen classes told: how good rows are, and what was chosen by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icis_cli.injection.choosing import Choice
from icis_cli.report.verdict import Step, Verdict, held_out_step
from icis_cli.validation.heldout import HeldOutFigures
from icis_cli.validation.selection import Selection

if TYPE_CHECKING:
    from rich.table import Table

_MOST = 6
_STEPS: dict[Step, str] = {
    "promising": "",
    "weak": ": weak",
    "guess": ": hardly better than guessing",
}


def choice_report(choice: Choice, figures: HeldOutFigures | None, classes: int) -> Table:
    """Return what was tried and how good the rows are; an empty table where neither is known.

    Args:
        choice: what was chosen.
        figures: of held-out classes, or None.
        classes: K, that there are to learn from.

    """
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True, min_width=11)  # as in what was understood
    table.add_column()
    for name, selection in (("views", choice.weights), ("chosen", choice.methods)):
        if selection is not None:
            _add(table, name, selection)
    if figures is not None:
        _add_figures(table, figures)
    elif classes < 3:
        table.add_row("held out", f"not possible with {classes} classes")
    return table


def _add_figures(table: Table, figures: HeldOutFigures) -> None:
    """Say how predicted rows of seen classes compare with the true ones."""
    chance = 100 / figures.candidates
    table.add_row(
        "held out", f"{figures.folds} folds of {figures.candidates:.0f} seen classes; their rows:"
    )
    table.add_row(
        "",
        f"cosine with the true row {figures.cosine:.2f} ± {figures.cosine_spread:.2f}, "
        f"length {figures.norm_ratio:.2f} of it",
    )
    step = held_out_step(figures)
    if step is None:
        return  # of one class it is always the nearest
    table.add_row(
        "",
        f"true row is the nearest: {100 * figures.retrieval:.0f} ± "
        f"{100 * figures.retrieval_spread:.0f} % (by chance {chance:.0f} %){_STEPS[step]}",
    )


def _add(table: Table, name: str, selection: Selection) -> None:
    tried = selection.candidates
    taken = tried[selection.chosen]
    why = "no other is clearly better" if selection.chosen == 0 else "clearly better than the first"
    table.add_row(
        name, f"{taken.label}: answers {100 * taken.score:.1f} % of held-out classes; {why}"
    )
    others = sorted(
        (c for n, c in enumerate(tried) if n != selection.chosen), key=lambda c: -c.score
    )
    for other in others[:_MOST]:
        table.add_row("", f"{other.label}: {100 * other.score:.1f} %")
    if len(others) > _MOST:
        table.add_row("", f"and {len(others) - _MOST} more")


def choice_json(choice: Choice, figures: HeldOutFigures | None, verdict: Verdict) -> dict[str, Any]:
    """Return the same as JSON-ready values."""
    return {
        "method": choice.method.name,
        "held_out": None if figures is None else figures.to_json(),
        "verdict": verdict.to_json(),
        "selection": None if choice.methods is None else choice.methods.to_json(),
        "view_weights": list(choice.views.weights),
        "view_selection": None if choice.weights is None else choice.weights.to_json(),
    }

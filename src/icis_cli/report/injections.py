"""What ``icis inject`` did to new rows: the calibration, and how sure each row is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from icis_cli.errors import printable
from icis_cli.injection.expansion import Expansion
from icis_cli.report.outlook import Outlook, twin_warning
from icis_cli.report.tables import new_table

if TYPE_CHECKING:
    from rich.table import Table

_MOST = 5

#: What a cosine of a predicted and a true row means.
USUAL_COSINE = "1 is perfect, 0 unrelated, and 0.2 usual for real networks"


def calibration_line(expansion: Expansion) -> str:
    """Return in one line what the calibration is."""
    found = expansion.calibration
    if found.kind == "none":
        return (
            "calibration: none; trained classes will win most contests against the new ones "
            "(--calibration auto)"
        )
    if found.kind == "fixed":
        return f"calibration: {found.gamma:+.3g} on the biases of the new rows, as asked for"
    if found.gamma_range is None:
        return "calibration: no offset was found, none is added"
    where = "on the biases of the new rows"
    if expansion.head.bias is None:
        where = "on the logits of the new classes is wanted, but there is no bias to add it to"
    low, high = found.gamma_range
    return (
        f"calibration: {found.gamma:+.3g} {where}, found without images ({low:.3g} if the "
        f"classifier is unsure of its answers, {high:.3g} if very sure)"
    )


def certainty_table(expansion: Expansion, outlook: Outlook) -> Table:
    """Return a table of the new classes whose rows are least sure.

    A class that is described like a known one, and all of them where held-out classes are hardly
    better than guessing, have no standing that means anything.

    Raises:
        ValueError: no class was held out.

    """
    from rich.text import Text

    certainty = expansion.certainty
    if certainty is None:
        raise ValueError("no class was held out")
    count = len(certainty.standing)
    twin = np.array([name is not None for name in outlook.twins])
    order = np.argsort(np.where(twin, -1, certainty.standing), kind="stable")[:_MOST]
    which = "all" if len(order) == count else f"least sure {len(order)} of"
    few = ", least sure first" if 1 < len(order) == count else ""
    columns = ["surer than"] if outlook.tells_surer else []
    table = new_table(
        f"{which} {count} new rows{few}", "class", *columns, "cosine", "described like"
    )
    surer = "surer than so many % of the known classes when held out; " if columns else ""
    table.caption = f"{surer}cosine: to expect with the true row; {USUAL_COSINE}"
    names = expansion.class_names
    first = len(names) - count
    for n in order:
        standing = "-" if twin[n] else f"{100 * certainty.standing[n]:.0f} %"
        table.add_row(
            Text(printable(names[first + n])),
            *([standing] if columns else []),
            f"{certainty.cosine[n]:.2f}",
            Text(printable(names[certainty.nearest[n]])),
        )
    return table


def unlike_warning(expansion: Expansion) -> list[str]:
    """Return a warning that names new classes unlike anything seen, if there are any."""
    certainty = expansion.certainty
    if certainty is None or not certainty.unlike.any():
        return []
    first = len(expansion.class_names) - len(certainty.unlike)
    odd = [expansion.class_names[first + n] for n in np.flatnonzero(certainty.unlike)]
    shown = ", ".join(odd[:_MOST]) + (", ..." if len(odd) > _MOST else "")
    text = (
        "nothing that the classifier knows is like these new classes, their rows are little more "
        f"than a guess: {shown} ({len(odd)} of {len(certainty.unlike)})"
    )
    return [text]


def injection_warnings(expansion: Expansion, outlook: Outlook) -> tuple[str, ...]:
    """Return what is probably wrong with the new rows."""
    names = expansion.class_names[len(expansion.head.weight) :]
    return (
        *twin_warning(names, outlook.twins),
        *unlike_warning(expansion),
        *outlook.verdict.warnings,
    )


def injection_json(expansion: Expansion, outlook: Outlook | None) -> dict[str, Any]:
    """Return calibration, certainty and verdict as JSON-ready values; None of them after a removal.

    Args:
        expansion: what was done.
        outlook: what is to be expected of it; None for a removal.

    """
    if expansion.record is None or outlook is None:
        return {"calibration": None, "certainty": None, "verdict": None}
    found = expansion.calibration
    applied = expansion.record.rounds[-1].calibration
    content: dict[str, Any] = {
        "calibration": {
            "kind": found.kind,
            "offset": applied,
            "wanted_offset": found.gamma,
            "evening": found.evening,
            "offset_range": None if found.gamma_range is None else list(found.gamma_range),
            "expected": None if found.after is None else dict(vars(found.after)),
            "expected_without_offset": None if found.before is None else dict(vars(found.before)),
            "warnings": list(found.warnings),
        },
        "certainty": None,
        "verdict": outlook.verdict.to_json(),
    }
    certainty = expansion.certainty
    if certainty is not None:
        names = expansion.class_names
        first = len(names) - len(certainty.standing)
        content["certainty"] = [
            {
                "class": names[first + n],
                "standing": round(float(certainty.standing[n]), 4),
                "expected_cosine": round(float(certainty.cosine[n]), 4),
                "most_similar_seen": names[certainty.nearest[n]],
                "similarity": round(float(certainty.similarity[n]), 4),
                "unlike_seen": bool(certainty.unlike[n]),
                "same_as_seen": outlook.twins[n],
            }
            for n in range(len(certainty.standing))
        ]
    return content

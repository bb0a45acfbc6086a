"""What ``icis fit`` understood before it trains: layer, sizes, alignment, new classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.head import Head
from icis_cli.descriptors.alignment import AlignedClasses
from icis_cli.errors import printable
from icis_cli.methods.base import Method

if TYPE_CHECKING:
    from rich.table import Table

#: So many new classes are named: a line of the table that is no class should be seen.
_MOST_NAMES = 20


def examples(classes: AlignedClasses) -> list[tuple[int, int, str]]:
    """Return three example pairs: head row, descriptor row, class name."""
    count = len(classes.seen_names)
    return [
        (row, classes.seen_rows[row], classes.seen_names[row])
        for row in sorted({0, count // 2, count - 1})
    ]


def views_of(classes: AlignedClasses) -> list[tuple[tuple[Path, ...], int]]:
    """Return the files and the width of each view; a file of new classes is of the same view."""
    count = len(classes.views)
    return [
        (classes.sources[number::count], view.width) for number, view in enumerate(classes.views)
    ]


def fit_summary(
    checkpoint: Checkpoint,
    head: Head,
    classes: AlignedClasses,
    method: Method,
    label: str,
    seed: int,
) -> Table:
    """Return a small table for people."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    count, width = head.weight.shape
    bias = "with bias" if head.bias is not None else "without bias"
    rows = [
        ("checkpoint", f"{checkpoint.path} ({checkpoint.container})"),
        ("head", f"{head.key}: K = {count} classes, D = {width} inputs, {bias} [{head.found}]"),
        *(
            ("" if number else "descriptors", f"{', '.join(map(str, files))}: d = {view_width}")
            for number, (files, view_width) in enumerate(views_of(classes))
        ),
        ("aligned", f"{classes.how}, e.g."),
        *(
            ("", f"head row {row} = descriptor row {line}: {name}")
            for row, line, name in examples(classes)
        ),
        ("new", _new(classes.unseen_names)),
        ("method", f"{label}{_recipe(method)}, seed {seed}"),
    ]
    for label, text in rows:
        table.add_row(label, Text(printable(text)))
    return table


def _new(names: tuple[str, ...]) -> str:
    return f"{len(names)} {'class' if len(names) == 1 else 'classes'}: {_some(names)}"


def _some(names: tuple[str, ...]) -> str:
    """Return names; of more than twenty the first ones, and how many more there are."""
    shown = ", ".join(names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def _recipe(method: Method) -> str:
    name = method.settings().get("name")
    return f", recipe {name}" if name else ""


def summary_json(
    checkpoint: Checkpoint,
    head: Head,
    classes: AlignedClasses,
    method: Method,
    label: str,
    seed: int,
) -> dict[str, Any]:
    """Return the same as JSON-ready values."""
    return {
        "weights": str(checkpoint.path),
        "container": checkpoint.container,
        "head": {
            "key": head.key,
            "classes": head.weight.shape[0],
            "width": head.weight.shape[1],
            "bias": head.bias is not None,
            "dtype": head.dtype,
            "found": head.found,
        },
        "descriptors": {
            "files": [str(path) for path in classes.sources],
            "width": int(classes.seen.shape[1]),
            "views": [
                {"files": [str(path) for path in files], "width": view_width}
                for files, view_width in views_of(classes)
            ],
        },
        "alignment": {
            "how": classes.how,
            "examples": [
                {"head_row": row, "descriptor_row": line, "class": name}
                for row, line, name in examples(classes)
            ],
        },
        "new_classes": list(classes.unseen_names),
        "method": label,
        "settings": dict(method.settings()),
        "seed": seed,
        "notes": list(classes.notes),
        "warnings": list(classes.warnings),
    }

"""What ``icis inspect`` shows of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from icis_cli.checkpoint.inspection import FoundHead, Inspection, MissingHead
from icis_cli.errors import printable

if TYPE_CHECKING:
    from rich.table import Table

_MOST_NAMES = 3
_MOST_LAYERS = 8
_MOST_KEYS = 12

#: Characters of one name that are shown; a file may hold names of any length.
_LONGEST = 60


def inspection_report(inspection: Inspection) -> Table:
    """Return a small table for people, 80 columns wide."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in _file_and_head(inspection):
        table.add_row(label, Text(printable(text)))
    if len(inspection.layers) > 1:
        table.add_row("candidates", _candidates(inspection))
    for label, text in _classes_and_rest(inspection):
        table.add_row(label, Text(printable(text)))
    return table


def inspection_line(inspection: Inspection) -> str:
    """Return the same in one line of words and values for a script."""
    head = inspection.head
    injected = sum(part.classes for part in inspection.rounds)
    if isinstance(head, MissingHead):
        unknown = " ".join(f"{word} unknown" for word in ("classes", "width", "dtype", "bias"))
        return f"{unknown} injected {injected} head unknown"
    layer = head.layer
    bias = "yes" if layer.bias else "no"
    return (
        f"classes {layer.rows} width {layer.width} dtype {layer.dtype} bias {bias} "
        f"injected {injected} head {layer.key}"
    )


def _file_and_head(inspection: Inspection) -> Iterator[tuple[str, str]]:
    """Yield label and text of each line before the candidates."""
    from rich.filesize import decimal

    yield "checkpoint", f"{inspection.path} ({inspection.container}, {decimal(inspection.size)})"
    if inspection.arch is not None:
        yield "network", _short(inspection.arch)
    yield "tensors", f"{inspection.tensors} with {_parameters(inspection)}"
    head = inspection.head
    if isinstance(head, FoundHead):
        layer = head.layer
        bias = "with bias" if layer.bias else "without bias"
        yield "head", f"{layer.key} [{head.found}]"
        yield "", f"K = {layer.rows} classes, D = {layer.width} inputs, {layer.dtype}, {bias}"
        if head.auxiliary:
            yield "", f"beside it, used in training alone: {', '.join(head.auxiliary)}"
        norms = head.norms
        span = f"{norms.smallest:.3g} to {norms.largest:.3g}"
        yield "row norms", f"{span}, median {norms.median:.3g}"
    else:
        yield "head", f"not found: {head.reason}"
        if head.hint:
            yield "", head.hint


def _classes_and_rest(inspection: Inspection) -> Iterator[tuple[str, str]]:
    """Yield label and text of each line after the candidates."""
    yield "class names", _names(inspection)
    yield from _injected(inspection)
    if inspection.metadata:
        yield "metadata", _some(inspection.metadata, _MOST_KEYS)
    for number, note in enumerate(inspection.notes):
        yield "" if number else "notes", note


def _parameters(inspection: Inspection) -> str:
    counts = inspection.parameters
    total = f"{sum(counts.values()):,} parameters"
    if len(counts) < 2:
        return ", ".join((total, *counts))
    return f"{total}: " + ", ".join(f"{count:,} {dtype}" for dtype, count in counts.items())


def _candidates(inspection: Inspection) -> Table:
    """Return the last few layers that could be the head; ``*`` marks the one that is."""
    from rich.table import Table
    from rich.text import Text

    head, layers = inspection.head, inspection.layers
    key = head.layer.key if isinstance(head, FoundHead) else None
    shown = [layer for layer in layers[:-_MOST_LAYERS] if layer.key == key]
    shown += layers[-_MOST_LAYERS:]
    table = Table.grid(padding=(0, 1))
    for justify in ("left", "right", "left", "left", "left", "left", "left"):
        table.add_column(justify=justify, overflow="fold")
    for layer in shown:
        mark = "*" if layer.key == key else ""
        bias = "" if layer.bias else "no bias"
        sizes = (str(layer.rows), "x", str(layer.width), layer.dtype, bias)
        table.add_row(mark, *sizes, Text(printable(layer.key)))
    if len(shown) < len(layers):
        table.add_row("", "...", "", "", "", "", f"and {len(layers) - len(shown)} more")
    return table


def _names(inspection: Inspection) -> str:
    names = inspection.class_names
    if names is None:
        return "none in the checkpoint"
    where = "from the record" if names.source == "record" else "in the checkpoint"
    return f"{len(names.names)} {where}: {_some(names.names, _MOST_NAMES)}"


def _injected(inspection: Inspection) -> Iterator[tuple[str, str]]:
    """Yield what was trained and what each injection added."""
    names = inspection.class_names
    if inspection.trained is None or names is None:
        return
    yield "trained", f"{inspection.trained} classes"
    first = inspection.trained
    for number, part in enumerate(inspection.rounds):
        offset = "" if part.calibration == "none" else f" {part.gamma:+.3g}"
        how = f"{_short(part.method)}, calibration {_short(part.calibration)}{offset}"
        new = names.names[first : first + part.classes]
        yield "" if number else "injected", f"{part.classes} by {how}: {_some(new, _MOST_NAMES)}"
        first += part.classes


def _some(names: Sequence[str], most: int) -> str:
    return ", ".join(map(_short, names[:most])) + (", ..." if len(names) > most else "")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."

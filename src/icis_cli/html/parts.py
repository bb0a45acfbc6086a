"""What sections of an HTML report are made of: titles, terms, names and numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

from icis_cli.errors import printable
from icis_cli.html.figures import shown

#: Above a wide table; shown on small screens alone.
SWIPE = '<p class="swipe quiet">Swipe sideways for more columns.</p>'


def section(title: str, lead: str, *parts: str) -> str:
    """Return a section: a title, what it shows, and what is in it."""
    body = "\n".join(parts)
    return f'<section>\n<h2>{title}</h2>\n<p class="lead">{lead}</p>\n{body}\n</section>'


def pairs_of(pairs: Iterable[tuple[str, str]]) -> str:
    """Return terms with what is said about each; both are HTML."""
    return "<dl>" + "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in pairs) + "</dl>"


def number(value: float | None, form: str) -> str:
    """Return a cell with a number, that sorts by the number itself."""
    if value is None or not math.isfinite(value):
        return '<td class="number"></td>'
    words = f"{value:{form}}".replace("%", " %")
    return f'<td class="number" data-v="{value:.6g}">{words}</td>'


def percent(value: float) -> str:
    """Return a fraction as a percentage, ``unknown`` for NaN."""
    return f"{100 * value:.1f} %" if math.isfinite(value) else "unknown"


def sentence(text: str) -> str:
    """Return words of ours, and names from files in them, as a sentence."""
    plain = printable(text)
    return f"{escape(plain[:1].upper() + plain[1:])}."


def name_of(name: str) -> str:
    """Return the name of a class for a cell; it may be broken after an underscore."""
    return shown(name).replace("_", "_<wbr>")

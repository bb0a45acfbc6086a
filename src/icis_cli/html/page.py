"""The page of an HTML report: one file with its style and script in it, that loads nothing.

Its policy (Content-Security-Policy) lets a browser run the script and the style that are in it, by
their sha256, and nothing else, whatever the names in a checkpoint are.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

from icis_cli import __version__
from icis_cli.files import appearing_together, require_writable
from icis_cli.html import sections, tables, top
from icis_cli.html.data import Report
from icis_cli.html.figures import shown
from icis_cli.html.parts import section

#: What lets a browser show the images that are in the page itself.
_IMAGES = "img-src data:; "

_STAGES = {"planned": "icis report, before anything is injected", "written": "icis report"}


def write_html(report: Report, path: Path | str, *, force: bool = False) -> None:
    """Write a report as one HTML file that needs no network and no other file.

    Args:
        report: from ``report_of``.
        path: of the file.
        force: replace an existing file.

    Raises:
        OutputError: it exists (without ``force``) or cannot be written.

    """
    path = Path(path)
    require_writable(path, force=force)
    with appearing_together((path,), force=force) as streams:
        streams[path].write(html_of(report).encode())


def html_of(report: Report) -> str:
    """Return the page: the same report gives the same text."""
    style, script = _template("page.css"), _template("page.js")
    name = shown(report.subject.name)
    parts = [
        sections.went_in(report),
        sections.held_out(report),
        sections.training(report),
        sections.accuracy(report),
        sections.placed(report),
        sections.lengths(report),
        tables.likeness(report),
        tables.classes(report),
        tables.confusions(report),
        sections.provenance(report),
        _missing(report),
    ]
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        f"{_IMAGES if report.examples else ''}base-uri 'none'; form-action 'none'"
    )
    body = "\n".join(part for part in parts if part is not None)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="icis {__version__}">
<title>{name}: icis report</title>
<style>{style}</style>
</head>
<body>
<header>
<p class="quiet">{_STAGES[report.subject.stage]}</p>
<h1>{name}</h1>
{top.verdict(report)}
{top.cards(report)}
</header>
<main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""


def _missing(report: Report) -> str | None:
    """Return what is not shown, and what would add it."""
    if not report.missing:
        return None
    items = "".join(f"<li>{what}: <code>{shown(how)}</code></li>" for what, how in report.missing)
    return section("Not in this report", "What would add it:", f"<ul>{items}</ul>")


def _template(name: str) -> str:
    return resources.files("icis_cli.html").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

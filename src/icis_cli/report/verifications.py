"""What ``icis verify`` shows of a verification."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from icis_cli.errors import printable
from icis_cli.verification.result import Verification

if TYPE_CHECKING:
    from rich.console import Group

#: A sha256 does not fit into the table; of each one the start is shown there, all of it below.
_DIGEST = re.compile(r"\b([0-9a-f]{16})[0-9a-f]{48}\b")


def verification_report(verification: Verification) -> Group:
    """Return a small table for people, one line per check, and whole digests below to copy."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in verification.checks:
        verdict = Text("ok", "green") if check.passed else Text("WRONG", "bold red")
        table.add_row(check.name, verdict, Text(_DIGEST.sub(r"\1...", printable(check.found))))
    if verification.passed:
        added = verification.rows_after - verification.rows_before
        last = f"{verification.new} is {verification.old} plus {added} rows, and nothing else"
        table.add_row("result", Text("ok", "green"), Text(printable(last)))
    digests = [pair for check in verification.checks for pair in check.digests]
    below = [Text(f"{printable(whose)}:\n  {printable(digest)}") for whose, digest in digests]
    return Group(table, *below)


def verification_line(verification: Verification) -> str:
    """Return the same in one line of words and values for a script."""
    verdict = "yes" if verification.passed else "no"
    return (
        f"verified {verdict} rows_before {verification.rows_before} "
        f"rows_after {verification.rows_after} head {verification.head or 'unknown'}"
    )

"""The way in: ``icis`` starts here, and ends here with an exit code that nothing changes any more.

Nothing that takes time is imported before signals are handled.
"""

from __future__ import annotations

import sys

from icis_cli import interrupts


def main() -> None:
    """Run the command line; the entry point of ``icis``. Ends the process."""
    interrupts.handle()
    try:
        from icis_cli.cli.streams import flushed, let_first_end, open_streams

        open_streams()
        code = flushed(run(sys.argv[1:]))
        let_first_end(code)
    except KeyboardInterrupt:
        code = interrupts.tell()
    interrupts.leave(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors are printed, never raised."""
    try:
        from icis_cli.cli.app import answer

        interrupts.begin()
        return answer(arguments)
    except KeyboardInterrupt:
        return interrupts.tell()

"""Run one command and write what it took, as JSON, into a file.

    python -I -S benchmarks/launch.py OUT COMMAND ...

A process counts the memory of the one that started it into its own peak. So commands are started by
this small process, which imports next to nothing, and not by the benchmarks themselves.
"""

from __future__ import annotations

import os
import sys
import time


def main() -> None:
    """Run it; OUT holds its exit code, seconds and peak resident set in bytes."""
    out, command = sys.argv[1], sys.argv[2:]
    start = time.perf_counter()
    child = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    taken = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    code = os.waitstatus_to_exitcode(status)
    with open(out, "w", encoding="utf-8") as file:  # noqa: PTH123  # pathlib is 5 MB
        file.write(f'{{"code": {code}, "seconds": {taken!r}, "peak": {usage.ru_maxrss * unit}}}')


if __name__ == "__main__":
    main()

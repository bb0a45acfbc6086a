"""All comparisons of speed and memory in one run on one machine, as one Markdown table.

    python -m benchmarks.run [--only fit startup ...] [--runs 5] [--data ../shared/data]
        [--work DIR] [--size full|small] [--markdown FILE]

Sections whose data or disk space is not there say so. Ratios are of runs that took turns, the other
thing right after ours; medians and the whole spread are printed. Peak RSS is that of a whole
process. Files are written into a folder inside --work (default: here) that is removed at the end.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.machine import description
from benchmarks.measure import Line, Setting, header, markdown, missed
from benchmarks.sizes import SIZES

#: In this order: what is over soon comes first.
SECTIONS = {
    "startup": "benchmarks.startup",
    "ridge": "benchmarks.closed_form",
    "eval": "benchmarks.evaluating",
    "inject": "benchmarks.writing",
    "scale": "benchmarks.scale",
    "fit": "benchmarks.training",
}


def lines(name: str, setting: Setting) -> Iterator[Line]:
    """Yield the lines of a section as they are measured."""
    found: Iterator[Line] = importlib.import_module(SECTIONS[name]).section(setting)
    yield from found


def main() -> None:
    """Print the machine and the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=tuple(SECTIONS), default=tuple(SECTIONS))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path())
    parser.add_argument("--size", choices=tuple(SIZES), default="full")
    parser.add_argument("--markdown", type=Path, help="write the table into this file, too")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error(f"--runs {options.runs}: expected at least 1")
    said = [*(f"- {line}" for line in description()), "", header()]
    print("\n".join(said), flush=True)
    measured: list[Line] = []
    options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="icis-bench-", dir=options.work.resolve()) as folder:
        setting = Setting(options.runs, options.data, Path(folder), SIZES[options.size])
        for name in options.only:
            for line in lines(name, setting):
                measured.append(line)
                said.append(markdown(line))
                print(said[-1], flush=True)
    if options.markdown is not None:
        options.markdown.write_text("\n".join(said) + "\n", encoding="utf-8")
    short = missed(measured)
    for row in short:
        print(f"missed: {row.what} ({row.against or 'absolute'})", file=sys.stderr)


if __name__ == "__main__":
    main()

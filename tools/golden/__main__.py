"""Compare what ``icis`` does with the golden record, or write the record anew.

python -m tools.golden [--update] [GROUP...]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from tools.forkserver import ForkServer
from tools.golden.checking import Outcome, Record
from tools.golden.contents import known_parts, short_hash
from tools.golden.material import make_material
from tools.golden.normal import versions
from tools.golden.running import KERNELS, Group, Material

RECORD = Path(__file__).parents[2] / "golden"

#: What many commands would load one by one.
PRELOADED = ("onnx", "h5py", "pyarrow.parquet", "scipy.io", "timm", "transformers")

#: Groups that run side by side.
WORKERS = 2


def fingerprint() -> list[str]:
    """Return what the bytes of computed numbers depend on."""
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    told = dict(line.split("\t: ", 1) for line in about.splitlines() if "\t: " in line)
    flags = short_hash(told.get("flags\t", told.get("flags", "")).encode())
    processor = told.get("model name", platform.processor() or platform.machine())
    installed = ", ".join(f"{name} {version}" for name, version in versions().items())
    kernels = [f"{key}={os.environ[key]}" for key in sorted(os.environ) if key.startswith(KERNELS)]
    capability = torch.backends.cpu.get_cpu_capability()
    return [f"{processor}, {capability}, flags {flags}", installed, *kernels]


def run_groups(record: Record, names: Sequence[str], folder: Path) -> list[Outcome]:
    """Run the command lines of groups, some side by side, in folders below ``folder``."""
    with ThreadPoolExecutor(WORKERS) as pool:
        starting = pool.submit(ForkServer, PRELOADED)
        make_material(folder / "material")
        known = known_parts(folder / "material")
        material = Material(folder / "material", known, versions())

        def run(name: str) -> Outcome:
            group = Group(name, server, material, folder)
            return Outcome(name, *group.run(record.steps(name)))

        with starting.result() as server:
            return list(pool.map(run, names))


def main(arguments: Sequence[str]) -> int:
    """Run; return 1 where something differs."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m tools.golden", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="files of golden/, without .txt")
    parser.add_argument("--update", action="store_true", help="accept all differences")
    options = parser.parse_args(arguments)
    record, now = Record(RECORD), fingerprint()
    if unknown := set(options.groups) - set(record.groups):
        parser.error(f"no group {', '.join(sorted(unknown))}, only {', '.join(record.groups)}")
    if (gone := {file.group for file in record.files} - set(record.groups)) and not options.update:
        parser.error(f"golden/exact.txt names groups without a file: {', '.join(sorted(gone))}")
    with tempfile.TemporaryDirectory(prefix="icis-golden-") as folder:
        outcomes = run_groups(record, options.groups or record.groups, Path(folder))
    found = record.compare(outcomes, now)
    for one in found:
        print("\n".join(one.lines), end="\n\n")
    if now != record.fingerprint:
        print("golden/exact.txt was recorded on another machine; file hashes were not compared:")
        print(
            "\n".join([*(f"-{line}" for line in record.fingerprint), *(f"+{line}" for line in now)])
        )
    cases = sum(step.recorded for outcome in outcomes for step in outcome.steps)
    print(f"{len(found)} of {cases} cases differ, after {time.monotonic() - started:.0f} s")
    if options.update:
        record.update(outcomes, now)
    elif found:
        print("To accept: make golden-update, then review git diff golden/")
    return int(bool(found) and not options.update)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

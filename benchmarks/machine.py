"""What the benchmarks ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np


def description() -> list[str]:
    """Return one line each about processor, memory and software."""
    import torch

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    loads = " ".join(f"{load:.1f}" for load in os.getloadavg())
    name = _field("/proc/cpuinfo", "model name") or platform.processor()
    numpy = f"numpy {np.__version__} with {blas.get('name')} {blas.get('version')}"
    threads = f"torch {torch.__version__} with {torch.get_num_threads()} threads"
    return [
        f"processor: {name}, {os.cpu_count()} cores, load before the run {loads}",
        f"memory: {_memory() / 1e9:.0f} GB",
        f"system: {platform.system()} {platform.release()}",
        f"Python {platform.python_version()}, {numpy}, {threads}",
    ]


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _field(path: str, name: str) -> str:
    """Return the first value of a field in one of Linux's files, ``""`` where there is none."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")

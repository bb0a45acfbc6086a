"""``icis inject`` against plain copies: one large file, several files with an index, a pickle."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.children import Finished, copy, flush, icis, python, synced
from benchmarks.material import Problem, make_problem, pairs, write_shards
from benchmarks.measure import Line, Runs, Setting, Skipped, costs, megabytes
from benchmarks.parts import in_folders

_LOAD_SAVE = """
import sys, torch
state = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
torch.save(state, sys.argv[2])
"""

_TO_PICKLE = """
import sys, torch
from safetensors.torch import load_file
torch.save(load_file(sys.argv[1]), sys.argv[2])
"""


def section(setting: Setting) -> Iterator[Line]:
    """Compare the writing of each format."""
    yield from in_folders(setting, "icis inject", (_large, _sharded, _pickle))


def _large(setting: Setting, folder: Path) -> Iterator[Line]:
    size = setting.sizes.big_file
    free = shutil.disk_usage(setting.work).free
    if free < 2.5 * size:
        why = f"{free / 1e9:.0f} GB free, {2.5 * size / 1e9:.0f} GB needed"
        yield Skipped(f"icis inject of {size / 1e9:g} GB", why)
        return
    problem = make_problem(folder, size)
    injector = _fitted(problem, folder)
    out, copied = folder / "out.safetensors", folder / "cp.safetensors"
    own: list[Finished] = []
    plain, whole = [], []
    for run in range(-1, setting.runs):  # the first fills the cache and is not counted
        flush()
        done = icis("inject", "--injector", injector, "--out", out)
        _gone(out)
        flush()
        cp = copy(problem.weights, copied)
        sync = synced(copied)
        copied.unlink()
        if run >= 0:
            own.append(done)
            plain.append(cp.seconds)
            whole.append(cp.seconds + sync.seconds)
    name = f"icis inject, .safetensors of {problem.weights.stat().st_size / 1e9:.1f} GB"
    times, peak = _times(own), max(done.peak for done in own)
    yield costs(name, "cp", times, tuple(plain), 1.25, peak)
    yield costs(name, "cp, then sync of the file", times, tuple(whole), None, peak)
    yield megabytes(f"{name}, memory", tuple(done.peak for done in own), 300, times)


def _sharded(setting: Setting, folder: Path) -> Iterator[Line]:
    size = setting.sizes.middle_file
    problem = make_problem(folder, 0)
    _, rows = pairs(problem.seen, problem.unseen, 128, 2048)
    source = folder / "sharded"
    write_shards(source, rows, size)
    injector = _fitted(problem, folder, source)
    out, copied = folder / "out", folder / "head"
    (head,) = source.glob("model-00004*")
    linked, plain, own = [], [], []
    for run in range(-1, setting.runs):
        flush()
        link = icis(
            *("inject", "--weights", source, "--injector", injector),
            *("--out", out, "--shards", "link"),
        )
        new = [path for path in out.glob("*.safetensors") if path.stat().st_nlink == 1]
        if len(new) != 1:
            yield Skipped("sharded", f"{len(new)} shards were written, expected the head's alone")
            return
        shutil.rmtree(out)
        _gone(out)  # the record beside it
        cp = copy(head, copied)
        if run >= 0:
            linked.append(link.seconds)
            own.append(link)
            plain.append(cp.seconds)
    total = sum(path.stat().st_size for path in source.iterdir()) / 1e6
    yield costs(
        f"icis inject --shards link, 4 files, {total:.0f} MB, head {head.stat().st_size / 1e6:.0f}"
        " MB: one file written, three linked",
        "cp of the head's file",
        tuple(linked),
        tuple(plain),
        None,
        max(done.peak for done in own),
    )


def _pickle(setting: Setting, folder: Path) -> Iterator[Line]:
    problem = make_problem(folder, setting.sizes.middle_file)
    source, out, again = folder / "model.pt", folder / "out.pt", folder / "again.pt"
    python(_TO_PICKLE, problem.weights, source)
    problem.weights.unlink()
    injector = _fitted(problem, folder, source)
    own: list[Finished] = []
    plain: list[Finished] = []
    for run in range(-1, setting.runs):
        flush()
        done = icis("inject", "--injector", injector, "--out", out)
        _gone(out)
        flush()
        other = python(_LOAD_SAVE, source, again)
        again.unlink()
        if run >= 0:
            own.append(done)
            plain.append(other)
    name = f"icis inject, .pt of {source.stat().st_size / 1e6:.0f} MB"
    against = "torch.load and torch.save"
    yield costs(name, against, _times(own), _times(plain), None, max(d.peak for d in own))
    yield megabytes(f"{name}, memory", tuple(done.peak for done in own), None)
    yield megabytes(f"{against} of it, memory", tuple(done.peak for done in plain), None)


def _fitted(problem: Problem, folder: Path, weights: Path | None = None) -> Path:
    injector = folder / "injector.safetensors"
    icis(
        *("fit", "--weights", weights or problem.weights, "--attrs", problem.descriptors),
        *("--classes", problem.names, "--method", "ridge", "--out", injector),
    )
    return injector


def _gone(out: Path) -> None:
    """Remove an output and the record beside it."""
    for path in out.parent.glob(f"{out.stem}*"):
        path.unlink()


def _times(done: list[Finished]) -> Runs:
    return tuple(one.seconds for one in done)

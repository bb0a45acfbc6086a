"""Large catalogues, and how the cost grows as K, U, D and d double."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.children import icis
from benchmarks.material import make_problem, pairs, write_names
from benchmarks.measure import Line, Runs, Setting, Skipped, costs, interleaved, megabytes
from benchmarks.parts import in_folders
from icis_cli.methods.base import Method, SeenPairs
from icis_cli.methods.icis import Icis
from icis_cli.methods.ridge import Ridge

_D, _WIDTH = 64, 2048

#: Seconds after which a command counts as failed.
_LIMIT = 900.0

#: A command that takes minutes is run so often at most.
_LONG_RUNS = 2


@dataclass(frozen=True)
class _Size:
    """K, U, D and d of a problem."""

    seen: int = 1000
    unseen: int = 1000
    width: int = 1024
    d: int = 256


def section(setting: Setting) -> Iterator[Line]:
    """Measure two large problems, then the table of costs."""
    yield from in_folders(setting, "scale", (_many_seen, _many_new))
    yield from _doubled(setting)


def _many_seen(setting: Setting, folder: Path) -> Iterator[Line]:
    seen = setting.sizes.seen
    problem = make_problem(folder, 0, seen=seen, unseen=1000, d=300, width=_WIDTH)
    injector, out = folder / "i.safetensors", folder / "out.safetensors"
    fits, writes = [], []
    for _ in range(setting.runs):
        fits.append(
            icis(
                *("fit", "--weights", problem.weights, "--attrs", problem.descriptors, "--force"),
                *("--classes", problem.names, "--method", "ridge", "--out", injector),
                limit_s=_LIMIT,
            )
        )
        writes.append(
            icis("inject", "--injector", injector, "--out", out, "--force", limit_s=_LIMIT)
        )
    size = f"K = {seen}, D = {_WIDTH}, d = 300"
    for what, done in (("icis fit --method ridge", fits), ("icis inject of 1000", writes)):
        peaks, times = (tuple(getattr(o, key) for o in done) for key in ("peak", "seconds"))
        yield megabytes(f"{what}, {size}, memory", peaks, None, times)


def _many_new(setting: Setting, folder: Path) -> Iterator[Line]:
    count = setting.sizes.new
    needed, free = 3 * count * (_WIDTH + _D) * 4, shutil.disk_usage(setting.work).free
    if free < needed:
        why = f"{free / 1e9:.0f} GB free, {needed / 1e9:.0f} GB needed"
        yield Skipped(f"{count} new classes", why)
        return
    problem = make_problem(folder, 0, unseen=10, d=_D, width=_WIDTH)
    injector, out = folder / "i.safetensors", folder / "out.safetensors"
    new, names = folder / "new.npy", folder / "new.txt"
    np.save(new, np.random.default_rng(2).standard_normal((count, _D), dtype=np.float32))
    write_names(names, count, "new")
    icis(
        *("fit", "--weights", problem.weights, "--attrs", problem.descriptors),
        *("--classes", problem.names, "--method", "ridge", "--out", injector),
    )
    done = [
        icis(
            *("inject", "--injector", injector, "--attrs", new, "--classes", names, "--quiet"),
            *("--out", out, "--force"),
            limit_s=_LIMIT,
        )
        for _ in range(min(setting.runs, _LONG_RUNS))
    ]
    yield megabytes(
        f"icis inject of {count} new classes, D = {_WIDTH}, d = {_D}, memory",
        tuple(one.peak for one in done),
        1500,
        tuple(one.seconds for one in done),
    )


def _doubled(setting: Setting) -> Iterator[Line]:
    base = _Size()
    sizes = {
        "K": replace(base, seen=2 * base.seen),
        "U": replace(base, unseen=2 * base.unseen),
        "D": replace(base, width=2 * base.width),
        "d": replace(base, d=2 * base.d),
    }
    for method in (Ridge(), Icis()):
        for name, size in sizes.items():
            (first, first_rows), (second, second_rows) = (
                _actions(method, one) for one in (base, size)
            )
            small, small_rows, large, large_rows = interleaved(
                setting.runs, first, first_rows, second, second_rows
            )
            yield _grown(method, "fit", name, large, small)
            yield _grown(method, "predict", name, large_rows, small_rows)


def _actions(method: Method, size: _Size) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return what fits a method, and what predicts the new rows with it."""
    descriptors, rows = pairs(size.seen, size.unseen, size.d, size.width)
    problem = SeenPairs(descriptors[: size.seen], rows, descriptors[size.seen :])
    predictor = method.fit(problem, seed=0).predictor
    return (
        lambda: method.fit(problem, seed=0),
        lambda: np.asarray(predictor.predict(problem.unseen)),
    )


def _grown(method: Method, what: str, name: str, large: Runs, small: Runs) -> Line:
    base = _Size()
    before = f"K = {base.seen}, U = {base.unseen}, D = {base.width}, d = {base.d}"
    return costs(f"{method.name}: {what}, {name} doubled", before, large, small, None)

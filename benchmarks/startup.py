"""How long the command takes before it does anything, and when there is nothing to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.children import copy, flush, icis, python
from benchmarks.material import make_problem
from benchmarks.measure import Line, Setting, costs, megabytes, seconds

#: What is asked of ``--help`` and of every usage error.
_AT_ONCE = 0.35

_USAGE_ERRORS: tuple[tuple[str, ...], ...] = (
    ("--nonsense",),
    ("nonsense",),
    ("fit",),
    ("fit", "--weights", "w.pt", "--attrs", "a.npy", "--cv", "1"),
    ("fit", "--weights", "w.pt", "--attrs", "a.npy", "--method", "nonsense"),
    ("fit", "--weights", "w.pt", "--attrs", "a.npy", "--method", "ridge", "--ensemble", "3"),
    ("inject", "--remove"),
    ("inject", "--calibration", "nonsense"),
    ("eval", "--weights", "w.pt"),
    ("eval", "--weights", "w.pt", "--features", "f.npz", "--arch", "resnet50"),
    ("compare",),
)


def section(setting: Setting) -> Iterator[Line]:
    """Measure start-up, and the whole of ``icis inject`` on a small file."""
    bare = tuple(python("pass").seconds for _ in range(setting.runs))
    for words in (("--help",), ("--version",)):
        done = [icis(*words) for _ in range(setting.runs)]
        times = tuple(one.seconds for one in done)
        peak = max(one.peak for one in done)
        yield seconds(f"icis {words[0]}", times, _AT_ONCE, peak)
        yield costs(f"icis {words[0]}", "python -c pass", times, bare, None)
    slowest = max(
        ([icis(*words, code=2) for _ in range(setting.runs)] for words in _USAGE_ERRORS),
        key=lambda done: sorted(one.seconds for one in done)[len(done) // 2],
    )
    yield seconds(
        f"the slowest of {len(_USAGE_ERRORS)} usage errors",
        tuple(one.seconds for one in slowest),
        _AT_ONCE,
        max(one.peak for one in slowest),
    )
    yield from _inject(setting, setting.work / "startup")


def _inject(setting: Setting, folder: Path) -> Iterator[Line]:
    problem = make_problem(folder, setting.sizes.middle_file // 4)
    injector, out, copied = folder / "i.safetensors", folder / "out.safetensors", folder / "cp"
    icis(
        *("fit", "--weights", problem.weights, "--attrs", problem.descriptors),
        *("--classes", problem.names, "--method", "ridge", "--out", injector),
    )
    beyond, whole, plain, peaks = [], [], [], []
    for run in range(-1, setting.runs):  # the first is not counted
        flush()
        done = icis("inject", "--injector", injector, "--out", out)
        flush()
        cp = copy(problem.weights, copied)
        if run >= 0:
            beyond.append(done.seconds - cp.seconds)
            whole.append(done.seconds)
            plain.append(cp.seconds)
            peaks.append(done.peak)
        for path in (out, Path(f"{out}.icis.json"), out.with_suffix(".icis.json"), copied):
            path.unlink(missing_ok=True)
    size = problem.weights.stat().st_size / 1e6
    name = f"icis inject, .safetensors of {size:.0f} MB"
    yield seconds(f"{name}, beyond a cp of it", tuple(beyond), 1.0, max(peaks))
    yield costs(name, "cp", tuple(whole), tuple(plain), None)
    yield megabytes(f"{name}, memory", tuple(peaks), None)

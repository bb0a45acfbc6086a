"""``icis eval``: speed against the bare matrix product, memory as samples grow, images a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import icis_cli as icis_package
from benchmarks.children import Finished, icis, run_module
from benchmarks.image_loop import make_network
from benchmarks.material import make_problem
from benchmarks.measure import (
    Bound,
    Line,
    Row,
    Setting,
    Skipped,
    costs,
    interleaved,
    megabytes,
)
from benchmarks.parts import in_folders
from icis_cli.arrays import FloatArray

#: Samples per product, as ``icis eval`` takes them.
_BLOCK = 4096


def section(setting: Setting) -> Iterator[Line]:
    """Compare the three."""
    yield from in_folders(setting, "icis eval", (_features, _images))


def _features(setting: Setting, folder: Path) -> Iterator[Line]:
    problem = make_problem(folder, 0, width=2048)
    new = folder / "new.safetensors"
    injector = folder / "i.safetensors"
    icis(
        *("fit", "--weights", problem.weights, "--attrs", problem.descriptors),
        *("--classes", problem.names, "--method", "ridge", "--out", injector),
    )
    icis("inject", "--injector", injector, "--out", new)
    few = _samples(folder / "few", setting.sizes.samples, 2048, problem.seen + problem.unseen)
    many = _samples(folder / "many", 4 * setting.sizes.samples, 2048, problem.seen + problem.unseen)
    known = icis_package.known_head(icis_package.open_checkpoint(new))
    weight = np.ascontiguousarray(known.head.weight, dtype=np.float32)
    values: FloatArray = np.load(few)
    labels = np.load(_labels(few))
    features = icis_package.Features(values, labels, few)

    def product() -> None:
        for start in range(0, len(values), _BLOCK):
            values[start : start + _BLOCK] @ weight.T

    own, bare = interleaved(
        setting.runs, lambda: icis_package.evaluate_features(known, features), product
    )
    size = f"N = {len(values)}, {len(weight)} classes, D = 2048"
    speed = tuple(b / a for a, b in zip(own, bare, strict=True))
    yield Row(
        f"evaluate_features, {size}: speed",
        "the bare matrix product",
        speed,
        "x",
        Bound("least", 0.8),
        own,
        bare,
    )
    small: list[Finished] = []
    large: list[Finished] = []
    for _ in range(setting.runs):
        for path, done in ((few, small), (many, large)):
            done.append(
                icis("eval", "--weights", new, "--features", path, "--labels", _labels(path))
            )
    own_peaks, other_peaks = (tuple(o.peak for o in done) for done in (small, large))
    yield megabytes(f"icis eval, {size}, memory", own_peaks, None, tuple(o.seconds for o in small))
    yield megabytes("the same with 4 N, memory", other_peaks, None, tuple(o.seconds for o in large))
    grown = tuple(b / a for a, b in zip(own_peaks, other_peaks, strict=True))
    yield Row("memory of icis eval with 4 N", "with N", grown, "x", Bound("most", 1.05))


def _images(setting: Setting, folder: Path) -> Iterator[Line]:
    images = setting.data / "imagenet-lite0" / "images"
    if not images.is_dir():
        yield Skipped("icis eval --images", "no imagenet-lite0/images among the data")
        return
    names = sorted(path.name for path in images.iterdir() if path.is_dir())
    weights, classes, unseen = folder / "net.pt", folder / "all.txt", folder / "new.txt"
    make_network(weights, len(names))
    classes.write_text("".join(f"{name}\n" for name in names))
    unseen.write_text("".join(f"{name}\n" for name in names[-10:]))
    own, plain, peaks = [], [], []
    for _ in range(setting.runs):
        done = icis(
            *("eval", "--weights", weights, "--images", images, "--arch", "resnet18"),
            *("--classes", classes, "--unseen", unseen, "--device", "cpu"),
        )
        own.append(done.seconds)
        peaks.append(done.peak)
        plain.append(run_module("benchmarks.image_loop", weights, images).seconds)
    count = sum(1 for path in images.rglob("*") if path.is_file())
    yield costs(
        f"icis eval --images, {count} images, resnet18",
        "a plain loop over the images",
        tuple(own),
        tuple(plain),
        None,
        max(peaks),
    )
    rate = tuple(count / taken for taken in own)
    yield Row("the same: images a second, start-up included", "", rate, "1/s")


def _samples(path: Path, count: int, width: int, classes: int) -> Path:
    """Write features (N, D) and, beside them, labels; block by block."""
    generator = np.random.default_rng(3)
    features = path.with_suffix(".npy")
    shape = (count, width)
    values = np.lib.format.open_memmap(features, "w+", np.float32, shape)
    for start in range(0, count, _BLOCK):
        block = values[start : start + _BLOCK]
        block[:] = generator.standard_normal(block.shape, dtype=np.float32)
    values.flush()
    np.save(_labels(features), generator.integers(0, classes, count))
    return features


def _labels(features: Path) -> Path:
    return features.with_name(f"{features.stem}_labels.npy")

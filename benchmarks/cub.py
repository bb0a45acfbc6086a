"""Both recipes on CUB with the Proposed Split: accuracy and training time, in one run.

    python benchmarks/cub.py DIR [--seeds 0 1 2] [--recipes default paper]

DIR holds a trained head and features of CUB-200-2011: ``head.pt`` (150 seen classes),
``descriptors.npy`` with ``classes.txt``, ``seen.txt``, ``unseen.txt``, ``features.npz`` (features,
labels) and xlsa17's ``att_splits.mat``, whose test rows are evaluated. Prints one line per seed and
a Markdown table of means. The paper recipe takes minutes per seed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat

import icis_cli as icis
from icis_cli.methods.base import SeenPairs
from icis_cli.methods.icis import Icis
from icis_cli.methods.recipes import RECIPES

COLUMNS = ("T1", "u", "s", "H", "AUSUC", "best H", "epochs", "training s")


@dataclass(frozen=True)
class Cub:
    """The data: head, aligned classes and test samples with head-row labels."""

    head: icis.Head
    classes: icis.AlignedClasses
    features: icis.Features


def load(folder: Path) -> Cub:
    """Read head, descriptors and the test rows of the features."""
    head = icis.find_head(icis.open_checkpoint(folder / "head.pt"))
    classes = icis.align(
        head.rows,
        icis.read_descriptors(folder / "descriptors.npy", folder / "classes.txt"),
        seen=icis.read_lines(folder / "seen.txt"),
        unseen=icis.read_lines(folder / "unseen.txt"),
    )
    everything = icis.read_features(folder / "features.npz")
    splits = loadmat(folder / "att_splits.mat")
    test = np.concatenate([splits["test_seen_loc"], splits["test_unseen_loc"]]).ravel() - 1
    labels = np.asarray(everything.labels)[test]
    return Cub(head, classes, icis.Features(everything.values[test], labels, everything.path))


def measure(cub: Cub, recipe: str, seed: int) -> tuple[float, ...]:
    """Train once and return the figures of ``COLUMNS``."""
    pairs = SeenPairs(cub.classes.seen, cub.head.rows, cub.classes.unseen)
    start = time.perf_counter()
    fitted = Icis(RECIPES[recipe]).fit(pairs, seed=seed)
    seconds = time.perf_counter() - start
    new = fitted.predictor.predict(cub.classes.unseen)
    rows = np.concatenate([cub.head.rows, new])
    known = icis.KnownHead(
        icis.Head(cub.head.key, rows[:, :-1], rows[:, -1], cub.head.dtype, cub.head.found),
        cub.classes.seen_names + cub.classes.unseen_names,
        len(cub.classes.seen_names),
        cub.classes.seen_rows + cub.classes.unseen_rows,
    )
    e = icis.evaluate_features(known, cub.features)
    accuracies = (e.zsl_top1, e.unseen, e.seen, e.harmonic, e.ausuc, e.best_harmonic)
    return (*(100 * value for value in accuracies), len(fitted.training.losses), seconds)


def main() -> None:
    """Run all recipes and seeds and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--recipes", nargs="+", choices=tuple(RECIPES), default=["default", "paper"]
    )
    options = parser.parse_args()
    cub = load(options.folder)
    measure(cub, "default", 0)  # warm up: the first call pays for imports
    means: dict[str, list[float]] = {}
    for recipe in options.recipes:
        runs = []
        for seed in options.seeds:
            runs.append(measure(cub, recipe, seed))
            print(f"{recipe} seed {seed}: " + _cells(runs[-1], ", "), flush=True)
        means[recipe] = [statistics.mean(column) for column in zip(*runs, strict=True)]
    print(f"\n| recipe, mean of {len(options.seeds)} seeds | " + " | ".join(COLUMNS) + " |")
    print("| --- |" + " ---: |" * len(COLUMNS))
    for recipe, mean in means.items():
        print(f"| `{recipe}` | {_cells(mean, ' | ')} |")
    if {"default", "paper"} <= means.keys():
        ratio = means["paper"][-1] / means["default"][-1]
        print(f"\npaper recipe's training time / default recipe's: {ratio:.0f}")


def _cells(figures: tuple[float, ...] | list[float], separator: str) -> str:
    values = [f"{value:.1f}" for value in figures[:-2]]
    return separator.join([*values, f"{figures[-2]:.0f}", f"{figures[-1]:.2f}"])


if __name__ == "__main__":
    main()

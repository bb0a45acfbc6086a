"""Variants of the default recipe, judged by held-out *seen* classes alone.

    python benchmarks/heldout.py --weights CKPT --attrs DESC [--classes FILE] [--seen FILE]
        [--features F.npz [--splits att_splits.mat]] [--folds 5] [--use 5] [--variants NAME ...]

Seen classes are held out in folds, their rows predicted from the others, and compared with what
the classifier has learned for them: no new class, and no test image, takes part. Prints a Markdown
table of means over folds, in %:

* cosine: of predicted and true row, after the mean row is taken off;
* nearest: how often a class's own true row, taken for an image of it, scores highest on the
  predicted row of that class, among the classes of the fold;
* T1, AUSUC (with ``--features``, images of seen classes the classifier was trained on; with
  ``--splits`` only the rows of xlsa17's ``trainval_loc``): the same with real images.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.io import loadmat

import icis_cli as icis
from icis_cli.arrays import FloatArray, IntArray, unit_rows
from icis_cli.evaluation.answers import answer_features
from icis_cli.evaluation.result import evaluation_of
from icis_cli.methods.base import Method, SeenPairs
from icis_cli.methods.controls import Nearest
from icis_cli.methods.icis import Icis

_D = icis.DEFAULT
VARIANTS: dict[str, Method] = {
    "default": Icis(),
    "half the steps": Icis(replace(_D, min_steps=_D.min_steps // 2)),
    "double the steps": Icis(replace(_D, min_steps=_D.min_steps * 2)),
    "lr 1e-3": Icis(replace(_D, lr=1e-3)),
    "batch 32, half the steps": Icis(replace(_D, batch=32, min_steps=_D.min_steps // 2)),
    "h = 2048": Icis(replace(_D, hidden=2048)),
    "h = 2048, lr 1e-3": Icis(replace(_D, hidden=2048, lr=1e-3)),
    "weight decay 0.3": Icis(replace(_D, weight_decay=0.3)),
    "descriptors as given": Icis(replace(_D, inputs="as-given")),
    "decoders from N(0, 0.02)": Icis(replace(_D, init="normal")),
    "cosine loss, decoders from N(0, 0.02)": Icis(replace(_D, init="normal", loss="cosine")),
    "unseen descriptors not used": Icis(replace(_D, unseen="ignored")),
    "without w-a": Icis(replace(_D, terms=("a-a", "w-w", "a-w"))),
    "without w-w and w-a": Icis(replace(_D, terms=("a-a", "a-w"))),
    "a-w only (method mlp)": Icis(replace(_D, terms=("a-w",))),
    "nearest (control)": Nearest(),
}


def images_of(
    options: argparse.Namespace, classes: icis.AlignedClasses
) -> tuple[FloatArray, IntArray]:
    """Read features of seen classes and their head rows."""
    features = icis.read_features(options.features)
    values, labels = features.values, np.asarray(features.labels)
    if options.splits:
        rows = loadmat(options.splits)["trainval_loc"].ravel() - 1
        values, labels = values[rows], labels[rows]
    position = {row: k for k, row in enumerate(classes.seen_rows)}
    kept = np.array([label in position for label in labels.tolist()])
    return values[kept], np.array([position[label] for label in labels[kept].tolist()])


def judge(
    method: Method,
    pairs: SeenPairs,
    held: IntArray,
    images: tuple[FloatArray, IntArray] | None,
    seed: int,
) -> list[float]:
    """Predict the rows of the ``held`` classes from the others; return the figures of one fold."""
    rest = np.setdiff1d(np.arange(len(pairs.rows)), held)
    problem = SeenPairs(pairs.descriptors[rest], pairs.rows[rest], pairs.descriptors[held])
    predicted = method.fit(problem, seed=seed).predictor.predict(problem.unseen)
    true, middle = pairs.rows[held], problem.rows.mean(axis=0)
    cosine = (unit_rows(predicted - middle) * unit_rows(true - middle)).sum(axis=1).mean()
    scores = (true - middle) @ predicted.T
    nearest = (scores.argmax(axis=1) == np.arange(len(held))).mean()
    figures = [float(cosine), float(nearest)]
    if images is not None:
        order = np.empty(len(pairs.rows), dtype=np.int64)
        order[np.concatenate([rest, held])] = np.arange(len(pairs.rows))
        rows = np.concatenate([problem.rows, predicted])
        answers = answer_features(images[0], order[images[1]], rows[:, :-1], rows[:, -1], len(rest))
        names = tuple(map(str, range(len(rows))))
        result = evaluation_of(answers, names, len(rest))
        figures += [result.zsl_top1, result.ausuc]
    return figures


def main() -> None:
    """Judge the variants and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for option in ("--weights", "--attrs"):
        parser.add_argument(option, type=Path, required=True)
    for option in ("--classes", "--seen", "--features", "--splits"):
        parser.add_argument(option, type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--use", type=int, default=5, help="how many of the folds are run")
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS))
    options = parser.parse_args()
    head = icis.find_head(icis.open_checkpoint(options.weights))
    classes = icis.align(
        head.rows,
        icis.read_descriptors(options.attrs, options.classes),
        seen=icis.read_lines(options.seen) if options.seen else None,
    )
    pairs = SeenPairs(classes.seen, head.rows, classes.unseen)
    images = images_of(options, classes) if options.features else None
    order = np.random.default_rng(0).permutation(len(pairs.rows))
    folds = [np.sort(fold) for fold in np.array_split(order, options.folds)][: options.use]
    columns = ["cosine", "nearest", "T1", "AUSUC"][: 4 if images else 2]
    print(f"| {len(folds)} folds of {len(pairs.rows)} seen classes | {' | '.join(columns)} |")
    print("| --- |" + " ---: |" * len(columns))
    for name in options.variants:
        runs = [judge(VARIANTS[name], pairs, fold, images, seed) for seed, fold in enumerate(folds)]
        means = np.mean(runs, axis=0) * 100
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in means) + " |", flush=True)


if __name__ == "__main__":
    main()

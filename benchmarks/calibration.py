"""Calibration without images over many classifiers: what H it reaches, against the best possible.

    python -m benchmarks.calibration DATA [--method ridge icis] [--only WORD ...]

DATA holds ``cub-vgg`` and ``imagenet-lite0`` (see ``docs/calibration.md``). Heads are trained on
CUB features in many ways (weak, strong, regularised, smoothed, few images, noisy features, other
splits), or cut out of an ImageNet head; descriptors are attributes, some of them only, word vectors
and WordNet ancestors. For each it prints accuracy on seen classes, T1, and H in % of the best H
over all offsets: without calibration, by the rule "prototypes with confidence 0.99, half-way", and
with ``--calibration auto`` (with the accuracy known, in the last column).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from scipy.io import loadmat
from scipy.optimize import brentq
from scipy.special import softmax

import icis_cli as icis
from icis_cli.arrays import FloatArray, IntArray
from icis_cli.demo.material import descriptors_file
from icis_cli.evaluation.answers import answer_features
from icis_cli.evaluation.result import Evaluation, evaluation_of
from icis_cli.injection.calibration import NONE, Calibration, calibrate
from icis_cli.methods.base import SeenPairs
from icis_cli.methods.registry import METHODS
from icis_cli.validation.heldout import HeldOut, hold_out


@dataclass(frozen=True)
class Case:
    """One classifier with descriptors and test samples.

    Attributes:
        name: what is special about it.
        rows: (K, D+1).
        seen, unseen: descriptors (K, d) and (U, d).
        features: (N, D).
        labels: (N,) positions in seen classes, then unseen ones.

    """

    name: str
    rows: FloatArray
    seen: FloatArray
    unseen: FloatArray
    features: FloatArray
    labels: IntArray


@dataclass(frozen=True)
class Training:
    """How a head is trained on features: Adam with linearly falling steps."""

    epochs: int = 12
    lr: float = 1e-3
    decay: float = 1e-2
    smoothing: float = 0.0
    images: int | None = None  # per class; None for all


def trained(features: FloatArray, labels: IntArray, how: Training) -> FloatArray:
    """Return the rows (K, D+1) of a softmax head."""
    if how.images is not None:
        kept = np.concatenate(
            [np.flatnonzero(labels == c)[: how.images] for c in np.unique(labels)]
        )
        features, labels = features[kept], labels[kept]
    torch.manual_seed(0)
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    head = torch.nn.Linear(x.shape[1], int(labels.max()) + 1)
    optimiser = torch.optim.AdamW(head.parameters(), lr=how.lr, weight_decay=how.decay)
    batches = -(-len(x) // 64)
    fall = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, how.epochs * batches)
    for _ in range(how.epochs):
        for part in torch.split(torch.randperm(len(x)), 64):
            loss = torch.nn.functional.cross_entropy(
                head(x[part]), y[part], label_smoothing=how.smoothing
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            fall.step()
    bias = head.bias.detach().numpy()[:, None]
    rows: FloatArray = np.concatenate([head.weight.detach().numpy(), bias], axis=1)
    return rows


TRAININGS = {
    "strong": Training(epochs=30),
    "regularised": Training(decay=1.0, epochs=20),
    "medium": Training(epochs=5, lr=3e-4),
    "hardly trained": Training(epochs=1, lr=1e-4),
    "label smoothing": Training(smoothing=0.1, epochs=20),
    "5 images a class": Training(epochs=60, images=5),
    "2 images a class": Training(epochs=60, images=2),
}


def cub(folder: Path) -> Iterator[Case]:
    """Yield heads on CUB: the given one, other trainings, features, splits and descriptors."""
    archive = np.load(folder / "features.npz")
    features, labels = archive["features"].astype(np.float32), archive["labels"].astype(np.int64)
    splits = loadmat(folder / "att_splits.mat")
    parts = {k: splits[k].ravel() - 1 for k in ("trainval_loc", "test_seen_loc", "test_unseen_loc")}
    test = np.concatenate([parts["test_seen_loc"], parts["test_unseen_loc"]])
    attributes = np.load(folder / "descriptors.npy")
    names = icis.read_lines(folder / "classes.txt")
    seen = np.array([names.index(n) for n in icis.read_lines(folder / "seen.txt")])
    unseen = np.array([names.index(n) for n in icis.read_lines(folder / "unseen.txt")])
    generator = np.random.default_rng(0)
    few = generator.choice(attributes.shape[1], 12, replace=False)

    def case(
        name: str, rows: FloatArray, own: IntArray, new: IntArray, samples: IntArray, **other: Any
    ) -> Case:
        described = other.get("descriptors", attributes)
        x = other.get("features", features)
        place = np.full(len(names), -1)
        place[np.concatenate([own, new])] = np.arange(len(own) + len(new))
        kept = samples[place[labels[samples]] >= 0]
        return Case(name, rows, described[own], described[new], x[kept], place[labels[kept]])

    given = icis.find_head(icis.open_checkpoint(folder / "head.pt")).rows
    yield case("cub, given head", given, seen, unseen, test)
    yield case(
        "cub, given head, 12 attributes", given, seen, unseen, test, descriptors=attributes[:, few]
    )
    place = np.full(len(names), -1)
    place[seen] = np.arange(len(seen))
    train = parts["trainval_loc"]
    for name, how in TRAININGS.items():
        rows = trained(features[train], place[labels[train]], how)
        yield case(f"cub, {name}", rows, seen, unseen, test)
    rows = trained(features[train], place[labels[train]], Training())
    yield case("cub, 12 attributes", rows, seen, unseen, test, descriptors=attributes[:, few])
    thin = features @ generator.standard_normal((features.shape[1], 128)).astype(np.float32) / 64
    thin += 0.6 * thin.std() * generator.standard_normal(thin.shape).astype(np.float32)
    rows = trained(thin[train], place[labels[train]], Training())
    yield case("cub, 128 noisy features", rows, seen, unseen, test, features=thin)
    for count in (30, 50, 100, 150):
        order = generator.permutation(len(names))
        own, new = order[:count], order[count : count + max(20, count // 3)]
        kept = generator.random(len(labels)) < 0.6
        place = np.full(len(names), -1)
        place[own] = np.arange(count)
        inside = kept & (place[labels] >= 0)
        rows = trained(features[inside], place[labels[inside]], Training())
        yield case(f"cub, {count} other seen classes", rows, own, new, np.flatnonzero(~inside))


def imagenet(folder: Path) -> Iterator[Case]:
    """Yield parts of an ImageNet head, with word vectors and with WordNet ancestors."""
    archive = np.load(folder / "features.npz")
    features, labels = archive["features"].astype(np.float32), archive["labels"].astype(np.int64)
    tensors = load_file(folder / "head_1000.safetensors")
    bias = tensors["classifier.bias"][:, None]
    rows = np.concatenate([tensors["classifier.weight"], bias], axis=1).astype(np.float32)
    given = np.array([int(x) for x in icis.read_lines(folder / "unseen_indices.txt")])
    described = {
        "word vectors": np.load(folder / "descriptors.npy").astype(np.float32),
        "WordNet": icis.read_descriptors(descriptors_file()).values,
    }
    generator = np.random.default_rng(0)
    for kind, table in described.items():
        for count in (None, 40, 100, 300, 860):
            order = generator.permutation(1000)
            new = given if count is None else order[count : count + max(10, count // 5)]
            own = np.setdiff1d(np.arange(1000), given) if count is None else order[:count]
            place = np.full(1000, -1)
            place[np.concatenate([own, new])] = np.arange(len(own) + len(new))
            kept = place[labels] >= 0
            yield Case(
                f"imagenet, {kind}, {len(own)} seen",
                rows[own],
                table[own],
                table[new],
                features[kept],
                place[labels[kept]],
            )


def evaluated(case: Case, rows: FloatArray) -> Evaluation:
    """Evaluate seen rows and these new ones."""
    head = np.concatenate([case.rows, rows])
    answers = answer_features(case.features, case.labels, head[:, :-1], head[:, -1], len(case.rows))
    return evaluation_of(answers, tuple(map(str, range(len(head)))), len(case.rows))


def seen_accuracy(case: Case) -> float:
    """Return the per-class accuracy of the head on its own classes alone."""
    own = case.labels < len(case.rows)
    logits = case.features[own] @ case.rows[:, :-1].T + case.rows[:, -1]
    right = logits.argmax(axis=1) == case.labels[own]
    return float(
        np.mean([right[case.labels[own] == c].mean() for c in np.unique(case.labels[own])])
    )


def prototype_rule(case: Case, new: FloatArray, held: HeldOut) -> Calibration:
    """The simple rule: prototypes s (w - mean w) with confidence 0.99, gamma half-way."""
    weights = (case.rows[:, :-1] - case.rows[:, :-1].mean(axis=0)).astype(np.float64)
    gram = weights @ weights.T

    def confidence(log_size: float) -> float:
        shares = softmax(np.exp(log_size) * gram + case.rows[:, -1], axis=1)
        return float(np.diag(shares).mean()) - 0.99

    middle = float(np.log(1 / np.diag(gram).mean()))
    size = np.exp(brentq(confidence, middle - 6, middle + 8))
    points = size * weights
    logits = points @ case.rows[:, :-1].T + case.rows[:, -1]
    seen = logits.max(axis=1) - (points @ new[:, :-1].T + new[:, -1]).max(axis=1)
    own = (points * held.rows[:, :-1]).sum(axis=1) + held.rows[:, -1]
    np.fill_diagonal(logits, -np.inf)
    gamma = float((seen.mean() + (logits.max(axis=1) - own).mean()) / 2)
    return replace(NONE, kind="fixed", gamma=gamma)


def line(case: Case, method: str) -> list[str]:
    """Return the cells of one row of the table."""
    pairs = SeenPairs(case.seen, case.rows, case.unseen)
    width = case.rows.shape[1] - 1
    new = METHODS[method]().fit(pairs, seed=0).predictor.predict(case.unseen)
    held = hold_out(METHODS[method](), pairs, seed=0)
    accuracy = seen_accuracy(case)
    middle = case.rows.mean(axis=0)
    plain = evaluated(case, new)
    found = [
        prototype_rule(case, new, held),
        calibrate(case.rows, new, held, width),
        calibrate(case.rows, new, held, width, accuracy=accuracy),
    ]
    results = [evaluated(case, one.apply(new, middle, width)) for one in found]
    best = max(plain.best_harmonic, results[1].best_harmonic)
    shares = [plain.harmonic, *(result.harmonic for result in results)]
    return [
        case.name,
        method,
        f"{100 * accuracy:.0f}",
        f"{100 * results[1].zsl_top1:.1f}",
        f"{100 * best:.1f}",
        *(f"{100 * share / best:.0f}" if best else "-" for share in shares),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--method", nargs="+", default=["ridge"], choices=tuple(METHODS))
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| classifier | method | acc. | T1 | best H | none | 0.99 rule | auto | acc. known |")
    print("| --- | --- |" + " ---: |" * 7)
    parts = (cub(options.data / "cub-vgg"), imagenet(options.data / "imagenet-lite0"))
    for case in chain(*parts):
        if all(word in case.name for word in options.only):
            for method in options.method:
                print("| " + " | ".join(line(case, method)) + " |", flush=True)


if __name__ == "__main__":
    main()

"""A world in which true images can be drawn, so that a calibration can be judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from icis_cli.methods.base import SeenPairs
from icis_cli.validation.standins import StandIns, stand_ins

SEEN, UNSEEN, WIDTH = 60, 15, 32


@dataclass(frozen=True)
class Judged:
    """A classifier, and features of images that nothing in the package ever sees.

    Attributes:
        pairs: 60 seen classes, and the descriptors of 15 new ones.
        features, labels: of 40 images of each class; labels are head rows, new ones last.

    """

    pairs: SeenPairs
    features: np.ndarray
    labels: np.ndarray

    def harmonics(self, new: np.ndarray, gammas: Iterable[float]) -> list[float]:
        """H with rows ``new`` (U, P), and each of some offsets on their logits."""
        rows = np.concatenate([self.pairs.rows, new])
        logits = self.features @ rows[:, :WIDTH].T
        if rows.shape[1] > WIDTH:
            logits = logits + rows[:, WIDTH]
        count = len(self.pairs.rows)
        known, added = logits[:, :count], logits[:, count:]
        lead = known.max(axis=1) - added.max(axis=1)  # the offset from which on a new class wins
        is_known = self.labels < count
        right_known = is_known & (known.argmax(axis=1) == self.labels)
        right_added = ~is_known & (count + added.argmax(axis=1) == self.labels)
        found = []
        for gamma in gammas:
            seen = (right_known & (lead >= gamma)).sum() / is_known.sum()
            unseen = (right_added & (lead < gamma)).sum() / (~is_known).sum()
            found.append(float(2 * seen * unseen / max(seen + unseen, 1e-9)))
        return found

    def harmonic(self, new: np.ndarray) -> float:
        """H with rows ``new`` (U, P)."""
        return self.harmonics(new, [0])[0]

    def best_harmonic(self, new: np.ndarray) -> float:
        return max(self.harmonics(new, np.linspace(-5, 60, 400)))


def images_of(rows: np.ndarray, width: int, seed: int = 0) -> StandIns:
    """Make stand-ins of rows that are not all alike."""
    images = stand_ins(rows, width, seed)
    assert images is not None
    return images


@cache
def judged(kind: str, seed: int, residual: float = 0.5, noise: float = 0.6) -> Judged:
    """Draw class means that follow from descriptors up to a residual, and a head for them.

    Callers share what is returned, and change nothing in it.

    Args:
        kind: ``"trained"``: softmax regression by gradient descent on images of the seen classes;
            ``"computed"``: linear discriminant analysis with the true means and spread.
        seed: of everything.
        residual: of class means, relative to what descriptors tell.
        noise: of images around their mean, relative to the spread of the means.

    """
    generator = np.random.default_rng(seed)
    descriptors = generator.standard_normal((SEEN + UNSEEN, 16)).astype(np.float32)
    scale = np.linspace(2, 0.3, WIDTH)
    told = descriptors @ generator.standard_normal((16, WIDTH)) / 4
    means = (told + residual * generator.standard_normal(told.shape)) * scale

    def draw(classes: int, each: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(classes), each)
        drawn = means[labels] + noise * scale * generator.standard_normal((len(labels), WIDTH))
        return drawn.astype(np.float32), labels

    if kind == "trained":
        rows = _trained(*draw(SEEN, 30))
    else:
        weights = means[:SEEN] / (noise * scale) ** 2
        rows = np.column_stack([weights, -0.5 * (weights * means[:SEEN]).sum(axis=1)])
    pairs = SeenPairs(descriptors[:SEEN], rows.astype(np.float32), descriptors[SEEN:])
    return Judged(pairs, *draw(SEEN + UNSEEN, 40))


def _trained(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    torch.manual_seed(0)
    layer = torch.nn.Linear(WIDTH, SEEN)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05, weight_decay=1e-4)
    images, targets = torch.from_numpy(features), torch.from_numpy(labels)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layer(images), targets).backward()
        optimizer.step()
    return np.column_stack([layer.weight.detach().numpy(), layer.bias.detach().numpy()])

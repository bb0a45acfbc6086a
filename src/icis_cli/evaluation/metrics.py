"""Metrics of generalised zero-shot classification, from per-sample facts about the logits.

All accuracies are per-class means of top-1 (or top-k) in 0..1, as in Xian et al., "Zero-Shot
Learning - A Comprehensive Evaluation" (TPAMI 2019): each class counts the same however many
samples it has. The seen-unseen curve and its area (AUSUC) follow Chao et al., "An Empirical Study
and Analysis of Generalized Zero-Shot Learning" (ECCV 2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import FloatArray, IntArray


def per_class_mean(correct: NDArray[np.bool_], labels: IntArray, classes: int) -> float:
    """Return the mean over classes that occur of the share of correct samples; NaN without any.

    Args:
        correct: (N,) whether each sample was answered rightly.
        labels: (N,) class of each sample, in ``range(classes)``.
        classes: number of classes.

    """
    accuracy, counts = per_class(correct, labels, classes)
    return float(accuracy[counts > 0].mean()) if counts.any() else float("nan")


def per_class(
    correct: NDArray[np.bool_], labels: IntArray, classes: int
) -> tuple[NDArray[np.float64], IntArray]:
    """Return the accuracy (NaN for classes without samples) and sample count of each class."""
    counts = np.bincount(labels, minlength=classes)
    right = np.bincount(labels, weights=correct, minlength=classes)
    accuracy = np.divide(right, counts, out=np.full(classes, np.nan), where=counts > 0)
    return accuracy, counts


def harmonic_mean(seen: float, unseen: float) -> float:
    """Return ``2us / (u + s)``, 0 where both are 0."""
    return 2 * seen * unseen / (seen + unseen) if seen + unseen else 0.0


@dataclass(frozen=True)
class SeenUnseenCurve:
    """Accuracy on seen and unseen classes as an offset gamma is added to every unseen logit.

    Attributes:
        gamma: (M,) rising offsets; the accuracies at position i hold for every offset above
            ``gamma[i]`` up to ``gamma[i + 1]``. The first is ``-inf``.
        seen: (M,) accuracy on seen classes; falls to 0.
        unseen: (M,) accuracy on unseen classes; rises from 0 to the ZSL accuracy.

    """

    gamma: NDArray[np.float64]
    seen: NDArray[np.float64]
    unseen: NDArray[np.float64]

    @property
    def area(self) -> float:
        """AUSUC: area under unseen accuracy as a function of seen accuracy (trapezoids), 0..1."""
        return float(np.trapezoid(self.unseen, -self.seen))

    def best(self) -> tuple[float, float]:
        """Return the highest harmonic mean over all offsets, and an offset that reaches it."""
        total = self.seen + self.unseen
        product = 2 * self.seen * self.unseen
        harmonic = np.divide(product, total, out=np.zeros_like(total), where=total > 0)
        at = int(np.argmax(harmonic))
        ends = self.gamma[at : at + 2]
        ends = ends[np.isfinite(ends)]
        return float(harmonic[at]), float(ends.mean()) if len(ends) else 0.0


def seen_unseen_curve(
    margins: FloatArray,
    correct: NDArray[np.bool_],
    labels: IntArray,
    seen_classes: int,
    classes: int,
) -> SeenUnseenCurve:
    """Compute the exact curve: every offset at which some answer changes is a point of it.

    Args:
        margins: (N,) best seen logit minus best unseen logit; an offset above it makes the answer
            an unseen class, an offset up to it leaves a seen one.
        correct: (N,) whether the sample is answered rightly among the classes of its own side
            (seen or unseen) alone.
        labels: (N,) class of each sample; classes below ``seen_classes`` are seen.
        seen_classes: number of seen classes K.
        classes: number of classes K+U.

    """
    counts = np.bincount(labels, minlength=classes)
    occurring = counts > 0
    weight = np.divide(1.0, counts, out=np.zeros(classes), where=occurring)
    for side in (slice(0, seen_classes), slice(seen_classes, classes)):
        weight[side] /= max(int(occurring[side].sum()), 1)
    share = weight[labels] * correct
    is_seen = labels < seen_classes
    gamma, at = np.unique(margins.astype(np.float64), return_inverse=True)
    lost = np.bincount(at, weights=share * is_seen, minlength=len(gamma))
    won = np.bincount(at, weights=share * ~is_seen, minlength=len(gamma))
    start = share[is_seen].sum()
    return SeenUnseenCurve(
        np.concatenate([[-np.inf], gamma]),
        np.concatenate([[start], np.maximum(start - np.cumsum(lost), 0)]),
        np.concatenate([[0.0], np.cumsum(won)]),
    )

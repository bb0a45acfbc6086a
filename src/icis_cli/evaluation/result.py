"""The result of an evaluation: ZSL and GZSL figures, a per-class table, confusions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from icis_cli.evaluation.answers import Answers
from icis_cli.evaluation.metrics import (
    SeenUnseenCurve,
    harmonic_mean,
    per_class,
    per_class_mean,
    seen_unseen_curve,
)


@dataclass(frozen=True)
class ClassResult:
    """How one class fares. Accuracies in 0..1.

    Attributes:
        name: class name.
        kind: ``"seen"`` or ``"unseen"``.
        samples: number of samples of the class.
        top1: share answered rightly among all classes.
        own_top1: the same among the classes of its own side (seen or unseen) alone.

    """

    name: str
    kind: str
    samples: int
    top1: float
    own_top1: float


@dataclass(frozen=True)
class Confusion:
    """``count`` samples of class ``true`` (a ``share`` of its samples) were answered ``answer``."""

    true: str
    answer: str
    count: int
    share: float


@dataclass(frozen=True)
class Evaluation:
    """Per-class mean accuracies in 0..1; NaN where there is no sample to tell.

    Attributes:
        zsl_top1, zsl_top5: unseen samples, the answer sought among unseen classes only.
        seen, unseen: accuracy on seen and on unseen classes, the answer sought among all.
        harmonic: ``2us / (u + s)``.
        seen_top5, unseen_top5: the same two, right if among the five best answers.
        seen_alone: seen samples, the answer sought among seen classes only: what the checkpoint
            reached before the injection.
        ausuc: area under the seen-unseen curve.
        best_harmonic, best_gamma: highest harmonic mean over all offsets, and where.
        curve: the seen-unseen curve.
        samples: number of samples.
        classes: one result per class that has samples.
        confusions: the most frequent wrong answers.

    """

    zsl_top1: float
    zsl_top5: float
    seen: float
    unseen: float
    harmonic: float
    seen_top5: float
    unseen_top5: float
    seen_alone: float
    ausuc: float
    best_harmonic: float
    best_gamma: float
    curve: SeenUnseenCurve
    samples: int
    classes: tuple[ClassResult, ...]
    confusions: tuple[Confusion, ...]

    @property
    def lost(self) -> float:
        """What the seen classes lost to the new ones, 0..1."""
        return self.seen_alone - self.seen

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON-ready values; NaN becomes None, the curve 101 points."""
        points = np.unique(np.linspace(0, len(self.curve.gamma) - 1, 101).astype(int))
        return {
            "zsl": {"top1": _number(self.zsl_top1), "top5": _number(self.zsl_top5)},
            "gzsl": {
                "seen": _number(self.seen),
                "unseen": _number(self.unseen),
                "harmonic": _number(self.harmonic),
                "ausuc": _number(self.ausuc),
                "best_harmonic": _number(self.best_harmonic),
                "best_gamma": _number(self.best_gamma),
                "seen_top5": _number(self.seen_top5),
                "unseen_top5": _number(self.unseen_top5),
                "seen_alone": _number(self.seen_alone),
            },
            "samples": self.samples,
            "classes": [
                {
                    "name": c.name,
                    "kind": c.kind,
                    "samples": c.samples,
                    "top1": c.top1,
                    "own_top1": c.own_top1,
                }
                for c in self.classes
            ],
            "confusions": [
                {"true": c.true, "answer": c.answer, "count": c.count, "share": c.share}
                for c in self.confusions
            ],
            "curve": {
                "gamma": [_number(g) for g in self.curve.gamma[points]],
                "seen": self.curve.seen[points].tolist(),
                "unseen": self.curve.unseen[points].tolist(),
            },
        }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def evaluation_of(answers: Answers, names: tuple[str, ...], seen_classes: int) -> Evaluation:
    """Compute all figures from per-sample answers.

    Args:
        answers: of N >= 1 samples.
        names: K+U class names in head-row order.
        seen_classes: K.

    """
    total = len(names)
    labels = answers.labels
    is_seen = labels < seen_classes

    def mean(correct: np.ndarray, side: np.ndarray) -> float:
        return per_class_mean(correct[side], labels[side], total)

    own_right = answers.own_rank == 0
    right = answers.joint == labels
    curve = seen_unseen_curve(answers.margin, own_right, labels, seen_classes, total)
    both = bool(is_seen.any()) and not is_seen.all()
    seen, unseen = mean(right, is_seen), mean(right, ~is_seen)
    best, gamma = curve.best() if both else (math.nan, math.nan)
    return Evaluation(
        zsl_top1=mean(own_right, ~is_seen),
        zsl_top5=mean(answers.own_rank < 5, ~is_seen),
        seen=seen,
        unseen=unseen,
        harmonic=harmonic_mean(seen, unseen) if both else math.nan,
        seen_top5=mean(answers.rank < 5, is_seen),
        unseen_top5=mean(answers.rank < 5, ~is_seen),
        seen_alone=mean(own_right, is_seen),
        ausuc=curve.area if both else math.nan,
        best_harmonic=best,
        best_gamma=gamma,
        curve=curve,
        samples=len(labels),
        classes=_class_results(right, own_right, labels, names, seen_classes),
        confusions=_confusions(answers, names),
    )


def _class_results(
    right: np.ndarray,
    own_right: np.ndarray,
    labels: np.ndarray,
    names: tuple[str, ...],
    seen_classes: int,
) -> tuple[ClassResult, ...]:
    top1, counts = per_class(right, labels, len(names))
    own, _ = per_class(own_right, labels, len(names))
    return tuple(
        ClassResult(
            names[row],
            "seen" if row < seen_classes else "unseen",
            int(counts[row]),
            float(top1[row]),
            float(own[row]),
        )
        for row in np.flatnonzero(counts)
    )


def _confusions(answers: Answers, names: tuple[str, ...], most: int = 20) -> tuple[Confusion, ...]:
    joint = answers.joint
    wrong = joint != answers.labels
    # One number for each pair of classes, so that pairs sort by true class, then by answer.
    pairs, occurrences = np.unique(
        answers.labels[wrong] * len(names) + joint[wrong], return_counts=True
    )
    samples = np.bincount(answers.labels, minlength=len(names))
    found = []
    for place in np.argsort(-occurrences, kind="stable")[:most]:
        true, answer = divmod(int(pairs[place]), len(names))
        count = int(occurrences[place])
        found.append(Confusion(names[true], names[answer], count, count / int(samples[true])))
    return tuple(found)

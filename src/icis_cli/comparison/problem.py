"""What methods are compared on: a head, descriptors of its classes and of new ones, samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.checkpoint.head import Head
from icis_cli.descriptors.alignment import AlignedClasses
from icis_cli.descriptors.views import ViewSpace
from icis_cli.errors import FeatureError
from icis_cli.evaluation.answers import Answers, answer_features
from icis_cli.evaluation.conse import answer_conse
from icis_cli.evaluation.features import Features, LabelMap
from icis_cli.evaluation.result import Evaluation, evaluation_of
from icis_cli.injection.choosing import choose_views
from icis_cli.injection.fitting import seen_pairs
from icis_cli.methods.base import SeenPairs
from icis_cli.validation.heldout import affordable_folds
from icis_cli.validation.standins import stand_ins


@dataclass(frozen=True)
class Samples:
    """What is answered.

    Attributes:
        features: (N, D) inputs of the head, any float dtype; N >= 1.
        labels: (N,) classes, seen ones in head-row order, then unseen ones.
        path: where they were read from, for errors.

    """

    features: NDArray[Any]
    labels: IntArray
    path: Path | str = "features"


@dataclass(frozen=True)
class Problem:
    """One classifier with K classes, U classes to add, and what to judge methods by.

    Attributes:
        pairs: descriptors (K, d), rows (K, P) and descriptors (U, d) of the new classes.
        width: D; where P is larger, the last column is the bias.
        names: K+U class names, seen ones first.
        samples: None where there is no sample.
        views: how descriptor files were weighed.

    """

    pairs: SeenPairs
    width: int
    names: tuple[str, ...]
    samples: Samples | None
    views: ViewSpace

    @property
    def has_bias(self) -> bool:
        """Whether the head has biases, to which an offset can be added."""
        return bool(self.pairs.rows.shape[1] > self.width)

    @cached_property
    def selectable(self) -> bool:
        """Whether seen classes can be held out, and their rows differ, so that one can choose."""
        rows = self.pairs.rows
        return affordable_folds(len(rows)) > 0 and stand_ins(rows, self.width) is not None

    def evaluate(self, new: FloatArray) -> Evaluation:
        """Evaluate the head with the rows (U, P) appended; there must be samples.

        Raises:
            FeatureError: a logit is not finite.

        """
        rows = np.concatenate([self.pairs.rows, new])
        samples = self._samples()
        bias = rows[:, self.width] if self.has_bias else None
        seen = len(self.pairs.rows)
        weight = rows[:, : self.width]
        return self._result(
            answer_features(samples.features, samples.labels, weight, bias, seen, path=samples.path)
        )

    def evaluate_conse(self) -> Evaluation:
        """Evaluate ConSE on the head as it is; there must be samples.

        Raises:
            FeatureError: a logit is not finite.

        """
        pairs, samples = self.pairs, self._samples()
        bias = pairs.rows[:, self.width] if self.has_bias else None
        descriptors = np.concatenate([pairs.descriptors, pairs.unseen])
        weight = pairs.rows[:, : self.width]
        return self._result(
            answer_conse(
                samples.features, samples.labels, weight, bias, descriptors, path=samples.path
            )
        )

    def _result(self, answers: Answers) -> Evaluation:
        return evaluation_of(answers, self.names, len(self.pairs.rows))

    def _samples(self) -> Samples:
        if self.samples is None:
            raise ValueError("no samples to evaluate on")
        return self.samples


def problem_of(
    head: Head,
    classes: AlignedClasses,
    features: Features | None = None,
    *,
    views: ViewSpace | None = None,
) -> Problem:
    """Make a problem of a checkpoint's head and aligned classes.

    Args:
        head: of the classifier.
        classes: from ``align``.
        features: labelled inputs of the head; None for figures of held-out classes only.
        views: how several views are weighed; None chooses by held-out seen classes.

    Raises:
        FeatureError: another width than the head's, or labels that are none of the classes.

    """
    names = classes.seen_names + classes.unseen_names
    width = head.weight.shape[1]
    samples = None
    if features is not None:
        features.require_float32()  # before minutes of fitting
        if features.values.shape[1] != width:
            raise FeatureError(
                features.path,
                f"features have {features.values.shape[1]} columns, but the head {head.key!r} "
                f"takes {width}",
                "use the inputs of the final layer of this very network",
            )
        one_file = len(classes.sources) == len(classes.views)
        rows = classes.seen_rows + classes.unseen_rows if one_file else None
        labels = LabelMap(names, rows).head_rows(features.labels, features.path)
        samples = Samples(features.values, labels, features.path)
    views = views or choose_views(head, classes, affordable_folds(len(head.rows)))[0]
    return Problem(seen_pairs(head, classes, views), width, names, samples, views)


def problem_of_rows(
    rows: FloatArray,
    descriptors: tuple[FloatArray, FloatArray],
    names: Sequence[str],
    samples: Samples,
) -> Problem:
    """Make a problem of joined rows, with one view.

    Args:
        rows: (K, D+1) ``[W; b]``.
        descriptors: (K, d) of the seen and (U, d) of the unseen classes.
        names: K+U, seen classes first.
        samples: with D columns.

    """
    seen, unseen = descriptors
    pairs = SeenPairs(seen, rows, unseen)
    views = ViewSpace.equal((seen.shape[1],))
    return Problem(pairs, rows.shape[1] - 1, tuple(names), samples, views)

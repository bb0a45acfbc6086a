"""Comparison of injected rows with known true rows, where another checkpoint has them: no image.

This is how the tool is tried out: take classes out of a trained head, inject them back, compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from icis_cli.arrays import FloatArray, unit_rows
from icis_cli.errors import HeadError


@dataclass(frozen=True)
class RowComparison:
    """How near U predicted rows are to the true ones.

    Attributes:
        cosine: mean cosine of predicted and true row, -1..1, after the mean row of the seen
            classes is subtracted from both (a part that all rows share says nothing).
        raw_cosine: the same without subtraction.
        nearest: share of predicted rows whose nearest true row (centred cosine) among the U is
            the right one.
        nearest_of_all: the same among all true rows, seen classes too.
        norm_ratio: median of predicted norm / true norm.
        classes: U.

    """

    cosine: float
    raw_cosine: float
    nearest: float
    nearest_of_all: float
    norm_ratio: float
    classes: int

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON-ready values."""
        return {
            "cosine": self.cosine,
            "raw_cosine": self.raw_cosine,
            "nearest": self.nearest,
            "nearest_of_all": self.nearest_of_all,
            "norm_ratio": self.norm_ratio,
            "classes": self.classes,
        }


def compare_rows(predicted: FloatArray, true: FloatArray, seen: FloatArray) -> RowComparison:
    """Compare predicted rows with true ones.

    Args:
        predicted: (U, P) injected rows.
        true: (U, P) rows of the same classes in a head that was trained on them.
        seen: (K, P) rows of the seen classes.

    Raises:
        HeadError: shapes differ.

    """
    if predicted.shape != true.shape or predicted.shape[1] != seen.shape[1]:
        raise HeadError(
            f"the heads do not fit: {predicted.shape} injected rows, {true.shape} true rows"
        )
    middle = seen.mean(axis=0)
    centred, centred_true = unit_rows(predicted - middle), unit_rows(true - middle)
    among_new = centred @ centred_true.T
    own = np.diag(among_new)
    among_seen = centred @ unit_rows(seen - middle).T
    first = among_new.argmax(axis=1) == np.arange(len(true))
    norms = np.linalg.norm(true, axis=1)
    ratio = np.linalg.norm(predicted, axis=1) / np.where(norms > 0, norms, 1)
    return RowComparison(
        cosine=float(own.mean()),
        raw_cosine=float((unit_rows(predicted) * unit_rows(true)).sum(axis=1).mean()),
        nearest=float(first.mean()),
        nearest_of_all=float((first & (own > among_seen.max(axis=1))).mean()),
        norm_ratio=float(np.median(ratio)),
        classes=len(true),
    )

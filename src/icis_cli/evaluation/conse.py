"""ConSE, an inference rule without rows, for comparison only.

Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings" (ICLR 2014):
``e(x) = sum_s p_s(x) a_s / sum_s p_s(x)`` over the T most probable seen classes s, with the softmax
p of the head; the answer is the class with the most similar descriptor, by cosine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import FloatArray, IntArray, unit_rows
from icis_cli.evaluation.answers import Answers, answers_of_logits, joined, logits_of


def answer_conse(
    features: NDArray[Any],
    labels: IntArray,
    weight: FloatArray,
    bias: FloatArray | None,
    descriptors: FloatArray,
    top: int | None = None,
    block: int = 4096,
    path: Path | str = "features",
) -> Answers:
    """Answer by ConSE, among seen and unseen classes.

    Args:
        features: (N, D) inputs of the head, any float dtype; N >= 1.
        labels: (N,) true classes, as rows of ``descriptors``.
        weight: (K, D) of the seen classes.
        bias: (K,) or None.
        descriptors: (K+U, d), seen classes first; U must not be 0.
        top: T >= 1; None for all seen classes.
        block: samples at once.
        path: of the features, for errors.

    Returns:
        Facts about the cosines (N, K+U), which take the place of logits.

    Raises:
        FeatureError: a logit is not finite.

    """
    seen_classes = len(weight)
    directions = unit_rows(descriptors)
    parts = []
    for start, logits in logits_of(features, weight, bias, block, path):
        mixed = probabilities(logits, top) @ descriptors[:seen_classes]
        cosines = unit_rows(mixed) @ directions.T
        parts.append(answers_of_logits(cosines, labels[start : start + block], seen_classes))
    return joined(parts)


def probabilities(logits: FloatArray, top: int | None = None) -> FloatArray:
    """Return the softmax of logits (N, K), 0 but for the ``top`` largest of each sample."""
    if top is not None and top < logits.shape[1]:
        last = logits.shape[1] - top
        least = np.argpartition(logits, last, axis=1)[:, :last]
        logits = logits.copy()
        np.put_along_axis(logits, least, -np.inf, axis=1)
    raised: FloatArray = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: FloatArray = raised / raised.sum(axis=1, keepdims=True)
    return shares

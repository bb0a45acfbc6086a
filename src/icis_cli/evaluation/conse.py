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
from icis_cli.evaluation.answers import Answers, answer_blocks, answers_of_logits
from icis_cli.evaluation.blocks import Blocks, block_size
from icis_cli.workers import ALONE, Workers


def answer_conse(
    features: NDArray[Any],
    labels: IntArray,
    weight: FloatArray,
    bias: FloatArray | None,
    descriptors: FloatArray,
    top: int | None = None,
    block: int | None = None,
    path: Path | str = "features",
    workers: Workers = ALONE,
) -> Answers:
    """Answer by ConSE, among seen and unseen classes.

    Args:
        features: (N, D) inputs of the head, any float dtype; N >= 1.
        labels: (N,) true classes, as rows of ``descriptors``.
        weight: (K, D) of the seen classes.
        bias: (K,) or None.
        descriptors: (K+U, d), seen classes first; U must not be 0.
        top: T >= 1; None for all seen classes.
        block: samples at once; None for as many as suit the sizes.
        path: of the features, for errors.
        workers: processes that share the blocks; all get all answers.

    Returns:
        Facts about the cosines (N, K+U), which take the place of logits.

    Raises:
        FeatureError: a logit is not finite.

    """
    seen_classes = len(weight)
    directions = unit_rows(descriptors)

    def answer(logits: FloatArray, samples: slice) -> Answers:
        mixed = probabilities(logits, top) @ descriptors[:seen_classes]
        cosines = unit_rows(mixed) @ directions.T
        return answers_of_logits(cosines, labels[samples], seen_classes)

    size = block or block_size(len(descriptors), max(weight.shape[1], descriptors.shape[1]))
    return answer_blocks(Blocks(features, weight, bias, size, path), answer, workers=workers)


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

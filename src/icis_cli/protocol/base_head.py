"""The base classifier of the protocol: a linear softmax head, trained on the seen classes.

The paper takes the final layer of a network that it fine-tuned. With frozen features what is left
of that is multinomial logistic regression, which is convex: start and order hardly matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.errors import TrainingError
from icis_cli.methods.base import Step, Watch
from icis_cli.runtime import import_torch

_MOMENTUM = 0.9


@dataclass(frozen=True)
class BaseRecipe:
    """How to train the head: SGD with momentum 0.9, the step size falling linearly to 0.

    Chosen on a fifth of CUB's ``trainval`` rows that was held out, never on test rows. Step size
    and decay are for features of mean zero and mean squared length 1, which training makes of any:
    the loss then has a curvature of at most 1/2, for which steps below 7 are stable.

    Attributes:
        epochs: passes over the rows; at least 1.
        min_steps: few rows are passed over more often, until there are this many steps.
        lr: first step size; above 0.
        weight_decay: factor of half the squared weights in the loss; the bias has none.
        batch: rows per step; at least 1.

    """

    epochs: int = 20
    min_steps: int = 1000
    lr: float = 4.0
    weight_decay: float = 1e-5
    batch: int = 64


def train_base_head(
    features: NDArray[Any],
    labels: IntArray,
    classes: int,
    *,
    seed: int = 0,
    recipe: BaseRecipe | None = None,
    watch: Watch | None = None,
) -> FloatArray:
    """Train a softmax head on frozen features.

    The features' mean and scale do not matter: both are folded into the rows that come back.
    Runs on one CPU thread, so that one seed gives one result however many cores there are.

    Args:
        features: (N, D) inputs of the head, any float dtype, finite.
        labels: (N,) in ``range(classes)``; every class occurs.
        classes: K, at least 2.
        seed: of the order of samples.
        recipe: how to train; None for the default.
        watch: told about every epoch.

    Returns:
        (K, D+1) float32 joined rows ``[W; b]``: logits are ``features @ W.T + b``.

    Raises:
        TrainingError: labels that do not fit, a class without samples, features that are all
            equal or beyond float32, or a loss that is not finite.
        InstallationError: torch cannot be imported.

    """
    _require_samples(features, labels, classes)
    recipe = recipe or BaseRecipe()
    mean, scale = _mean_and_scale(features)
    torch = import_torch()
    from icis_cli.methods.training import one_thread

    generator = torch.Generator().manual_seed(seed)
    targets = torch.from_numpy(labels.astype(np.int64))
    weight = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimiser = torch.optim.SGD(
        [{"params": [weight], "weight_decay": recipe.weight_decay}, {"params": [bias]}],
        lr=recipe.lr,
        momentum=_MOMENTUM,
    )
    starts = range(0, len(labels), recipe.batch)
    epochs = max(recipe.epochs, -(-recipe.min_steps // len(starts)))
    with one_thread():  # its products are small
        for epoch in range(epochs):
            order = torch.randperm(len(labels), generator=generator)
            total = 0.0
            for number, start in enumerate(starts):
                done = (epoch + number / len(starts)) / epochs
                for group in optimiser.param_groups:
                    group["lr"] = recipe.lr * (1 - done)
                chosen = order[start : start + recipe.batch]
                inputs = ((features[chosen.numpy()] - mean) * scale).astype(np.float32)
                logits = torch.addmm(bias, torch.from_numpy(inputs), weight.T)
                loss = torch.nn.functional.cross_entropy(logits, targets[chosen])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item() * len(chosen)
            mean_loss = total / len(labels)
            if not math.isfinite(mean_loss):
                raise TrainingError(
                    f"the loss of the base head is {mean_loss} after epoch {epoch + 1}",
                    "look for outliers in the features, or lower the step size",
                )
            if watch is not None:
                watch(Step(epoch + 1, epochs, mean_loss))
    return _folded(weight.detach().numpy(), bias.detach().numpy(), mean, scale)


def _require_samples(features: NDArray[Any], labels: IntArray, classes: int) -> None:
    """Check shapes, and that labels are all of ``range(classes)``."""
    if features.ndim != 2 or labels.shape != features.shape[:1] or not features.size:
        raise TrainingError(
            f"the base head needs features (N, D) and labels (N,), found {features.shape} and "
            f"{labels.shape}"
        )
    found = np.unique(labels)
    if classes < 2 or not np.array_equal(found, np.arange(classes)):
        raise TrainingError(
            f"the base head of {classes} classes needs samples of each of 0 to {classes - 1}, "
            f"found {len(found)} classes from {found[0]} to {found[-1]}"
        )


def _mean_and_scale(features: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """Return the mean (D,) and the factor that brings the mean squared length about it to 1.

    Works in float64 and in blocks, so that neither float16 nor large arrays are a problem.
    """
    blocks = range(0, len(features), 1024)
    mean = np.zeros(features.shape[1])
    for start in blocks:
        mean += features[start : start + 1024].sum(axis=0, dtype=np.float64)
    mean /= len(features)
    squared = 0.0
    for start in blocks:
        squared += float(np.square(features[start : start + 1024] - mean).sum())
    length = math.sqrt(squared / len(features))
    if not 0 < length < math.inf:
        raise TrainingError(
            "the features to train the base head on are "
            + ("all equal" if length == 0 else "NaN or infinite"),
            "compute them anew",
        )
    return mean, 1 / length


def _folded(
    weight: FloatArray, bias: FloatArray, mean: NDArray[np.float64], scale: float
) -> FloatArray:
    """Write a head for ``(x - mean) * scale`` as one for ``x``: joined rows (K, D+1)."""
    wide = weight.astype(np.float64) * scale
    joined = np.column_stack([wide, bias - wide @ mean])
    with np.errstate(over="ignore"):
        rows: FloatArray = joined.astype(np.float32)
    if not np.isfinite(rows).all():
        raise TrainingError(
            "the base head does not fit into float32: the features are too small",
            "multiply all features by a factor that brings them near 1",
        )
    return rows

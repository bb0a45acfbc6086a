"""Ensembles: the same method trained with several seeds, its rows averaged into one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.methods.base import Fitted, Method, RowPredictor, SeenPairs, Training, Watch

_SEEDS = 2**32


@dataclass(frozen=True)
class MeanOf(RowPredictor):
    """The mean of several predictors' rows; at least one. ``registry.restore`` makes it again."""

    members: tuple[RowPredictor, ...]

    def predict(self, descriptors: FloatArray) -> FloatArray:
        total = self.members[0].predict(descriptors)
        for member in self.members[1:]:
            total = total + member.predict(descriptors)
        return total / np.float32(len(self.members))

    def tensors(self) -> Mapping[str, FloatArray]:
        return {
            f"{number}.{key}": value
            for number, member in enumerate(self.members)
            for key, value in member.tensors().items()
        }


def member_seeds(seed: int, members: int) -> tuple[int, ...]:
    """Return the seeds of an ensemble, which no other of this size has; one keeps its own."""
    return tuple((seed * members + number) % _SEEDS for number in range(members))


def fit_ensemble(
    method: Method,
    pairs: SeenPairs,
    members: int,
    *,
    seed: int,
    device: str = "cpu",
    watch: Watch | None = None,
) -> Fitted:
    """Fit a method ``members`` times, with the seeds of :func:`member_seeds`.

    The losses are those of all members, one after the other.

    Raises:
        TrainingError: as in ``Method.fit``.
        ValueError: no member.

    """
    if members < 1:
        raise ValueError(f"{members} members, expected at least 1")
    if members == 1:
        return method.fit(pairs, seed=seed, device=device, watch=watch)
    fitted = [
        method.fit(pairs, seed=own, device=device, watch=watch)
        for own in member_seeds(seed, members)
    ]
    losses = tuple(loss for part in fitted for loss in part.training.losses)
    stopped = f"{members} members, each: {fitted[0].training.stopped}"
    return Fitted(MeanOf(tuple(part.predictor for part in fitted)), Training(losses, stopped))

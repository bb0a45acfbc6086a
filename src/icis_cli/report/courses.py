"""How the loss of a training went, as one curve: an injector keeps that of every member."""

from __future__ import annotations

import numpy as np

from icis_cli.injection.injector import Injector
from icis_cli.methods.ensemble import MeanOf


def loss_course(injector: Injector) -> tuple[float, ...]:
    """Return the loss of each epoch, the mean over members where they had as many epochs each.

    Empty for a method in closed form, and where a loss is not finite.
    """
    losses = np.array(injector.losses, dtype=np.float64)
    if not np.isfinite(losses).all():
        return ()
    predictor = injector.predictor
    members = len(predictor.members) if isinstance(predictor, MeanOf) else 1
    if len(losses) % members:
        return injector.losses
    means: list[float] = losses.reshape(members, -1).mean(axis=0).tolist()
    return tuple(means)

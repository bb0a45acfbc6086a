"""The training loop of the encoder-decoders. Imports torch: import it inside functions only."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from icis_cli.errors import TrainingError
from icis_cli.methods.base import Step, Training, Watch
from icis_cli.methods.gradients import LayerGradients
from icis_cli.methods.networks import Batch, EncoderDecoders, reconstruction_loss
from icis_cli.methods.recipes import Recipe

#: Networks of fewer weights are trained on one thread: their products are too small to share, and
#: threads that wait for each other cost a busy machine a factor of ten.
_WORTH_SHARING = 4_000_000

#: The stopping rule looks at two windows of this many epochs, from this epoch index on, and wants
#: this many flat epochs in a row.
_WINDOW, _FIRST, _PATIENCE = 10, 21, 5

#: What a method adds to the loss of a batch.
Penalty = Callable[[EncoderDecoders, Batch], Tensor]


def train(
    networks: EncoderDecoders,
    descriptors: Tensor,
    rows: Tensor,
    recipe: Recipe,
    generator: torch.Generator,
    watch: Watch | None,
    penalty: Penalty | None = None,
) -> Training:
    """Train the networks in place.

    Args:
        networks: to be trained, on the device of the data.
        descriptors: (K+U, d), seen classes first.
        rows: (K, r).
        recipe: how.
        generator: of the order of classes.
        watch: told about every epoch.
        penalty: added to the reconstructions of every batch.

    Raises:
        TrainingError: the loss is not finite.

    """
    steps = -(-len(descriptors) // recipe.batch)
    epochs = max(recipe.epochs, -(-recipe.min_steps // steps))
    losses: list[float] = []
    flat = 0
    weights = sum(parameter.numel() for parameter in networks.parameters())
    with threads_for(weights), LayerGradients(networks) as gradients:
        optimiser = torch.optim.AdamW(
            gradients.parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
        for epoch in range(epochs):
            total = descriptors.new_zeros(())
            for number, batch in enumerate(_batches(descriptors, rows, recipe.batch, generator)):
                if recipe.decay == "linear":
                    done = (epoch * steps + number) / (epochs * steps)
                    optimiser.param_groups[0]["lr"] = recipe.lr * (1 - done)
                loss = reconstruction_loss(networks, batch, recipe)
                if penalty is not None:
                    loss = loss + penalty(networks, batch)
                gradients.backward(loss)
                optimiser.step()
                total += loss.detach()
            losses.append(finite_loss(float(total) / steps, epoch))
            if watch is not None:
                watch(Step(epoch + 1, epochs, losses[-1]))
            if recipe.stop_slope is not None and epoch >= _FIRST:
                flat = flat + 1 if _slope(losses) < recipe.stop_slope else 0
                if flat == _PATIENCE:
                    return Training(tuple(losses), f"the loss is flat after {epoch + 1} epochs")
    return Training(tuple(losses), f"all {epochs} epochs done")


def finite_loss(loss: float, epoch: int) -> float:
    """Return the loss of an epoch, numbered from 0.

    Raises:
        TrainingError: it is not finite.

    """
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss} after epoch {epoch + 1}",
            "lower --lr, and look for outliers in the descriptors",
        )
    return loss


def threads_for(weights: int) -> contextlib.AbstractContextManager[None]:
    """Use one thread while networks of few weights are trained, then as many as before."""
    return one_thread() if weights < _WORTH_SHARING else contextlib.nullcontext()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread, then as many as before; sums then have one order on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(
    descriptors: Tensor, rows: Tensor, size: int, generator: torch.Generator
) -> Iterator[Batch]:
    """Yield all classes in random order, seen ones first within each batch."""
    order = torch.randperm(len(descriptors), generator=generator)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        seen, unseen = chosen[chosen < len(rows)], chosen[chosen >= len(rows)]
        yield Batch(descriptors[torch.cat([seen, unseen])], rows[seen])


def _slope(losses: list[float]) -> float:
    """Return by how much the loss falls per epoch between the last two windows."""
    last, before = losses[-_WINDOW:], losses[-2 * _WINDOW : -_WINDOW]
    return -(sum(last) / len(last) - sum(before) / len(before)) / _WINDOW

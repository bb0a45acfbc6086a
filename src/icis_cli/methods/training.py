"""The training loop of the encoder-decoders. Imports torch: import it inside functions only."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icis_cli.errors import TrainingError
from icis_cli.methods.base import Step, Training, Watch
from icis_cli.methods.gradients import LayerGradients
from icis_cli.methods.networks import Batch, EncoderDecoders, reconstruction_loss
from icis_cli.methods.progress import Keeper, Progress, State
from icis_cli.methods.recipes import Recipe

#: Networks of fewer weights are trained on one thread: their products are too small to share, and
#: threads that wait for each other cost a busy machine a factor of ten.
_WORTH_SHARING = 4_000_000

#: The stopping rule looks at two windows of this many epochs, from this epoch index on, and wants
#: this many flat epochs in a row.
_WINDOW, _FIRST, _PATIENCE = 10, 21, 5


class Penalty(Protocol):
    """What a method adds to the loss of a batch.

    Attributes:
        label: all that it depends on beside the data, as text.

    """

    @property
    def label(self) -> str: ...

    def __call__(self, networks: EncoderDecoders, batch: Batch) -> Tensor: ...


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
        watch: told about every epoch; :class:`Progress` keeps how far it is, too.
        penalty: added to the reconstructions of every batch.

    Raises:
        TrainingError: the loss is not finite.

    """
    steps = -(-len(descriptors) // recipe.batch)
    epochs = max(recipe.epochs, -(-recipe.min_steps // steps))
    weights = sum(parameter.numel() for parameter in networks.parameters())
    with threads_for(weights), LayerGradients(networks) as gradients:
        optimiser = torch.optim.AdamW(
            gradients.parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
        course = Course(gradients.parameters, optimiser, generator)
        how = f"{recipe!r} {'' if penalty is None else penalty.label}"
        keeper = _keeper(watch, course, how, (descriptors, rows))
        losses = course.losses
        while len(losses) < epochs and not _is_flat(losses, recipe):
            total = descriptors.new_zeros(())
            for number, batch in enumerate(_batches(descriptors, rows, recipe.batch, generator)):
                if recipe.decay == "linear":
                    done = (len(losses) * steps + number) / (epochs * steps)
                    optimiser.param_groups[0]["lr"] = recipe.lr * (1 - done)
                loss = reconstruction_loss(networks, batch, recipe)
                if penalty is not None:
                    loss = loss + penalty(networks, batch)
                gradients.backward(loss)
                optimiser.step()
                total += loss.detach()
            losses.append(finite_loss(float(total) / steps, len(losses)))
            if watch is not None:
                watch(Step(len(losses), epochs, losses[-1]))
            if keeper is not None and keeper.is_due:
                keeper.keep(course.state())
        if keeper is not None and keeper.path.is_file():  # its end, so that it is not run again
            keeper.keep(course.state())
    if _is_flat(losses, recipe):
        return Training(tuple(losses), f"the loss is flat after {len(losses)} epochs")
    return Training(tuple(losses), f"all {epochs} epochs done")


def _keeper(
    watch: Watch | None, course: Course, how: str, data: tuple[Tensor, Tensor]
) -> Keeper | None:
    """Return what keeps a training, if it is to be kept, and go on from what it kept before."""
    if not isinstance(watch, Progress):
        return None
    keeper = watch.begin(how, *(part.cpu().numpy() for part in data), *course.start())
    course.go_on(keeper.found())
    return keeper


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


def _is_flat(losses: list[float], recipe: Recipe) -> bool:
    """Tell whether the recipe ends the training after these epochs."""
    if recipe.stop_slope is None or len(losses) < _FIRST + _PATIENCE:
        return False
    ends = range(len(losses) - _PATIENCE + 1, len(losses) + 1)
    return all(_slope(losses[:end]) < recipe.stop_slope for end in ends)


def _slope(losses: list[float]) -> float:
    """Return by how much the loss falls per epoch between the last two windows."""
    last, before = losses[-_WINDOW:], losses[-2 * _WINDOW : -_WINDOW]
    return -(sum(last) / len(last) - sum(before) / len(before)) / _WINDOW


class Course:
    """All that a training changes while it goes on.

    Attributes:
        losses: mean loss of every epoch.

    """

    def __init__(
        self, parameters: list[Tensor], optimiser: torch.optim.Optimizer, generator: torch.Generator
    ) -> None:
        self.losses: list[float] = []
        self._parameters = parameters
        self._optimiser = optimiser
        self._generator = generator

    def start(self) -> list[NDArray[Any]]:
        """Return what it starts from: the numbers in the layers."""
        return [parameter.detach().cpu().numpy() for parameter in self._parameters]

    def state(self) -> dict[str, NDArray[Any]]:
        """Return it as arrays."""
        found: dict[str, NDArray[Any]] = {
            "losses": np.array(self.losses),
            "generator": self._generator.get_state().numpy(),
        }
        for number, parameter in enumerate(self._parameters):
            parts = {"value": parameter, **self._optimiser.state[parameter]}
            for name, part in parts.items():
                found[f"{number}.{name}"] = part.detach().cpu().numpy()
        return found

    def go_on(self, state: State | None) -> None:
        """Go on from what :meth:`state` told; None: from the start."""
        if state is None:
            return
        self.losses.extend(state["losses"].tolist())
        self._generator.set_state(torch.from_numpy(state["generator"].copy()))
        for number, parameter in enumerate(self._parameters):
            prefix = f"{number}."
            own = {
                key.removeprefix(prefix): torch.from_numpy(value.copy()).to(parameter.device)
                for key, value in state.items()
                if key.startswith(prefix)
            }
            with torch.no_grad():
                parameter.copy_(own.pop("value"))
            if own:
                self._optimiser.state[parameter] = own

"""wDAE: rows of the single network, refined by a graph network that takes noise off rows.

Gidaris & Komodakis, "Generating Classification Weights with GNN Denoising Autoencoders for
Few-Shot Learning" (CVPR 2019). Nodes are rows ``x`` in coordinates of the span of the seen rows.
In each of two layers a node looks at all seen classes and itself, by likeness:

    m_i = sum_j c_ij relu(N h_j + n) / sum_j c_ij,    c_ij = exp(gamma (cos(h_i, h_j) - 1))

with a learned gamma. Layer 1: ``h_i = relu(A x_i + B m_i + u)`` from ``x``. Layer 2: from ``h`` and
its ``m``, a step ``delta`` and a gate ``o`` in 0..1, linear and logistic: ``x + o delta``.
``delta`` starts at 0, so that an untrained network gives its input back.

Training draws classes, adds noise to their rows, takes them for new (the other seen classes are
all the graph there is) and asks for the CLEAN rows. In prediction every new class is alone with
the seen ones, so what comes out for it does not depend on the others. Simpler than the original:
what a neighbour sends depends on it alone, there is no dropout or normalisation, and all seen
classes are neighbours, not the nearest ten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self, cast

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.methods.base import (
    Fitted,
    Method,
    Predictor,
    SeenPairs,
    Setting,
    Step,
    Training,
    Watch,
    in_blocks,
)
from icis_cli.methods.icis import SINGLE, Mlp, RowNetwork
from icis_cli.methods.recipes import Recipe
from icis_cli.runtime import import_torch

#: A numpy array or a torch tensor: the graph network is written once, for both.
Array = Any
Layers = Mapping[str, Array]
Exp = Callable[[Array], Array]

_PREFIX = "graph."
#: One class in so many is taken for new in a step, the others are left as the graph; with many
#: classes at most so many of each are drawn, which bounds the cost of a step.
_SHARE, _MOST_NEW, _MOST_SEEN = 5, 64, 256
_GAMMA = 5.0


def _shapes(rank: int, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every layer, for rows (M, r) and hidden states (M, h)."""
    return {
        "N1.weight": (width, rank),
        "N1.bias": (width,),
        "U.own": (width, rank),
        "U.others": (width, width),
        "U.bias": (width,),
        "N2.weight": (width, width),
        "N2.bias": (width,),
        "D.own": (rank, width),
        "D.others": (rank, width),
        "D.bias": (rank,),
        "O.own": (rank, width),
        "O.others": (rank, width),
        "O.bias": (rank,),
        "gamma1": (1,),
        "gamma2": (1,),
    }


@dataclass(frozen=True)
class Nodes:
    """The seen classes in the graph: what each looks like, and what it sends, per layer."""

    rows: Array
    first: Array
    hidden: Array
    second: Array


def nodes_of(layers: Layers, rows: Array, exp: Exp) -> Nodes:
    """Return the nodes of the seen classes (S, r), which look at each other."""
    first = _sent(layers, "N1", rows)
    seen = _looked(rows, rows, first, layers["gamma1"], exp)
    hidden = _hidden(layers, rows, seen[0] / seen[1])
    return Nodes(rows, first, hidden, _sent(layers, "N2", hidden))


def refine(layers: Layers, rows: Array, seen: Nodes, exp: Exp) -> Array:
    """Take the noise off rows (M, r), each alone with the seen classes."""
    total, weight = _looked(rows, seen.rows, seen.first, layers["gamma1"], exp)
    # a node looks at itself too: its likeness to itself is exp(0)
    hidden = _hidden(layers, rows, (total + _sent(layers, "N1", rows)) / (weight + 1))
    total, weight = _looked(hidden, seen.hidden, seen.second, layers["gamma2"], exp)
    message = (total + _sent(layers, "N2", hidden)) / (weight + 1)
    delta = hidden @ layers["D.own"].T + message @ layers["D.others"].T + layers["D.bias"]
    gate = hidden @ layers["O.own"].T + message @ layers["O.others"].T + layers["O.bias"]
    return rows + delta / (1 + exp(-gate.clip(min=-60)))


def _sent(layers: Layers, name: str, nodes: Array) -> Array:
    """Return what nodes (N, n) send, (N, h)."""
    return (nodes @ layers[f"{name}.weight"].T + layers[f"{name}.bias"]).clip(min=0)


def _hidden(layers: Layers, rows: Array, message: Array) -> Array:
    """Return the hidden state (N, h) of nodes from rows (N, r) and messages (N, h)."""
    own = rows @ layers["U.own"].T + message @ layers["U.others"].T
    return (own + layers["U.bias"]).clip(min=0)


def _looked(nodes: Array, others: Array, sent: Array, gamma: Array, exp: Exp) -> Any:
    """Return what nodes (N, n) see of others (S, n): weighted sum (N, h) and weights (N, 1)."""
    likeness = exp(gamma * (_unit(nodes) @ _unit(others).T - 1))
    return likeness @ sent, likeness.sum(axis=1, keepdims=True)


def _unit(values: Array) -> Array:
    return values / ((values * values).sum(axis=1, keepdims=True) + 1e-12) ** 0.5


@dataclass(frozen=True)
class DenoisedRows(Predictor):
    """A trained network and what refines its rows.

    Attributes:
        network: descriptor -> row.
        seen: (K, r) seen rows in the network's row space.
        layers: of the graph network.

    """

    network: RowNetwork
    seen: FloatArray
    layers: Mapping[str, FloatArray]

    def predict(self, descriptors: FloatArray) -> FloatArray:
        def rows_of(block: FloatArray) -> FloatArray:
            return self.network.rows.leave(self.refine(self.network.coordinates(block)))

        return in_blocks(rows_of, descriptors, len(self.network.rows.middle))

    def refine(self, coordinates: FloatArray) -> FloatArray:
        """Take the noise off rows in the row space, (M, r)."""
        refined: FloatArray = refine(self.layers, coordinates, self._nodes, np.exp)
        return refined

    @cached_property
    def _nodes(self) -> Nodes:
        return nodes_of(self.layers, self.seen, np.exp)

    def tensors(self) -> Mapping[str, FloatArray]:
        graph = {f"{_PREFIX}{name}": values for name, values in self.layers.items()}
        return {**self.network.tensors(), **graph, "seen": self.seen}

    @classmethod
    def restore(cls, tensors: Mapping[str, FloatArray], settings: Mapping[str, Setting]) -> Self:
        seen = tensors["seen"]
        names = _shapes(seen.shape[1], 0)
        layers = {name: tensors[f"{_PREFIX}{name}"] for name in names}
        shapes = _shapes(seen.shape[1], len(layers["U.bias"]))
        if any(layers[name].shape != shape for name, shape in shapes.items()):
            raise ValueError("the layers of the graph network do not fit together")
        return cls(RowNetwork.restore(tensors, settings), seen, layers)


@dataclass(frozen=True)
class Wdae(Method):
    """The single network, then the graph network.

    Attributes:
        recipe: of the single network.
        width: h of the graph network.
        noise: norm of the noise, relative to the root mean square norm of the seen rows.
        steps: training steps of the graph network.
        lr: its step size (Adam), falling linearly to 0.

    """

    name: ClassVar[str] = "wdae"
    predictor: ClassVar[type[Predictor]] = DenoisedRows
    recipe: Recipe = SINGLE
    width: int = 256
    noise: float = 0.5
    steps: int = 300
    lr: float = 1e-3

    @property
    def seeded(self) -> bool:
        return True

    @property
    def cheap(self) -> bool:
        return False

    def settings(self) -> Mapping[str, Setting]:
        own = {"width": self.width, "noise": self.noise, "steps": self.steps, "lr": self.lr}
        graph = {f"{_PREFIX}{name}": value for name, value in own.items()}
        return {**self.recipe.settings(), **graph}

    def fit(
        self, pairs: SeenPairs, *, seed: int, device: str = "cpu", watch: Watch | None = None
    ) -> Fitted:
        def longer(step: Step) -> None:
            if watch is not None:
                watch(replace(step, epochs=step.epochs + 1))

        fitted = Mlp(self.recipe).fit(pairs, seed=seed, device=device, watch=longer)
        network = cast(RowNetwork, fitted.predictor)
        seen = network.rows.enter(pairs.rows)
        layers, loss = train_graph(seen, self, seed, device)
        losses = (*fitted.training.losses, loss)
        if watch is not None:
            watch(Step(len(losses), len(losses), loss))
        stopped = f"{fitted.training.stopped}, then {self.steps} steps of the graph network"
        return Fitted(DenoisedRows(network, seen, layers), Training(losses, stopped))


def train_graph(
    seen: FloatArray, method: Wdae, seed: int, device: str
) -> tuple[Mapping[str, FloatArray], float]:
    """Train the graph network to take noise off the seen rows (K, r).

    Returns:
        Its layers, and the mean loss over all steps: squared distance to the clean row.

    Raises:
        TrainingError: the loss is not finite.

    """
    torch = import_torch()
    from icis_cli.methods.training import finite_loss, threads_for

    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for name, shape in _shapes(seen.shape[1], method.width).items():
        values = torch.zeros(shape)
        if name.startswith("gamma"):
            values += _GAMMA
        elif name[0] in "NUO" and len(shape) == 2:
            values.normal_(0, shape[1] ** -0.5, generator=generator)
        layers[name] = values.to(device).requires_grad_()
    optimiser = torch.optim.Adam(layers.values(), lr=method.lr)
    clean = torch.from_numpy(seen).to(device)
    spread = method.noise * float(clean.square().mean().sqrt())
    new = min(max(1, len(clean) // _SHARE), _MOST_NEW)
    total = clean.new_zeros(())
    with threads_for(sum(values.numel() for values in layers.values())):
        for step in range(method.steps):
            optimiser.param_groups[0]["lr"] = method.lr * (1 - step / method.steps)
            order = torch.randperm(len(clean), generator=generator).to(device)
            target = clean[order[:new]]
            noise = spread * torch.randn(target.shape, generator=generator).to(device)
            nodes = nodes_of(layers, clean[order[new : new + _MOST_SEEN]], torch.exp)
            refined = refine(layers, target + noise, nodes, torch.exp)
            loss = (refined - target).square().sum(dim=1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach()
    loss = finite_loss(float(total) / max(method.steps, 1), 0)
    return {name: values.detach().cpu().numpy().copy() for name, values in layers.items()}, loss

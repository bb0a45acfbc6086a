"""Gradients of linear layers in memory that is kept. Imports torch: import inside functions only.

A step of the paper recipe writes a gradient as large as all weights together, 72 MB on CUB.
Autograd asks for that memory anew in every step, and to get fresh pages from the system takes
longer than the arithmetic. So only the gradients by the *outputs* of the layers, which are thin,
are left to autograd; those by the weights follow from them in one product each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

#: Floats in a line of the processor's cache.
_LINE = 16


@dataclass(frozen=True)
class _Call:
    """One run of a layer: ``outputs`` (B, m) of ``inputs`` (B, n)."""

    layer: torch.nn.Linear
    inputs: Tensor
    outputs: Tensor


class LayerGradients:
    """The gradients of the linear layers of ``networks``, and of nothing else.

    Use it in a ``with`` statement: it listens to the layers until the end of it. In a step a layer
    may be run once, several times or not at all.

    Attributes:
        parameters: what an optimiser is to change: weights and biases of all layers, in the memory
            of the layers themselves. :meth:`backward` sets their ``grad``.

    """

    def __init__(self, networks: torch.nn.Module) -> None:
        self._layers = [_Kept(m) for m in networks.modules() if isinstance(m, torch.nn.Linear)]
        self.parameters = [p for kept in self._layers for p in (kept.weight, kept.bias)]
        self._calls: list[_Call] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> Self:
        self._hooks = [kept.layer.register_forward_hook(self._heard) for kept in self._layers]
        return self

    def __exit__(self, *_error: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._calls = []

    def backward(self, loss: Tensor) -> None:
        """Set the gradients of ``loss``, the only outcome of the layers since the last call.

        Layers that it does not depend on get None, as autograd leaves it.
        """
        calls, self._calls = self._calls, []
        slopes = torch.autograd.grad(loss, [call.outputs for call in calls], allow_unused=True)
        for kept in self._layers:
            kept.take(
                [
                    (call.inputs, slope)
                    for call, slope in zip(calls, slopes, strict=True)
                    if call.layer is kept.layer and slope is not None
                ]
            )

    def _heard(self, layer: torch.nn.Linear, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        self._calls.append(_Call(layer, inputs[0].detach(), outputs))


class _Kept:
    """A layer (n -> m) with memory for its gradients.

    Its weights are stored input by input where n does not fill cache lines, and m does: the product
    that gives their gradient takes three times as long where rows in memory are an odd number of
    floats apart, as with 4096 inputs and a bias. No value changes. ``weight`` is what is stored,
    (m, n) or (n, m), because fused optimisers copy what is not contiguous.
    """

    def __init__(self, layer: torch.nn.Linear) -> None:
        self.layer = layer
        self.turned = bool(layer.in_features % _LINE and not layer.out_features % _LINE)
        self.bias = layer.bias.detach()
        self.weight = layer.weight.detach()
        if self.turned:
            self.weight = self.weight.t().contiguous()
            layer.weight.data = self.weight.t()
        self._by_weight, self._by_bias = torch.empty_like(self.weight), torch.empty_like(self.bias)

    def take(self, parts: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Set the gradients from the inputs x (B, n) and slopes g (B, m) of each run.

        With ``y = x W' + b``, and g the gradient by y, that by W is ``g' x``, and that by b the sum
        of g over the batch.
        """
        for number, (inputs, slopes) in enumerate(parts):
            left, right = (inputs, slopes) if self.turned else (slopes, inputs)
            # beta 0: what the memory holds from the step before does not count
            torch.addmm(self._by_weight, left.t(), right, beta=min(number, 1), out=self._by_weight)
        if parts:
            torch.sum(torch.cat([slopes for _, slopes in parts]), dim=0, out=self._by_bias)
        self.weight.grad = self._by_weight if parts else None
        self.bias.grad = self._by_bias if parts else None

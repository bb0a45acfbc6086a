"""The two encoder-decoders and their four reconstructions (Christensen et al., ICCV 2023, eq. 2-5).

Imports torch: import this module inside functions only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from icis_cli.arrays import FloatArray
from icis_cli.methods.recipes import Recipe


class EncoderDecoders(torch.nn.Module):
    """Four linear layers: ``E_A`` d -> h, ``D_A`` h -> d, ``E_W`` r -> h, ``D_W`` h -> r."""

    def __init__(self, width: int, rank: int, recipe: Recipe, generator: torch.Generator) -> None:
        super().__init__()
        hidden = recipe.hidden
        self.encode_a = torch.nn.Linear(width, hidden)
        self.decode_a = torch.nn.Linear(hidden, width)
        self.encode_w = torch.nn.Linear(rank, hidden)
        self.decode_w = torch.nn.Linear(hidden, rank)
        with torch.no_grad():
            for layer in (self.encode_a, self.decode_a, self.encode_w, self.decode_w):
                layer.weight.normal_(0, 0.02, generator=generator)
                layer.bias.zero_()
            if recipe.init == "zero-decoders":
                self.decode_a.weight.zero_()
                self.decode_w.weight.zero_()

    def hidden_of_descriptors(self, descriptors: Tensor) -> Tensor:
        """Encode descriptors (B, d) to (B, h)."""
        return functional.relu(self.encode_a(descriptors))

    def hidden_of_rows(self, rows: Tensor) -> Tensor:
        """Encode rows (B, r) to (B, h)."""
        return functional.relu(self.encode_w(rows))

    def tensors(self) -> Mapping[str, FloatArray]:
        """Return copies of the layers: ``y = D relu(E x + e) + c``."""
        layers = {
            "E_A": self.encode_a,
            "D_A": self.decode_a,
            "E_W": self.encode_w,
            "D_W": self.decode_w,
        }
        found: dict[str, FloatArray] = {}
        for name, layer in layers.items():
            found[f"{name}.weight"] = layer.weight.detach().cpu().numpy().copy()
            found[f"{name}.bias"] = layer.bias.detach().cpu().numpy().copy()
        return found


@dataclass(frozen=True)
class Batch:
    """Classes of one step.

    Attributes:
        descriptors: (B, d), the seen classes first.
        rows: (S, r) of the seen ones, S <= B, in the same order.

    """

    descriptors: Tensor
    rows: Tensor


def distance(output: Tensor, target: Tensor, loss: str) -> Tensor:
    """Return the mean over a batch (B, n) of ``1 - cos`` or of the squared distance."""
    if loss == "cosine":
        return (1 - functional.cosine_similarity(output, target)).mean()
    return (output - target).square().sum(dim=1).mean()


def reconstruction_loss(networks: EncoderDecoders, batch: Batch, recipe: Recipe) -> Tensor:
    """Return the sum of the reconstructions of a batch.

    ``a-a`` runs over all its classes; the other three over the seen ones, and count 0 in a batch
    without any. Each decoder runs once, over both of its inputs.
    """
    seen = len(batch.rows)
    terms = recipe.terms
    from_a = networks.hidden_of_descriptors(batch.descriptors)
    from_w = networks.hidden_of_rows(batch.rows) if seen and {"w-w", "w-a"} & set(terms) else None
    total = from_a.new_zeros(())
    to_a = [from_a] if "a-a" in terms else []
    if from_w is not None and "w-a" in terms:
        to_a.append(from_w)
    if to_a:
        decoded = networks.decode_a(torch.cat(to_a))
        if "a-a" in terms:
            rebuilt, decoded = decoded.split([len(from_a), len(decoded) - len(from_a)])
            total = total + distance(rebuilt, batch.descriptors, recipe.loss)
        if len(decoded):
            total = total + distance(decoded, batch.descriptors[:seen], recipe.loss)
    to_w = [from_a[:seen]] if seen and "a-w" in terms else []
    if from_w is not None and "w-w" in terms:
        to_w.append(from_w)
    if to_w:
        decoded = networks.decode_w(torch.cat(to_w))
        for part in decoded.split(seen):
            total = total + distance(part, batch.rows, recipe.loss)
    return total

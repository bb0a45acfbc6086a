"""The training loop of the paper as research code writes it, to compare with.

Christensen et al., "Image-free Classifier Injection for Zero-Shot Classification" (ICCV 2023):
batches of 16 of a data set with one item per class, four reconstructions of which each runs its own
encoder and decoder, ``1 - cos`` of each, the plain Adam of torch (one tensor after the other, not
fused), float32. It starts from given weights and takes the classes in a given order, so that its
losses can be compared step by step with those of ``icis_cli.methods.training``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler

from icis_cli.methods.networks import EncoderDecoders

BATCH = 16
STEP_SIZE = 1e-5


class Classes(Dataset[tuple[Tensor, Tensor, bool]]):
    """One item per class: descriptor (d,), row (P,) - zeros for an unseen class -, whether seen."""

    def __init__(self, descriptors: Tensor, rows: Tensor) -> None:
        self.descriptors = descriptors
        self.rows = rows

    def __len__(self) -> int:
        return len(self.descriptors)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, bool]:
        seen = index < len(self.rows)
        row = self.rows[index] if seen else torch.zeros_like(self.rows[0])
        return self.descriptors[index], row, seen


class Shuffled(Sampler[int]):
    """All class numbers in a new order every epoch, drawn as our training draws them."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count = count
        self.generator = generator

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        order: list[int] = torch.randperm(self.count, generator=self.generator).tolist()
        return iter(order)


@dataclass(frozen=True)
class Trained:
    """Mean loss of every epoch, and the four networks (they share their layers)."""

    losses: tuple[float, ...]
    descriptor_to_row: nn.Module


def train_plainly(
    start: EncoderDecoders,
    descriptors: Tensor,
    rows: Tensor,
    epochs: int,
    generator: torch.Generator,
) -> Trained:
    """Train the layers of ``start`` in place for a number of epochs.

    Args:
        start: initial weights, drawn from ``generator``.
        descriptors: (K+U, d), seen classes first.
        rows: (K, P).
        epochs: without the stopping rule: that is the caller's to apply.
        generator: of the order of classes.

    """
    encode_a = nn.Sequential(start.encode_a, nn.ReLU())
    encode_w = nn.Sequential(start.encode_w, nn.ReLU())
    a_to_a = nn.Sequential(encode_a, start.decode_a)
    w_to_w = nn.Sequential(encode_w, start.decode_w)
    w_to_a = nn.Sequential(encode_w, start.decode_a)
    a_to_w = nn.Sequential(encode_a, start.decode_w)
    optimiser = torch.optim.Adam(start.parameters(), lr=STEP_SIZE, foreach=False, fused=False)
    order = Shuffled(len(descriptors), generator)
    # A generator of its own: the loader draws a number that it does not use here.
    loader = DataLoader(
        Classes(descriptors, rows), BATCH, sampler=order, generator=torch.Generator()
    )
    losses = []
    for _ in range(epochs):
        total = 0.0
        for a, w, seen in loader:
            terms = [_distance(a_to_a(a), a)]
            if seen.any():
                known_a, known_w = a[seen], w[seen]
                terms.append(_distance(w_to_w(known_w), known_w))
                terms.append(_distance(w_to_a(known_w), known_a))
                terms.append(_distance(a_to_w(known_a), known_w))
            optimiser.zero_grad()
            torch.stack(terms).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += sum(term.item() for term in terms)
        losses.append(total / len(loader))
    return Trained(tuple(losses), a_to_w)


def _distance(output: Tensor, target: Tensor) -> Tensor:
    return (1 - functional.cosine_similarity(output, target)).mean()

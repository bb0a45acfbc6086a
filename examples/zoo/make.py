"""Make a small zoo to try ``icis`` with: a classifier of 48 animals that lacks three of the table.

    python examples/zoo/make.py zoo

``animals.csv``, beside this file, describes 51 animals by 32 attributes; values are 0, 0.5 or 1,
written down by hand. The folder that is made holds a copy of it and

- ``resnet18.pt``: torchvision's ResNet-18 for the first 48 animals, a plain state dict. Its final
  layer is trained, on made-up inputs; the layers before it are random, so photographs mean nothing
  to it.
- ``classes.txt``: the names of these 48, in the order of the final layer.
- ``test.npz``: inputs of the final layer for all 51 animals, and their names, to test with.
"""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision

TABLE = Path(__file__).with_name("animals.csv")

#: Animals of the table that the classifier is trained on; the others are new.
SEEN = 48

#: Made-up samples of an animal: to train with, to test with.
_TRAINING, _TEST = 20, 10

_STEPS = 150

#: How many looks of an animal the table says nothing of, and how strong they are.
_UNTOLD, _UNTOLD_SIZE = 16, 0.5


def make_zoo(folder: Path) -> None:
    """Write the four files; the same ones each time."""
    folder.mkdir(parents=True, exist_ok=True)
    names, attributes = read_table()
    generator = torch.Generator().manual_seed(0)
    untold = _UNTOLD_SIZE * torch.randn(len(names), _UNTOLD, generator=generator)
    looks = torch.cat([attributes, untold], dim=1)
    mixing = torch.randn(looks.shape[1], 512, generator=generator)
    train = _samples(looks[:SEEN], mixing, _TRAINING, generator)
    test = _samples(looks, mixing, _TEST, generator)
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=SEEN)
    _train(network.fc, train)
    shutil.copyfile(TABLE, folder / "animals.csv")
    torch.save(network.state_dict(), folder / "resnet18.pt")
    (folder / "classes.txt").write_text("\n".join(names[:SEEN]) + "\n", encoding="utf-8")
    labels = np.repeat(np.array(names), _TEST)
    np.savez(folder / "test.npz", features=test.flatten(0, 1).numpy(), labels=labels)


def read_table() -> tuple[list[str], torch.Tensor]:
    """Return the names of all animals and their attributes (51, 32)."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        _, *lines = csv.reader(file)
    values = [[float(value) for value in line[1:]] for line in lines]
    return [line[0] for line in lines], torch.tensor(values)


def _samples(
    looks: torch.Tensor, mixing: torch.Tensor, count: int, generator: torch.Generator
) -> torch.Tensor:
    """Return inputs (classes, count, 512): looks (classes, L) that show more or less, mixed."""
    shape = (len(looks), count, looks.shape[1])
    shown = looks[:, None] + 0.5 * torch.randn(shape, generator=generator)
    noise = torch.randn(shape[0], count, mixing.shape[1], generator=generator)
    return torch.relu(shown @ mixing / 4 + 0.5 * noise)


def _train(head: torch.nn.Linear, samples: torch.Tensor) -> None:
    """Train a final layer on samples (classes, count, D), all at once."""
    inputs = samples.flatten(0, 1)
    labels = torch.arange(len(samples)).repeat_interleave(samples.shape[1])
    optimiser = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.05)
    for _ in range(_STEPS):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


if __name__ == "__main__":
    make_zoo(Path(sys.argv[1] if len(sys.argv) > 1 else "zoo"))

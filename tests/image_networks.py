"""Networks and pictures for the tests of images."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
import pytest
import torch
from PIL import Image

import icis_cli as icis
from icis_cli import Checkpoint, PreprocessingOptions
from icis_cli.checkpoint.base import Edit, Extras
from icis_cli.evaluation.networks.registry import load_network
from icis_cli.evaluation.networks.running import network_on

CLASSES = 7


class Outline(Checkpoint):
    """A checkpoint that has names and shapes, and nothing else."""

    def raw(self, key: str) -> bytes:
        raise NotImplementedError

    def write_copy(self, stream: IO[bytes], edits: Mapping[str, Edit], extras: Extras) -> None:
        raise NotImplementedError

    @classmethod
    def write_converted(
        cls, stream: IO[bytes], source: Checkpoint, edits: Mapping[str, Edit], extras: Extras
    ) -> None:
        raise NotImplementedError


def forbid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test fail that wants to reach the network."""

    def refuse(*_: Any) -> None:
        pytest.fail("something wants to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def picture(size: tuple[int, int] = (70, 50)) -> Any:
    patches = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def settled(model: torch.nn.Module, size: int = 64) -> torch.nn.Module:
    """Fit running statistics, or signals of a new network fade to nothing."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(4, 3, size, size))
    return model.eval()


def saved(tmp_path, state: Any) -> Checkpoint:
    path = tmp_path / f"m{len(list(tmp_path.iterdir()))}.pt"  # another, as files are mapped
    torch.save(state, path)
    return icis.open_checkpoint(path)


def loaded(checkpoint, arch=None, **options):
    return load_network(
        checkpoint, icis.find_head(checkpoint), arch, PreprocessingOptions(**options)
    )


def answers(network, image):
    return network_on("cpu", network).logits(network.preprocessing(image)[None])[0]

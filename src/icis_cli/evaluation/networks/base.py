"""What a library of networks must do for us, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.evaluation.preprocessing import Transform

#: The tensors of a network: key -> shape.
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Built:
    """A network with the tensors of a checkpoint in it.

    Attributes:
        model: a torch module, images (B, 3, H, W) -> logits (B, C), or something with such
            ``logits``.
        preprocessing: the network's own.
        key: how it calls what the checkpoint calls by another key.
        notes: what a person should know.
        warnings: what may well be wrong.

    """

    model: Any
    preprocessing: Transform
    key: Callable[[str], str]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Source(Protocol):
    """A library of networks.

    Attributes:
        name: what stands before the slash of ``--arch timm/resnet50``.

    """

    name: str

    def knows(self, arch: str) -> bool:
        """Tell whether it has a classifier of this name; no, where it is not installed."""

    def near(self, arch: str) -> list[str]:
        """Return the names that it has and that are most like this one.

        Raises:
            InstallationError: it is not installed.

        """

    def guesses(self, checkpoint: Checkpoint, classes: int) -> list[str]:
        """Return the names of its networks that have just the tensors of a checkpoint."""

    def misfit(self, arch: str, checkpoint: Checkpoint, classes: int) -> str | None:
        """Say how the tensors of a checkpoint differ from a network's, without building that.

        Raises:
            CheckpointError: what the checkpoint says about its network cannot be.

        """

    def build(self, arch: str, checkpoint: Checkpoint, classes: int) -> Built:
        """Build a network and load a checkpoint into it, strictly.

        Raises:
            CheckpointError: it does not load.

        """

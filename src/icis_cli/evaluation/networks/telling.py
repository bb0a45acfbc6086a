"""Which network a checkpoint is of, told for people without building or loading it."""

from __future__ import annotations

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.evaluation.networks.loading import is_plain
from icis_cli.evaluation.networks.timm import Timm
from icis_cli.evaluation.networks.torchvision import Torchvision


def network_of(checkpoint: Checkpoint, classes: int) -> str | None:
    """Return the library and name of a network, e.g. ``"torchvision/resnet50"``.

    Where the checkpoint names the library, too, it is believed; a name alone must be that of a
    network with just its tensors.

    Args:
        checkpoint: an opened checkpoint.
        classes: K, rows of its head.

    Returns:
        None where it is not known, or where several networks have these tensors.

    Raises:
        InstallationError: torchvision is needed to tell, and is broken.

    """
    told = checkpoint.labels.arch
    if told is None:
        fitting = Torchvision().guesses(checkpoint, classes)
        return f"torchvision/{fitting[0]}" if len(fitting) == 1 else None
    library, slash, name = told.partition("/")
    if slash:
        return told if is_plain(library) and is_plain(name) else None
    for source in (Torchvision(), Timm()):
        if source.knows(told) and source.misfit(told, checkpoint, classes) is None:
            return f"{source.name}/{told}"
    return None

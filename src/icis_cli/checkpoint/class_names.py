"""Names of a head's rows: from the checkpoint, from torchvision, or ImageNet's where they fit.

A state dict has no class names. torchvision knows those of the files that it publishes, which are
told by their name and the start of their sha256, as its own download checks them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.descriptors.names import simplified
from icis_cli.runtime import import_torchvision

#: What stands for the 1000 names in the order of ImageNet-1k, instead of a file that lists them.
IMAGENET = "imagenet-1k"

_PUBLISHED = re.compile(r".+-([0-9a-f]{8})\.pth")


@dataclass(frozen=True)
class HeadNames:
    """Class names of a head's rows, in order.

    Attributes:
        names: K names.
        source: where they are from, for people.

    """

    names: tuple[str, ...]
    source: str


def head_names(checkpoint: Checkpoint, rows: int) -> HeadNames | None:
    """Return the names that a checkpoint, or torchvision, has for its ``rows`` rows, or None.

    A record of injected rows would know better.
    """
    own = checkpoint.labels.class_names
    if own is not None:
        return HeadNames(own, "the checkpoint")
    published = _published(checkpoint)
    if published is not None and len(published) == rows:
        return HeadNames(published, "torchvision, which publishes this file")
    return None


def imagenet_if_described(rows: int, described: Sequence[str] | None) -> HeadNames | None:
    """Take a head of 1000 rows to be in ImageNet's order, if all its classes are described.

    Args:
        rows: K.
        described: names of the classes that there are descriptors of.

    """
    if rows != 1000 or described is None or len(described) < rows:
        return None
    names = imagenet_names()
    there = {simplified(name) for name in described}
    if not all(simplified(name) in there for name in names):
        return None
    return HeadNames(names, "ImageNet-1k, as it has 1000 rows and all 1000 are described")


def imagenet_names() -> tuple[str, ...]:
    """Return the 1000 class names of ImageNet-1k in its order, as torchvision spells them."""
    weights = import_torchvision().models.get_model_weights("resnet18")
    return tuple(weights.DEFAULT.meta["categories"])


def _published(checkpoint: Checkpoint) -> tuple[str, ...] | None:
    """Return the class names of a file that torchvision publishes."""
    named = _PUBLISHED.fullmatch(checkpoint.path.name)
    if named is None:
        return None
    models = import_torchvision().models
    for arch in models.list_models(module=models):
        for weights in models.get_model_weights(arch):
            same = weights.url.rpartition("/")[2] == checkpoint.path.name
            if same and checkpoint.sha256().startswith(named[1]):
                return tuple(weights.meta["categories"])
    return None

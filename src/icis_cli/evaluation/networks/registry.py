"""Which network a checkpoint is of, and which library builds it; one line per library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.head import Head
from icis_cli.checkpoint.onnx import OnnxCheckpoint
from icis_cli.errors import UsageError
from icis_cli.evaluation.networks.base import Source
from icis_cli.evaluation.networks.efficientnet_lite import EfficientNetLite
from icis_cli.evaluation.networks.loading import does_not_load
from icis_cli.evaluation.networks.timm import Timm
from icis_cli.evaluation.networks.torchvision import Torchvision
from icis_cli.evaluation.networks.transformers import Transformers
from icis_cli.evaluation.preprocessing import PreprocessingOptions, Transform

#: In the order in which they are asked for a name that does not say whose it is.
SOURCES: tuple[Source, ...] = (
    Torchvision(),
    Timm(),
    Transformers(),
    EfficientNetLite(),
)

_OWN_STEPS = PreprocessingOptions()
_HINT = "pass --arch, e.g. --arch resnet50 (torchvision) or --arch timm/vit_tiny_patch16_224"


@dataclass(frozen=True)
class ImageNetwork:
    """The network of a checkpoint, loaded, with its preprocessing.

    Attributes:
        name: its library and architecture, e.g. ``"torchvision/resnet50"``.
        found: how it was found, for people.
        model: a torch module, images (B, 3, H, W) -> logits (B, K+U), or something with such
            ``logits``.
        layers: names of the modules in it that are the head.
        preprocessing: what is done with an image first.
        checkpoint: where it comes from, for messages.
        notes: what a person should know.
        warnings: what may well be wrong.

    """

    name: str
    found: str
    model: Any
    layers: tuple[str, ...]
    preprocessing: Transform
    checkpoint: Checkpoint
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return which network it is and what is done with images first, JSON-ready."""
        return {
            "name": self.name,
            "found": self.found,
            "preprocessing": self.preprocessing.to_json(),
        }


def load_network(
    checkpoint: Checkpoint,
    head: Head,
    arch: str | None = None,
    options: PreprocessingOptions = _OWN_STEPS,
) -> ImageNetwork:
    """Build the network of a checkpoint and load it, strictly.

    Args:
        checkpoint: an opened checkpoint.
        head: of it.
        arch: e.g. ``"resnet50"`` or ``"timm/resnet50"``; None where the checkpoint tells, or where
            its tensors fit one known network alone.
        options: what shall be done with images otherwise than the network's own preprocessing
            does it.

    Raises:
        UsageError: the network is not known, or is a graph of ONNX, or the options contradict its
            preprocessing.
        CheckpointError: the checkpoint does not load into it.
        InstallationError: the library that has it is not installed.

    """
    if isinstance(checkpoint, OnnxCheckpoint):
        raise UsageError(
            f"{checkpoint.path} is an ONNX model: icis reads its weights, but does not run it",
            "give images with the PyTorch checkpoint that it was exported from, or run it yourself "
            "and give what goes into its final layer as --features",
        )
    classes = len(head.weight)
    source, name, found = _choose(checkpoint, arch, classes)
    problem = source.misfit(name, checkpoint, classes)
    if problem is not None:
        raise does_not_load(checkpoint, name, problem)
    built = source.build(name, checkpoint, classes)
    preprocessing = built.preprocessing.changed(options)
    full = f"{source.name}/{name}"
    return ImageNetwork(
        full,
        found,
        built.model,
        tuple(built.key(layer) for layer in head.layers),
        preprocessing,
        checkpoint,
        (f"network {full}, {found}", f"images: {preprocessing}", *built.notes),
        built.warnings,
    )


def _choose(checkpoint: Checkpoint, arch: str | None, classes: int) -> tuple[Source, str, str]:
    """Return a library, the name of a network of it, and how that was found.

    Raises:
        UsageError: none is known, or several fit.
        InstallationError: as in :func:`load_network`.

    """
    if arch is not None:
        chosen = _named(checkpoint, arch, classes)
        if chosen is None:
            raise _unknown(arch)
        return *chosen, "as given by --arch"
    told = checkpoint.labels.arch
    if told is not None:
        chosen = _named(checkpoint, told, classes)
        if chosen is not None:
            return *chosen, "as the checkpoint says"
    fitting = [(one, name) for one in SOURCES for name in one.guesses(checkpoint, classes)]
    if len(fitting) == 1:
        return *fitting[0], "the only one known with just these tensors"
    if fitting:
        listed = ", ".join(f"{one.name}/{name}" for one, name in fitting)
        raise UsageError(
            f"{checkpoint.path} may be of several networks: {listed}",
            f"name it, e.g. --arch {fitting[0][0].name}/{fitting[0][1]}",
        )
    says = "does not say which network it is of" if told is None else f"says it is of {told!r}"
    raise UsageError(f"{checkpoint.path} {says}, and its tensors fit none that is known", _HINT)


def _named(checkpoint: Checkpoint, arch: str, classes: int) -> tuple[Source, str] | None:
    """Return the library and the name of a network, None where nobody has it.

    Several libraries use the same names: the first one whose network has just the checkpoint's
    tensors is taken, else the first one.
    """
    prefix, slash, name = arch.partition("/")
    if slash:
        source = next((one for one in SOURCES if one.name == prefix), None)
        if source is None:
            return None
        if not source.knows(name):
            near = source.near(name)  # tells, too, what is not installed
            raise _unknown(arch, tuple(f"{prefix}/{one}" for one in near))
        return source, name
    first = None
    for source in SOURCES:  # the later ones take long to import
        if source.knows(arch):
            if source.misfit(arch, checkpoint, classes) is None:
                return source, arch
            first = first or source
    return None if first is None else (first, arch)


def _unknown(arch: str, near: tuple[str, ...] = ()) -> UsageError:
    similar = near or tuple(SOURCES[0].near(arch))
    hint = f"did you mean {' or '.join(similar)}?" if similar else _HINT
    if "/" in arch:
        return UsageError(f"there is no classifier {arch!r}", hint)
    return UsageError(f"torchvision has no classifier {arch!r}, nor has timm, as far as it is "
                      "installed", hint)  # fmt: skip

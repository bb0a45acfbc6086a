"""Networks of torchvision, with the preprocessing that its own weights of them want.

Imports torch and torchvision inside functions.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any

from icis_cli.checkpoint.architectures import layout_of
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.linear_layers import strip_prefixes
from icis_cli.evaluation.networks.base import Built
from icis_cli.evaluation.networks.loading import load_strictly
from icis_cli.evaluation.networks.outline import misfit, weights_outline
from icis_cli.evaluation.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
)
from icis_cli.quiet import quietly
from icis_cli.runtime import import_torchvision

#: Networks with heads that take part in training alone; they change the scale of pixels, too.
_INCEPTIONS = ("googlenet", "inception_v3")

#: How names of networks begin, where that is not the name of their family.
_BEGINNINGS = {"ResNet": ("resne", "wide_resne")}


class Torchvision:
    """Classifiers of ``torchvision.models``."""

    name = "torchvision"

    def knows(self, arch: str) -> bool:
        return arch in _names()

    def near(self, arch: str) -> list[str]:
        return difflib.get_close_matches(arch, _names(), n=3)

    def guesses(self, checkpoint: Checkpoint, classes: int) -> list[str]:
        bare = {strip_prefixes(key) for key in checkpoint.tensors}
        layout = layout_of(bare)
        if layout is None:
            return []
        candidates = [name for name in _names() if _is_of(name, layout.family)]
        return [name for name in candidates if self.misfit(name, checkpoint, classes) is None]

    def misfit(self, arch: str, checkpoint: Checkpoint, classes: int) -> str | None:
        build = partial(_model, arch, checkpoint, classes)
        with quietly():
            network = weights_outline(build, len(checkpoint.tensors))
        return misfit(_answering(arch, checkpoint), network)

    def build(self, arch: str, checkpoint: Checkpoint, classes: int) -> Built:
        with quietly():
            model = _model(arch, checkpoint, classes)
        key = load_strictly(model, _answering(arch, checkpoint), arch)
        return Built(model, _preprocessing(arch, checkpoint), key, _notes(arch))


def _names() -> Collection[str]:
    models = import_torchvision().models
    names: list[str] = models.list_models(module=models)
    return names


def _is_of(name: str, family: str) -> bool:
    """Tell whether a network is of a family of layouts, e.g. ``"AlexNet or VGG"``."""
    plain = name.replace("_", "")
    parts = (part.replace(" ", "").casefold() for part in family.split(" or "))
    return name.startswith(_BEGINNINGS.get(family, ())) or plain.startswith(tuple(parts))


def _model(arch: str, checkpoint: Checkpoint, classes: int) -> Any:
    options: dict[str, Any] = {}
    if arch in _INCEPTIONS:
        options = {"init_weights": False, "aux_logits": False, "transform_input": False}
    size = _image_size(checkpoint)
    if arch.startswith("vit_") and size is not None:
        options = {"image_size": size}
    models = import_torchvision().models
    return models.get_model(arch, weights=None, num_classes=classes, **options)


def _answering(arch: str, checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint without what takes part in training alone."""
    if arch not in _INCEPTIONS:
        return checkpoint
    asides = {"aux1", "aux2", "AuxLogits"}
    found = {key: strip_prefixes(key) for key in checkpoint.tensors}
    return checkpoint.without(
        {
            key.removesuffix(bare) + bare.partition(".")[0]
            for key, bare in found.items()
            if bare.partition(".")[0] in asides
        }
    )


def _image_size(checkpoint: Checkpoint) -> int | None:
    """Return the side of the images that a ViT is for: it has a position for each patch."""
    shapes = {strip_prefixes(key): info.shape for key, info in checkpoint.tensors.items()}
    positions = shapes.get("encoder.pos_embedding", ())
    patches = shapes.get("conv_proj.weight", ())
    if len(positions) != 3 or len(patches) != 4:
        return None
    rows = math.isqrt(max(positions[1] - 1, 0))
    return rows * patches[-1] if rows and rows * rows == positions[1] - 1 else None


def _preprocessing(arch: str, checkpoint: Checkpoint) -> Preprocessing:
    weights = import_torchvision().models.get_model_weights(arch)
    known = [_steps(entry.transforms()) for entry in (weights.DEFAULT, *weights)]
    found = known[0]
    size = _image_size(checkpoint)
    if arch.startswith("vit_") and size is not None and found.crop != size:
        # Some weights are for larger images: those of this very size tell best.
        same = [steps for steps in known if steps.crop == size]
        found = same[0] if same else replace(found, resize=round(size * 256 / 224), crop=size)
    if arch in _INCEPTIONS:
        # With transform_input the network itself does this to pixels scaled like ImageNet's.
        found = replace(found, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return found


def _steps(own: Any) -> Preprocessing:
    """Return what torchvision's ``ImageClassification`` does."""
    (resize,), (crop,) = own.resize_size, own.crop_size
    return Preprocessing(resize, crop, tuple(own.mean), tuple(own.std), own.interpolation.value)


def _notes(arch: str) -> tuple[str, ...]:
    if arch not in _INCEPTIONS:
        return ()
    mean, std = (",".join(map(str, colour)) for colour in (IMAGENET_MEAN, IMAGENET_STD))
    note = (
        f"{arch} gets pixels from -1 to 1, as torchvision's own weights of it do "
        f"(transform_input); if it was trained without them: --mean {mean} --std {std}"
    )
    return (note,)

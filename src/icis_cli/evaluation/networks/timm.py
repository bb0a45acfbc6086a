"""Networks of timm, by name or as the ``config.json`` of a folder says.

Nothing is downloaded, and what ``config.json`` says of the network is believed only as far as its
tensors are those of the checkpoint. Imports torch and timm inside functions.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.errors import CheckpointError, first_line
from icis_cli.evaluation.networks.base import Built
from icis_cli.evaluation.networks.config import config_of, require_sane_sizes
from icis_cli.evaluation.networks.loading import (
    does_not_load,
    is_plain,
    load_strictly,
)
from icis_cli.evaluation.networks.outline import (
    TooLargeError,
    misfit,
    outline,
    weights_outline,
)
from icis_cli.evaluation.preprocessing import (
    LARGEST_SIDE,
    LibraryTransform,
    Preprocessing,
    Transform,
)
from icis_cli.quiet import offline, quietly
from icis_cli.runtime import import_extra

#: What a ``config.json`` may say about preprocessing and the input.
_PRETRAINED = (
    "input_size", "fixed_input_size", "min_input_size", "pool_size", "interpolation", "crop_pct",
    "crop_mode", "mean", "std", "first_conv", "classifier",
)  # fmt: skip

#: Arguments of ``timm.create_model`` that are none of the network: some of them read files.
NO_MODEL_ARGS = frozenset(
    {"model_name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path",
     "cache_dir", "scriptable", "exportable", "no_jit", "pretrained_model_args", "features_only",
     "device", "dtype"}
)  # fmt: skip


class Timm:
    """Classifiers of timm."""

    name = "timm"

    def knows(self, arch: str) -> bool:
        if not is_plain(arch) or importlib.util.find_spec("timm") is None:
            return False
        known: bool = import_timm().is_model(arch)
        return known

    def near(self, arch: str) -> list[str]:
        names: list[str] = import_timm().list_models()
        return difflib.get_close_matches(arch, names, n=3)

    def guesses(self, checkpoint: Checkpoint, classes: int) -> list[str]:  # noqa: ARG002
        return []  # a thousand networks, many of which differ in nothing that a tensor shows

    def misfit(self, arch: str, checkpoint: Checkpoint, classes: int) -> str | None:
        said = _said(arch, checkpoint)
        build = partial(_model, arch, said, classes)
        count = len(checkpoint.tensors)
        try:
            with quietly(), offline():
                network = outline(build, count)
        except TooLargeError:
            return "the network has far more tensors"
        except Exception as error:  # whatever a stranger's arguments lead to
            if said.arguments:
                raise _unusable(checkpoint, arch, error) from None
            with quietly(), offline():
                network = weights_outline(build, count)
        return misfit(checkpoint, network)

    def build(self, arch: str, checkpoint: Checkpoint, classes: int) -> Built:
        said = _said(arch, checkpoint)
        try:
            with quietly(), offline():
                model = _model(arch, said, classes)
                preprocessing = preprocessing_of(model)
        except Exception as error:
            raise _unusable(checkpoint, arch, error) from None
        return Built(model, preprocessing, load_strictly(model, checkpoint, arch))


@dataclass(frozen=True)
class _Said:
    """What a ``config.json`` says: arguments of the network, and about its input."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    pretrained: Mapping[str, Any] | None = None


def import_timm() -> Any:
    """Import timm.

    Raises:
        InstallationError: it is not installed.

    """
    with quietly():
        return import_extra("timm", "timm", "a network of timm")


def require_model_args(checkpoint: Checkpoint, arguments: object) -> dict[str, Any]:
    """Return what a ``config.json`` says are arguments of the network.

    Raises:
        CheckpointError: they are none.

    """
    if arguments is None:
        return {}
    if not isinstance(arguments, dict) or arguments.keys() & NO_MODEL_ARGS:
        raise CheckpointError(
            checkpoint.path,
            "its config.json has model_args that are no settings of a network",
            "remove them, or name the network with --arch",
        )
    # How many classes there are, the head itself tells.
    return {key: value for key, value in arguments.items() if key != "num_classes"}


def preprocessing_of(model: Any) -> Transform:
    """Return the preprocessing of a model of timm."""
    timm = import_timm()
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)
    plainly = _plainly(config)
    settings = {key: list(v) if isinstance(v, tuple) else v for key, v in config.items()}
    return plainly or LibraryTransform(transform, "timm's own transform", settings)


def _plainly(config: Mapping[str, Any]) -> Preprocessing | None:
    """Return what timm does in our own steps, where these can do it."""
    _, height, width = config["input_size"]
    mode, share = config["crop_mode"], config["crop_pct"]
    resized = math.floor(height / share), math.floor(width / share)
    if max(resized) > LARGEST_SIDE:
        raise ValueError(f"images of {max(resized)} pixels")
    if mode not in ("center", "squash") or (mode == "center" and resized[0] != resized[1]):
        return None
    (red, green, blue), spread = map(float, config["mean"]), tuple(map(float, config["std"]))
    return Preprocessing(
        resized if mode == "squash" else resized[0],
        (height, width) if height != width else height,
        (red, green, blue),
        (spread[0], spread[1], spread[2]),
        config["interpolation"],
    )


def _said(arch: str, checkpoint: Checkpoint) -> _Said:
    """Read what the ``config.json`` of a checkpoint says about this network."""
    if checkpoint.labels.arch != f"timm/{arch}":
        return _Said()  # it is about another one, or there is none
    content = config_of(checkpoint)
    if content is None or content.get("architecture") != arch:
        return _Said()
    found = content.get("pretrained_cfg", content)
    if not isinstance(found, dict):
        return _Said(require_model_args(checkpoint, content.get("model_args")))
    require_sane_sizes(checkpoint, found)
    return _Said(
        require_model_args(checkpoint, content.get("model_args")),
        {key: found[key] for key in _PRETRAINED if found.get(key) is not None},
    )


def _model(arch: str, said: _Said, classes: int) -> Any:
    own = {} if said.pretrained is None else {"pretrained_cfg": dict(said.pretrained)}
    return import_timm().create_model(
        arch, pretrained=False, num_classes=classes, **own, **said.arguments
    )


def _unusable(checkpoint: Checkpoint, arch: str, error: Exception) -> CheckpointError:
    return does_not_load(checkpoint, arch, f"timm cannot build it ({first_line(error)})")

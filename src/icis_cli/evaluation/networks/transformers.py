"""Image classifiers of Hugging Face's transformers, as the ``config.json`` of their folder says.

Nothing is downloaded and no code of the folder is run. Imports torch and transformers inside
functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.torch_pickle import state_dict_of
from icis_cli.errors import CheckpointError, IcisError, first_line
from icis_cli.evaluation.networks.base import Built
from icis_cli.evaluation.networks.config import config_of
from icis_cli.evaluation.networks.loading import does_not_load, is_plain
from icis_cli.evaluation.networks.outline import TooLargeError, outline
from icis_cli.evaluation.networks.processors import preprocessing_of
from icis_cli.evaluation.networks.timm import require_model_args
from icis_cli.quiet import offline, quietly
from icis_cli.runtime import import_extra

#: A network may have so many times the numbers of its checkpoint, e.g. where it shares tensors.
_ROOM = 2
_ROOM_BESIDE = 1 << 20

#: Settings that choose how things are computed, or where they come from: ours to say.
_OURS = (
    "auto_map", "attn_implementation", "experts_implementation", "quantization_config", "dtype",
    "torch_dtype", "use_kernels", "name_or_path",
)  # fmt: skip


#: What the names of its classes have in common.
_ENDING = "ForImageClassification"


class Transformers:
    """Classifiers that ``transformers.AutoModelForImageClassification`` has."""

    name = "transformers"

    def knows(self, arch: str) -> bool:
        return _ENDING in arch  # the class alone is no network: all else is in its configuration

    def near(self, arch: str) -> list[str]:  # noqa: ARG002
        return []

    def guesses(self, checkpoint: Checkpoint, classes: int) -> list[str]:  # noqa: ARG002
        return []

    def misfit(self, arch: str, checkpoint: Checkpoint, classes: int) -> str | None:
        kind, config = _said(arch, checkpoint, classes)
        try:
            with quietly(), offline():
                network = outline(partial(kind, config()), len(checkpoint.tensors))
        except TooLargeError:
            return "the network has far more tensors"
        except Exception as error:  # whatever a stranger's settings lead to
            raise _unusable(checkpoint, arch, error) from None
        # Names differ by version of transformers, which knows how to turn one into the other.
        numbers = sum(_count(shape) for shape in network.values())
        there = sum(info.count for info in checkpoint.tensors.values())
        if numbers > _ROOM * there + _ROOM_BESIDE:
            return f"the network has {numbers:,} numbers, the checkpoint {there:,}"
        return None

    def build(self, arch: str, checkpoint: Checkpoint, classes: int) -> Built:
        kind, config = _said(arch, checkpoint, classes)
        try:
            with quietly(), offline():
                model, found = kind.from_pretrained(
                    None,
                    config=config(),
                    state_dict=state_dict_of(checkpoint),
                    output_loading_info=True,
                )
                preprocessing, warnings = preprocessing_of(checkpoint, model)
        except IcisError:
            raise
        except Exception as error:
            raise _unusable(checkpoint, arch, error) from None
        for what, words in (
            ("missing_keys", "the network has {}, which the checkpoint lacks"),
            ("unexpected_keys", "the checkpoint has {}, which the network lacks"),
            ("mismatched_keys", "{} has another shape"),
        ):
            if found[what]:
                raise does_not_load(
                    checkpoint, arch, words.format(sorted(map(str, found[what]))[0])
                )
        return Built(model.float(), preprocessing, _same, warnings=warnings)


def _said(arch: str, checkpoint: Checkpoint, classes: int) -> tuple[Any, Callable[[], Any]]:
    """Return the class of a checkpoint's network, and what makes its configuration.

    Raises:
        CheckpointError: there is no configuration, or not of an image classifier.
        InstallationError: transformers is not installed.

    """
    content = config_of(checkpoint)
    if content is None or not isinstance(content.get("model_type"), str):
        raise CheckpointError(
            checkpoint.path,
            "has no config.json of transformers beside it, which says what network it is of",
            "give the folder that icis inject has written",
        )
    content = _without_ours(content)
    if content["model_type"] == "timm_wrapper":
        if not is_plain(content.get("architecture")):
            raise CheckpointError(checkpoint.path, "its config.json names no network of timm")
        require_model_args(checkpoint, content.get("model_args"))
    with quietly():
        transformers = import_extra("transformers", "hf", "a network of transformers")
        mapping = transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
        kinds = transformers.CONFIG_MAPPING
        known = content["model_type"] in kinds and kinds[content["model_type"]] in mapping
    if not known:
        raise CheckpointError(
            checkpoint.path,
            f"its config.json says {content['model_type']!r}, which is no image classifier of "
            f"transformers {transformers.__version__}",
            "use features instead of images: --features",
        )
    found = mapping[kinds[content["model_type"]]]
    choice = found if isinstance(found, tuple) else (found,)
    kind = next((one for one in choice if one.__name__ == arch), choice[0])

    def config() -> Any:
        made = kinds[content["model_type"]].from_dict(dict(content))
        if made.num_labels != classes:
            made.num_labels = classes
        return made

    return kind, config


def _without_ours(content: Any) -> Any:
    """Return settings without those that are ours to say, at any depth."""
    if isinstance(content, list):
        return [_without_ours(value) for value in content]
    if not isinstance(content, dict):
        return content
    return {
        key: _without_ours(value)
        for key, value in content.items()
        if key not in _OURS and not key.startswith("_")
    }


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


def _same(key: str) -> str:
    return key


def _unusable(checkpoint: Checkpoint, arch: str, error: Exception) -> CheckpointError:
    return does_not_load(checkpoint, arch, f"transformers cannot build it ({first_line(error)})")

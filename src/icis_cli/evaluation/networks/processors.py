"""The preprocessing of Hugging Face's image classifiers: their own image processors.

Imports torch and transformers inside functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.evaluation.networks import timm
from icis_cli.evaluation.networks.config import config_of, folder_of, require_sane_sizes
from icis_cli.evaluation.preprocessing import LibraryTransform, Preprocessing, Transform
from icis_cli.runtime import import_extra

_PROCESSOR = "preprocessor_config.json"
#: Where a processor lies; newer ones beside others in the second.
_FILES = (_PROCESSOR, "processor_config.json")

#: Share of the shorter side that is commonly cut out.
_SHARE = 0.875

#: How Pillow numbers what torchvision calls by name.
_RESAMPLING = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")

#: Two ways to resize pixels differ by so much on average, of 255, where they mean the same.
_ROUNDING = 2.0


def preprocessing_of(checkpoint: Checkpoint, model: Any) -> tuple[Transform, tuple[str, ...]]:
    """Return the image processor of a checkpoint's folder, and warnings.

    Args:
        checkpoint: an opened checkpoint.
        model: its network.

    Raises:
        CheckpointError: its sizes cannot be.

    """
    there = [found for name in _FILES if (found := config_of(checkpoint, name)) is not None]
    if not there and model.config.model_type == "timm_wrapper":
        wrapped = config_of(checkpoint) or {}
        if "pretrained_cfg" not in wrapped:
            return timm.preprocessing_of(model.timm_model), ()
        there = [wrapped]
    if not there:
        return _presumed(checkpoint, model.config)
    for found in there:
        for part in (found, found.get("image_processor"), found.get("pretrained_cfg")):
            if isinstance(part, dict):
                require_sane_sizes(checkpoint, part)
    transformers = import_extra("transformers", "hf", "a network of transformers")
    processor = transformers.AutoImageProcessor.from_pretrained(
        str(folder_of(checkpoint)), local_files_only=True, trust_remote_code=False
    )
    transform = Processor(processor)
    name = type(processor).__name__
    return LibraryTransform(transform, name, _settings(processor), _plainly(transform)), ()


@dataclass(frozen=True)
class Processor:
    """An image processor as a function of one image."""

    processor: Any

    def __call__(self, image: Any) -> Any:
        return self.processor(images=image, return_tensors="pt")["pixel_values"][0]


def _presumed(checkpoint: Checkpoint, config: Any) -> tuple[Transform, tuple[str, ...]]:
    """Return what most networks want for images of their size, and say that it is a guess."""
    size = getattr(config, "image_size", None)
    side = size[0] if isinstance(size, list | tuple) and size else size
    side = side if isinstance(side, int) and side > 0 else 224
    require_sane_sizes(checkpoint, {"image_size": round(side / _SHARE)})
    found = Preprocessing(round(side / _SHARE), side)
    warning = (
        f"{folder_of(checkpoint)} has no {_PROCESSOR}: images are prepared as is usual "
        f"({found}); --resize, --crop, --mean, --std and --interpolation change that"
    )
    return found, (warning,)


def _settings(processor: Any) -> dict[str, Any]:
    """Return the settings of a processor that are plain values."""
    return {
        key: value
        for key, value in processor.to_dict().items()
        if isinstance(value, bool | int | float | str)
        or (isinstance(value, list | dict) and _is_plain(value))
    }


def _is_plain(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value
    return all(isinstance(part, bool | int | float | str | None) for part in parts)


def _plainly(transform: Processor) -> Preprocessing | None:
    """Return the same in our own steps, if they do the same to a picture."""
    processor = transform.processor
    try:
        size, crop = (_size(getattr(processor, name, None)) for name in ("size", "crop_size"))
        scaled = processor.do_normalize
        found = Preprocessing(
            size if processor.do_resize else None,
            crop if getattr(processor, "do_center_crop", False) else None,
            tuple(processor.image_mean) if scaled else (0.0, 0.0, 0.0),
            tuple(processor.image_std) if scaled else (1.0, 1.0, 1.0),
            _RESAMPLING[int(processor.resample)],
        )
        image = _picture()
        ours, theirs = (np.asarray(steps(image)) for steps in (found, transform))
    except Exception:  # settings that mean something else there, or nothing here
        return None
    if ours.shape != theirs.shape:
        return None
    differences = np.abs(ours - theirs) * np.array(found.std)[:, None, None] * 255
    return found if differences.mean() < _ROUNDING else None


def _size(size: Any) -> Any:
    """Return what processors call a size as we do."""
    if size is None:
        return None
    given = {key: value for key, value in dict(size).items() if value is not None}
    if given.keys() == {"height", "width"}:
        return given["height"], given["width"]
    (only,) = given.items()
    if only[0] != "shortest_edge":
        raise ValueError(only[0])
    return only[1]


def _picture() -> Any:
    """Return a smooth picture that is not square, and different in each colour."""
    from PIL import Image

    patches = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((420, 300), Image.Resampling.BICUBIC)

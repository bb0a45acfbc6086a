"""How an image becomes what a network takes: resized, cut out, scaled.

Torchvision is imported inside functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from icis_cli.errors import UsageError
from icis_cli.runtime import import_torchvision

#: The shorter side in pixels, or height and width.
Size = int | tuple[int, int]

#: One number for each of red, green and blue.
Colour = tuple[float, float, float]

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
IMAGENET_MEAN: Colour = (0.485, 0.456, 0.406)
IMAGENET_STD: Colour = (0.229, 0.224, 0.225)

#: No network takes larger images; a file that asks for them would only fill the memory.
LARGEST_SIDE = 4096


@dataclass(frozen=True)
class PreprocessingOptions:
    """What shall be done otherwise than the network's own preprocessing does it; None: as that.

    Attributes:
        resize: the shorter side in pixels, or (height, width).
        crop: side of the square that is cut out of the middle, or (height, width).
        mean, std: of red, green and blue; pixels are 0 to 1.
        interpolation: one of ``INTERPOLATIONS``.

    Raises:
        UsageError: a value that cannot be.

    """

    resize: Size | None = None
    crop: Size | None = None
    mean: Colour | None = None
    std: Colour | None = None
    interpolation: str | None = None

    def __post_init__(self) -> None:
        for option in ("resize", "crop"):
            size = getattr(self, option)
            if size is not None and not all(0 < side <= LARGEST_SIDE for side in sides(size)):
                shown = " x ".join(map(str, sides(size)))
                raise UsageError(f"--{option} {shown}: expected 1 to {LARGEST_SIDE} pixels")
        for option in ("mean", "std"):
            colour = getattr(self, option)
            if colour is not None and not all(0 <= value <= 1 for value in colour):  # nan, too
                raise UsageError(
                    f"--{option} {_listed(colour)}: expected numbers from 0 to 1, for pixels from "
                    "0 to 1",
                    f"divide by 255: --{option} {_listed([value / 255 for value in colour])}"
                    if all(0 <= value <= 255 for value in colour)
                    else "",
                )
        if self.std is not None and 0 in self.std:
            raise UsageError(f"--std {_listed(self.std)}: pixels cannot be divided by 0")
        if self.interpolation is not None and self.interpolation not in INTERPOLATIONS:
            raise UsageError(
                f"--interpolation {self.interpolation}: expected one of {', '.join(INTERPOLATIONS)}"
            )

    @property
    def given(self) -> dict[str, Any]:
        """What is not None, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if value is not None}


class Transform(Protocol):
    """What a network does with an image first, whoever wrote it; processes may be sent one."""

    def __call__(self, image: Any) -> Any:
        """Return an image of Pillow, in RGB, as a tensor (3, H, W)."""

    def changed(self, options: PreprocessingOptions) -> Transform:
        """Return it with what ``options`` give done otherwise.

        Raises:
            UsageError: that cannot be, or not so.

        """

    def to_json(self) -> dict[str, Any]:
        """Return what is done, as JSON-ready values."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize, cut out the middle, turn pixels into numbers from 0 to 1, subtract, divide.

    Attributes:
        resize: the shorter side in pixels, or (height, width); None to leave the size.
        crop: side of the square that is cut out of the middle, or (height, width); None for all.
        mean, std: of red, green and blue.
        interpolation: one of ``INTERPOLATIONS``, or another name of torchvision's.

    Raises:
        ValueError: a size or a colour that cannot be, as a file may say.

    """

    resize: Size | None
    crop: Size | None
    mean: Colour = IMAGENET_MEAN
    std: Colour = IMAGENET_STD
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        for size in (self.resize, self.crop):
            if size is not None and not all(0 < side <= LARGEST_SIDE for side in sides(size)):
                raise ValueError(f"images of {size} pixels")
        for colour in (self.mean, self.std):
            if len(colour) != 3 or not all(math.isfinite(value) for value in colour):
                raise ValueError(f"mean or std {colour}")
        if 0 in self.std:
            raise ValueError("std 0")

    def __call__(self, image: Any) -> Any:
        transforms = import_torchvision().transforms
        steps = transforms.functional
        if self.resize is not None:
            mode = transforms.InterpolationMode(self.interpolation)
            image = steps.resize(image, sides(self.resize), interpolation=mode)
        if self.crop is not None:
            image = steps.center_crop(image, sides(self.crop))
        return steps.normalize(steps.to_tensor(image), self.mean, self.std)

    def changed(self, options: PreprocessingOptions) -> Preprocessing:
        """Return it with what ``options`` give done otherwise.

        Raises:
            UsageError: what is cut out is larger than the image is made.

        """
        changed = replace(self, **options.given)
        if changed.resize is None or changed.crop is None:
            return changed
        given = options.given.keys() & {"resize", "crop"}
        room, wanted = _box(changed.resize), _box(changed.crop)
        if given and (wanted[0] > room[0] or wanted[1] > room[1]):
            raise UsageError(
                f"a crop of {wanted[0]} x {wanted[1]} pixels does not fit into images that are "
                f"resized to {' x '.join(map(str, sides(changed.resize)))}",
                "pass --resize and --crop that fit",
            )
        return changed

    def to_json(self) -> dict[str, Any]:
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    def __str__(self) -> str:
        steps = []
        if isinstance(self.resize, int):
            steps.append(f"shorter side {self.resize} ({self.interpolation})")
        elif self.resize is not None:
            steps.append(f"resized to {' x '.join(map(str, self.resize))} ({self.interpolation})")
        if self.crop is not None:
            steps.append(f"crop {' x '.join(map(str, _box(self.crop)))}")
        return ", ".join([*steps, f"mean {_listed(self.mean)}", f"std {_listed(self.std)}"])


@dataclass(frozen=True)
class LibraryTransform:
    """A preprocessing that a library has made, and that is taken as it is.

    Attributes:
        transform: takes an image, returns a tensor (3, H, W).
        name: what it is, for people, e.g. ``"ConvNextImageProcessor"``.
        settings: of it, JSON-ready.
        plainly: the same in our own steps, which options can change; None where there are none.

    """

    transform: Any
    name: str
    settings: dict[str, Any]
    plainly: Preprocessing | None = None

    def __call__(self, image: Any) -> Any:
        return self.transform(image)

    def changed(self, options: PreprocessingOptions) -> Transform:
        """Return it with what ``options`` give done otherwise, in our own steps.

        Raises:
            UsageError: it does something that these cannot, and not all is given anew.

        """
        if not options.given:
            return self
        if self.plainly is not None:
            return self.plainly.changed(options)
        missing = [field.name for field in fields(options) if field.name not in options.given]
        if missing:
            raise UsageError(
                f"the preprocessing by {self.name} cannot be changed in parts",
                f"give all of it: add {', '.join(f'--{name}' for name in missing)}",
            )
        return Preprocessing(**options.given).changed(options)

    def to_json(self) -> dict[str, Any]:
        return {"by": self.name, **self.settings}

    def __str__(self) -> str:
        return self.name if self.plainly is None else f"{self.name}: {self.plainly}"


def sides(size: Size) -> list[int]:
    """Return a size as a list of one or two numbers of pixels."""
    return [size] if isinstance(size, int) else list(size)


def _box(size: Size) -> tuple[int, int]:
    """Return height and width of what is cut out, or the least of what is resized."""
    return (size, size) if isinstance(size, int) else size


def _listed(colour: Any) -> str:
    return ",".join(f"{value:.4g}" for value in colour)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

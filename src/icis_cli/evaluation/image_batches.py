"""Batches of images: files are read and transformed, by processes of their own if there are many.

Imports torch inside functions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icis_cli.errors import FeatureError, IcisError, first_line
from icis_cli.runtime import core_count, import_torch

#: Fewer images are read sooner than processes to read them have started.
_FEW = 128
_MOST_READERS = 8

#: Longer side over shorter side; resized to a usual shorter side, more would fill the memory.
_LONGEST = 500

#: Modes of Pillow with more than 8 bits a colour: it would turn most of them white.
_TOO_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def readers_for(images: int, processes: int = 1) -> int:
    """Return how many processes should read images: none for few, else one a core, up to 8.

    Args:
        images: how many there are to read.
        processes: that read as many each, on the same cores.

    """
    if images < _FEW:
        return 0
    return min(_MOST_READERS, max(1, core_count() // processes))


@dataclass(frozen=True)
class Damaged:
    """A file that is no readable image, and why.

    A value, not an error: what a reading process raises loses its type on its way here.
    """

    path: Path
    problem: str


@dataclass(frozen=True)
class ImageFiles:
    """Image files as a map-style data set of torch.

    Attributes:
        paths: N files.
        transform: image of Pillow in RGB -> tensor (3, H, W).

    """

    paths: Sequence[Path]
    transform: Callable[[Any], Any]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        """Return the pixels of an image, or :class:`Damaged`."""
        from PIL import Image

        path = self.paths[index]
        try:
            with warnings.catch_warnings(), Image.open(path) as image:
                warnings.simplefilter("ignore")  # of odd files that are read all the same
                if image.mode in _TOO_DEEP:
                    return Damaged(path, f"has {image.mode} pixels, expected 8 bits a colour")
                if max(image.size) > _LONGEST * min(image.size):
                    width, height = image.size
                    return Damaged(
                        path, f"is {width} x {height} pixels, far too long for its width"
                    )
                return self.transform(_coloured(image))
        except Exception as error:  # a damaged file can raise anything
            return Damaged(path, f"is no readable image ({first_line(error)})")


def _coloured(image: Any) -> Any:
    """Return an image as RGB, without what is transparent in palettes being lost on the way."""
    transparent = image.mode == "P" and "transparency" in image.info
    return (image.convert("RGBA") if transparent else image).convert("RGB")


def image_batches(files: ImageFiles, batch: int, readers: int, *, device: str) -> Iterator[Any]:
    """Yield the pixels (B, 3, H, W) of images, in order; B is ``batch``, and what is left at last.

    Args:
        files: what to read.
        batch: images at once.
        readers: processes that read; 0 to read here.
        device: where the batches will go.

    Raises:
        FeatureError: a file is no readable image.

    """
    loader = import_torch().utils.data.DataLoader
    with warnings.catch_warnings():  # of more processes than cores, which the caller wants
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        batches = iter(
            loader(
                files,
                batch_size=batch,
                num_workers=min(readers, -(-len(files) // batch)),  # none without a batch
                collate_fn=_together,
                pin_memory=device == "cuda",
            )
        )
    for pixels in batches:
        if isinstance(pixels, Damaged):
            raise FeatureError(pixels.path, pixels.problem, "mend or remove it")
        yield pixels


@contextmanager
def reading() -> Iterator[None]:
    """Tell of a reading process that was killed, wherever torch notices it in this block.

    Raises:
        IcisError: one was.

    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise IcisError(
            f"a process that reads images has ended ({first_line(error)})",
            "there may be too little (shared) memory: pass --workers 0",
        ) from None


def _together(items: list[Any]) -> Any:
    """Return images (3, H, W) as one tensor, or the first that is damaged."""
    damaged = next((item for item in items if isinstance(item, Damaged)), None)
    return import_torch().stack(items) if damaged is None else damaged

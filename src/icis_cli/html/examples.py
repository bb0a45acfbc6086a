"""Images of confusions for an HTML report: small copies of those that were answered wrongly."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icis_cli.evaluation.image_batches import ImageFiles, image_batches, reading
from icis_cli.evaluation.images import ImageFolder
from icis_cli.evaluation.known import KnownHead
from icis_cli.evaluation.networks.registry import ImageNetwork
from icis_cli.evaluation.networks.running import RunningNetwork, gainful_dtype, network_on
from icis_cli.evaluation.result import Evaluation
from icis_cli.html.data import Example, Picture
from icis_cli.runtime import choose_device

#: Confusions, and images of each.
_MOST, _IMAGES = 8, 3
#: Longer side of a small copy in pixels; shown at half of that, it is sharp on a phone.
_SIDE = 224


def find_examples(
    network: ImageNetwork,
    known: KnownHead,
    images: ImageFolder,
    evaluation: Evaluation,
    *,
    device: str = "cpu",
    batch: int = 32,
) -> tuple[Example, ...]:
    """Find images of the worst confusions: those of the true class are answered until there are.

    Args:
        network: from ``load_network``.
        known: from ``known_head``.
        images: that were evaluated, from ``find_images``.
        evaluation: of them.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        batch: images at once.

    Raises:
        FeatureError: an image has become unreadable.
        IcisError: as in ``evaluate_images``.

    """
    device = choose_device(device)
    running = network_on(device, network, gainful_dtype(device))
    found = []
    for one in evaluation.confusions[:_MOST]:
        paths = [
            path
            for path, label in zip(images.paths, images.labels.tolist(), strict=True)
            if known.names[label] == one.true
        ]
        pictures = []
        for path, answer in _answered(running, paths, device, batch):
            if known.names[answer] == one.answer:
                pictures += _small(path)
            if len(pictures) == _IMAGES:
                break
        if pictures:
            found.append(Example(one.true, one.answer, tuple(pictures)))
    return tuple(found)


def _answered(
    network: RunningNetwork, paths: Sequence[Path], device: str, batch: int
) -> Iterator[tuple[Path, int]]:
    """Yield images with the head rows that are answered, batch by batch."""
    files = ImageFiles(paths, network.network.preprocessing)
    done = 0
    with reading():
        for pixels in image_batches(files, batch, 0, device=device):
            answers = np.argmax(network.logits(pixels), axis=1).tolist()
            yield from zip(paths[done : done + len(answers)], answers, strict=True)
            done += len(answers)


def _small(path: Path) -> list[Picture]:
    """Return a small copy, without what cameras write into files; nothing if it cannot be read."""
    jpeg = ImageFiles([path], _jpeg)[0]
    return [Picture(path.name, jpeg)] if isinstance(jpeg, bytes) else []


def _jpeg(image: Any) -> bytes:
    image.thumbnail((_SIDE, _SIDE))
    image.info.clear()  # a comment would be written again
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return stream.getvalue()

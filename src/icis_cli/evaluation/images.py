"""Images to evaluate on: one folder per class, run through the real torchvision network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.descriptors.names import match_names
from icis_cli.errors import CheckpointError, FeatureError
from icis_cli.evaluation.answers import Answers, answers_of_logits, joined
from icis_cli.evaluation.blocks import comparable
from icis_cli.evaluation.evaluate import require_both_sides
from icis_cli.evaluation.image_batches import ImageFiles, image_batches, readers_for, reading
from icis_cli.evaluation.known import KnownHead
from icis_cli.evaluation.result import Evaluation, evaluation_of
from icis_cli.evaluation.torchvision_models import gainful_dtype, load_model, network_on
from icis_cli.runtime import choose_device
from icis_cli.workers import ALONE, Workers

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

#: Called after every batch with images done and images in all, both of this process alone.
ImageWatch = Callable[[int, int], None]


@dataclass(frozen=True)
class ImageFolder:
    """Image files with the head row of their class.

    Attributes:
        paths: N files.
        labels: (N,) head rows.
        notes: what a person should know, e.g. folder names not spelt like the class names.

    """

    paths: tuple[Path, ...]
    labels: IntArray
    notes: tuple[str, ...] = ()


def find_images(root: Path | str, names: Sequence[str]) -> ImageFolder:
    """List the images under ``root``, one folder per class name.

    Raises:
        FeatureError: no such folder, no image, or a folder that is no class.
        AlignmentError: folder names match no class.

    """
    root = Path(root)
    if not root.is_dir():
        raise FeatureError(root, "no such folder", "one folder per class, named like the class")
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise FeatureError(root, "holds no folder", "one folder per class, named like the class")
    match = match_names([folder.name for folder in folders], names, "the classes of the checkpoint")
    found = [
        (path, row)
        for folder, row in zip(folders, match.rows, strict=True)
        for path in sorted(folder.rglob("*"))
        if path.suffix.casefold() in SUFFIXES and path.is_file()
    ]
    if not found:
        raise FeatureError(root, f"holds no image ({', '.join(SUFFIXES)})")
    notes = [f"folder {folder!r} is taken for class {name!r}" for folder, name in match.inexact]
    return ImageFolder(
        tuple(path for path, _ in found),
        np.array([row for _, row in found], dtype=np.int64),
        tuple(notes),
    )


def evaluate_images(
    checkpoint: Checkpoint,
    known: KnownHead,
    images: ImageFolder,
    *,
    arch: str | None = None,
    device: str = "cpu",
    batch: int = 32,
    readers: int | None = None,
    workers: Workers = ALONE,
    watch: ImageWatch | None = None,
) -> Evaluation:
    """Run images through the expanded network and evaluate its answers.

    Args:
        checkpoint: the expanded checkpoint of a torchvision architecture.
        known: from ``known_head``.
        images: from ``find_images``.
        arch: e.g. ``"resnet18"``; None where the checkpoint tells.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``. On CUDA all before the head is computed in
            bfloat16, or float16 where the GPU lacks it.
        batch: images at once.
        readers: processes that read images; 0 to read them here, None for as many as pay.
        workers: processes that share the work, in whole batches; all get the same evaluation.
        watch: told about every batch.

    Raises:
        UsageError: the architecture is not known.
        CheckpointError: the checkpoint does not load into it, or a logit is not finite.
        FeatureError: an image cannot be read.
        IcisError: a process that reads images was killed.

    """
    require_both_sides(known)
    device = choose_device(device)
    model, transform = load_model(checkpoint, arch, len(known.names))
    network = network_on(device, model, known.head.key, gainful_dtype(device))
    starts = workers.part(range(0, len(images.paths), batch))
    own = slice(starts[0], starts[-1] + batch) if starts else slice(0)
    paths, labels = images.paths[own], images.labels[own]
    if readers is None:
        readers = readers_for(len(paths), workers.count)
    parts: list[Answers] = []
    done = 0
    with reading():
        for pixels in image_batches(ImageFiles(paths, transform), batch, readers, device=device):
            logits = network.logits(pixels)
            _require_finite(logits, paths[done:], checkpoint.path)
            parts.append(
                answers_of_logits(logits, labels[done : done + len(logits)], known.seen_classes)
            )
            done += len(logits)
            if watch is not None:
                watch(done, len(paths))
    every = [part for share in workers.gather(parts) for part in share]
    return evaluation_of(joined(every), known.names, known.seen_classes)


def _require_finite(logits: FloatArray, paths: Sequence[Path], checkpoint: Path) -> None:
    """Refuse logits (B, K+U) of the first B images that cannot be compared.

    Raises:
        CheckpointError: one is NaN, or too large; pixels never are.

    """
    fine = comparable(logits)
    if not fine.all():
        path = paths[int(np.flatnonzero(~fine)[0])]
        raise CheckpointError(
            checkpoint,
            f"its logits for {path} are NaN or too large for float32: the network is damaged",
            "look for NaN in its weights and running statistics, or try --device cpu",
        )

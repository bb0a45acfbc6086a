"""Images to evaluate on: one folder per class, run through the real network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.errors import CheckpointError, FeatureError
from icis_cli.evaluation.answers import Answers, answers_of_logits, joined
from icis_cli.evaluation.blocks import comparable
from icis_cli.evaluation.evaluate import require_both_sides
from icis_cli.evaluation.image_batches import ImageFiles, image_batches, readers_for, reading
from icis_cli.evaluation.image_folders import class_folders, rows_of_folders
from icis_cli.evaluation.known import KnownHead
from icis_cli.evaluation.networks.registry import ImageNetwork, load_network
from icis_cli.evaluation.networks.running import gainful_dtype, network_on
from icis_cli.evaluation.preprocessing import PreprocessingOptions
from icis_cli.evaluation.result import Evaluation, evaluation_of
from icis_cli.runtime import choose_device
from icis_cli.workers import ALONE, Workers

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

#: Called after every batch with images done and images in all, both of this process alone.
ImageWatch = Callable[[int, int], None]


_OWN = PreprocessingOptions()


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


def find_images(
    root: Path | str, names: Sequence[str], folders: Path | str | None = None
) -> ImageFolder:
    """List the images under ``root``, one folder per class.

    Args:
        root: the folder.
        names: of the classes, in head-row order. Folders are named like these, or by numbers of
            head rows.
        folders: a file with lines ``folder, class`` where they are named otherwise.

    Raises:
        FeatureError: no such folder, no image, or a folder that is no class.
        AlignmentError: folder names match no class.
        DescriptorError: the file ``folders`` cannot be read.

    """
    root = Path(root)
    there, notes = class_folders(root)
    listed = None if folders is None else Path(folders)
    rows, more = rows_of_folders(root, [folder.name for folder in there], names, listed)
    found = [
        (path, row)
        for folder, row in zip(there, rows, strict=True)
        for path in sorted(folder.rglob("*"))
        if path.suffix.casefold() in SUFFIXES and path.is_file()
    ]
    if not found:
        raise FeatureError(root, f"holds no image ({', '.join(SUFFIXES)})")
    return ImageFolder(
        tuple(path for path, _ in found),
        np.array([row for _, row in found], dtype=np.int64),
        (*notes, *more),
    )


def evaluate_images(
    checkpoint: Checkpoint,
    known: KnownHead,
    images: ImageFolder,
    *,
    arch: str | None = None,
    preprocessing: PreprocessingOptions = _OWN,
    device: str = "cpu",
    batch: int = 32,
    readers: int | None = None,
    workers: Workers = ALONE,
    watch: ImageWatch | None = None,
) -> Evaluation:
    """Run images through the expanded network and evaluate its answers.

    Args:
        checkpoint: the expanded checkpoint of a network of torchvision, timm or transformers.
        known: from ``known_head``.
        images: from ``find_images``.
        arch: e.g. ``"resnet18"`` or ``"timm/resnet18"``; None where the checkpoint tells, or its
            tensors do.
        preprocessing: what shall be done with images otherwise than the network's own
            preprocessing does it.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``. On CUDA all before the head is computed in
            bfloat16, or float16 where the GPU lacks it.
        batch: images at once.
        readers: processes that read images; 0 to read them here, None for as many as pay.
        workers: processes that share the work, in whole batches; all get the same evaluation.
        watch: told about every batch.

    Raises:
        UsageError: the architecture is not known, or the preprocessing cannot be.
        CheckpointError: the checkpoint does not load into it, or a logit is not finite.
        InstallationError: the library that has the network is not installed.
        FeatureError: an image cannot be read.
        IcisError: the network takes no such images, or a process that reads them was killed.

    """
    require_both_sides(known)
    network = load_network(checkpoint, known.head, arch, preprocessing)
    return evaluate_network(
        network,
        known,
        images,
        device=device,
        batch=batch,
        readers=readers,
        workers=workers,
        watch=watch,
    )


def evaluate_network(
    loaded: ImageNetwork,
    known: KnownHead,
    images: ImageFolder,
    *,
    device: str = "cpu",
    batch: int = 32,
    readers: int | None = None,
    workers: Workers = ALONE,
    watch: ImageWatch | None = None,
) -> Evaluation:
    """Do as :func:`evaluate_images` does with a network that is loaded already."""
    require_both_sides(known)
    device = choose_device(device)
    network = network_on(device, loaded, gainful_dtype(device))
    starts = workers.part(range(0, len(images.paths), batch))
    own = slice(starts[0], starts[-1] + batch) if starts else slice(0)
    paths, labels = images.paths[own], images.labels[own]
    if readers is None:
        readers = readers_for(len(paths), workers.count)
    files = ImageFiles(paths, loaded.preprocessing)
    parts: list[Answers] = []
    done = 0
    with reading():
        for pixels in image_batches(files, batch, readers, device=device):
            logits = network.logits(pixels)
            _require_usable(logits, paths[done:], loaded.checkpoint.path, len(known.names))
            parts.append(
                answers_of_logits(logits, labels[done : done + len(logits)], known.seen_classes)
            )
            done += len(logits)
            if watch is not None:
                watch(done, len(paths))
    every = [part for share in workers.gather(parts) for part in share]
    return evaluation_of(joined(every), known.names, known.seen_classes)


def _require_usable(
    logits: FloatArray, paths: Sequence[Path], checkpoint: Path, classes: int
) -> None:
    """Refuse logits of the first B images that are not (B, K+U), or that cannot be compared.

    Raises:
        CheckpointError: there are others, or one is NaN, or too large; pixels never are.

    """
    if logits.ndim != 2 or logits.shape[1] != classes:
        raise CheckpointError(
            checkpoint, f"its network answers {logits.shape[1:]}, expected {classes} classes"
        )
    fine = comparable(logits)
    if not fine.all():
        path = paths[int(np.flatnonzero(~fine)[0])]
        raise CheckpointError(
            checkpoint,
            f"its logits for {path} are NaN or too large for float32: the network is damaged",
            "look for NaN in its weights and running statistics, or try --device cpu",
        )

"""Images to evaluate on: one folder per class, run through the real torchvision network.

Imports torch and torchvision inside functions. Damaged images are errors that name the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icis_cli.arrays import IntArray
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.head import strip_prefixes
from icis_cli.checkpoint.torch_pickle import state_dict_of
from icis_cli.descriptors.names import match_names
from icis_cli.errors import CheckpointError, FeatureError, UsageError
from icis_cli.evaluation.answers import answers_of_logits, joined
from icis_cli.evaluation.evaluate import require_both_sides
from icis_cli.evaluation.known import KnownHead
from icis_cli.evaluation.result import Evaluation, evaluation_of
from icis_cli.runtime import choose_device, import_torch, import_torchvision

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

#: Called after every batch with images done and images in all.
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
    watch: ImageWatch | None = None,
) -> Evaluation:
    """Run images through the expanded network and evaluate its answers.

    Args:
        checkpoint: the expanded checkpoint of a torchvision architecture.
        known: from ``known_head``.
        images: from ``find_images``.
        arch: e.g. ``"resnet18"``; None where the checkpoint tells.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        batch: images at once.
        watch: told about every batch.

    Raises:
        UsageError: the architecture is not known.
        CheckpointError: the checkpoint does not load into it.
        FeatureError: an image cannot be read.

    """
    torch = import_torch()
    require_both_sides(known)
    device = choose_device(device)
    model, transform = load_model(checkpoint, arch, len(known.names))
    model = model.eval().to(device)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images.paths), batch):
            paths = images.paths[start : start + batch]
            pixels = torch.stack([_read_image(path, transform) for path in paths])
            logits = model(pixels.to(device)).float().cpu().numpy()
            labels = images.labels[start : start + batch]
            parts.append(answers_of_logits(logits, labels, known.seen_classes))
            if watch is not None:
                watch(start + len(paths), len(images.paths))
    return evaluation_of(joined(parts), known.names, known.seen_classes)


def load_model(checkpoint: Checkpoint, arch: str | None, classes: int) -> tuple[Any, Any]:
    """Build a torchvision model, load the checkpoint strictly, and return it with its transform.

    Raises:
        UsageError: the architecture is not known.
        CheckpointError: the checkpoint does not load into it.

    """
    models = import_torchvision().models
    arch = arch or checkpoint.labels.arch
    if arch is None:
        raise UsageError(
            f"{checkpoint.path} does not say which network it is of",
            "pass --arch with a torchvision name, e.g. --arch resnet50",
        )
    if arch not in models.list_models(module=models):
        raise UsageError(f"torchvision has no classifier {arch!r}", "see torchvision.models")
    options = {"init_weights": False} if arch in ("googlenet", "inception_v3") else {}
    model = models.get_model(arch, weights=None, num_classes=classes, **options)
    state = {strip_prefixes(key): tensor for key, tensor in state_dict_of(checkpoint).items()}
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise CheckpointError(
            checkpoint.path,
            f"does not load into {arch}: {' '.join(lines[1:3])[:200]}",
            "check --arch",
        ) from None
    return model, models.get_model_weights(arch).DEFAULT.transforms()


def _read_image(path: Path, transform: Any) -> Any:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return transform(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FeatureError(path, f"is no readable image ({error})", "mend or remove it") from None

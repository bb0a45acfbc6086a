"""Options about images: which network answers them, what is done with them first, and whose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icis_cli.cli.sample_options import IMAGES as _IMAGES
from icis_cli.errors import UsageError

if TYPE_CHECKING:
    from icis_cli.checkpoint.base import Checkpoint
    from icis_cli.cli.output import Output
    from icis_cli.evaluation.known import KnownHead
    from icis_cli.evaluation.networks.registry import ImageNetwork
    from icis_cli.evaluation.preprocessing import PreprocessingOptions, Size
    from icis_cli.evaluation.result import Evaluation
    from icis_cli.workers import Workers

Folders = Annotated[
    Path | None,
    typer.Option(
        "--folders",
        metavar="FILE",
        help="Which class each folder of --images is, where its name does not say: lines "
        "'folder, class'.",
        rich_help_panel=_IMAGES,
    ),
]
Arch = Annotated[
    str | None,
    typer.Option(
        "--arch",
        metavar="NAME",
        help="The network, e.g. resnet50 (torchvision) or timm/resnet50. Default: as the "
        "checkpoint or its tensors tell.",
        show_default=False,
        rich_help_panel=_IMAGES,
    ),
]
Resize = Annotated[
    str | None,
    typer.Option(
        "--resize",
        metavar="N|HxW",
        help="Shorter side in pixels, or height x width.",
        rich_help_panel=_IMAGES,
    ),
]
Crop = Annotated[
    str | None,
    typer.Option(
        "--crop",
        metavar="N|HxW",
        help="What is cut out of the middle, in pixels.",
        rich_help_panel=_IMAGES,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        "--mean",
        metavar="R,G,B",
        help="Subtracted from pixels, which are 0 to 1.",
        rich_help_panel=_IMAGES,
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        "--std", metavar="R,G,B", help="What they are divided by then.", rich_help_panel=_IMAGES
    ),
]
Interpolation = Annotated[
    str | None,
    typer.Option(
        "--interpolation",
        metavar="NAME",
        help="How images are resized, e.g. bilinear or bicubic.",
        rich_help_panel=_IMAGES,
    ),
]


@dataclass(frozen=True)
class ImageRun:
    """How images are answered, as the options say.

    Attributes:
        folders: file that says which class each folder is, or None.
        arch: of the network, or None.
        options: what is done with images otherwise than the network's own preprocessing does it.
        device: where to compute.
        batch: images at once.
        readers: processes that read images, or None.
        workers: processes that share the work.

    """

    folders: Path | None
    arch: str | None
    options: PreprocessingOptions
    device: str
    batch: int
    readers: int | None
    workers: Workers

    def evaluate(
        self, output: Output, checkpoint: Checkpoint, known: KnownHead, images: Path
    ) -> tuple[Evaluation, ImageNetwork]:
        """Answer the images in a folder; tell of the network and what is done with images first."""
        from icis_cli.evaluation.evaluate import require_both_sides
        from icis_cli.evaluation.images import evaluate_network, find_images
        from icis_cli.evaluation.networks.registry import load_network

        require_both_sides(known)
        found = find_images(images, known.names, self.folders)
        output.note(found.notes)
        network = load_network(checkpoint, known.head, self.arch, self.options)
        output.note(network.notes)
        output.warn(network.warnings)
        with output.bar("eval", "images") as bar:
            evaluation = evaluate_network(
                network,
                known,
                found,
                device=self.device,
                batch=self.batch,
                readers=self.readers,
                workers=self.workers,
                watch=None if bar is None else bar.show,
            )
        return evaluation, network


def preprocessing_of(
    resize: str | None,
    crop: str | None,
    mean: str | None,
    std: str | None,
    interpolation: str | None,
) -> PreprocessingOptions:
    """Return what the options say about preprocessing.

    Raises:
        UsageError: a value that cannot be.

    """
    from icis_cli.evaluation.preprocessing import PreprocessingOptions

    return PreprocessingOptions(
        _size("--resize", resize),
        _size("--crop", crop),
        _colour("--mean", mean),
        _colour("--std", std),
        interpolation,
    )


def _size(option: str, text: str | None) -> Size | None:
    if text is None:
        return None
    parts = text.casefold().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(
            f"{option} {text}: expected a number of pixels, or height x width: 224x256"
        )
    height, *width = (int(part) for part in parts)
    return (height, width[0]) if width else height


def _colour(option: str, text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) == 1:
        values *= 3
    if len(values) != 3:
        raise UsageError(f"{option} {text}: expected one number, or three: red,green,blue")
    red, green, blue = values
    return red, green, blue

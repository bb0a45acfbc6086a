"""EfficientNet-Lite of the package ``efficientnet_lite_pytorch``, told by its tensors.

Its weights are ports of TensorFlow's, so that its preprocessing is, too.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from functools import partial
from typing import Any

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.linear_layers import strip_prefixes
from icis_cli.errors import InstallationError
from icis_cli.evaluation.networks.base import Built
from icis_cli.evaluation.networks.loading import load_strictly
from icis_cli.evaluation.networks.outline import misfit, weights_outline
from icis_cli.evaluation.preprocessing import Preprocessing
from icis_cli.quiet import quietly

#: Name -> side of the images that it is for.
_SIZES = {
    "efficientnet-lite0": 224,
    "efficientnet-lite1": 240,
    "efficientnet-lite2": 260,
    "efficientnet-lite3": 280,
    "efficientnet-lite4": 300,
}
_MODULE = "efficientnet_lite_pytorch"
#: Pixels that are left out around what is cut out.
_BORDER = 32
#: A tensor that its networks have, and hardly any others.
_MARKER = "_blocks.0._depthwise_conv.weight"


class EfficientNetLite:
    """EfficientNet-Lite0 to 4."""

    name = "efficientnet_lite"

    def knows(self, arch: str) -> bool:
        return arch in _SIZES and importlib.util.find_spec(_MODULE) is not None

    def near(self, arch: str) -> list[str]:
        _package()
        return difflib.get_close_matches(arch, _SIZES, n=3)

    def guesses(self, checkpoint: Checkpoint, classes: int) -> list[str]:
        if all(strip_prefixes(key) != _MARKER for key in checkpoint.tensors):
            return []
        known = (name for name in _SIZES if self.knows(name))
        return [name for name in known if self.misfit(name, checkpoint, classes) is None]

    def misfit(self, arch: str, checkpoint: Checkpoint, classes: int) -> str | None:
        with quietly():
            network = weights_outline(partial(_model, arch, classes), len(checkpoint.tensors))
        return misfit(checkpoint, network)

    def build(self, arch: str, checkpoint: Checkpoint, classes: int) -> Built:
        with quietly():
            model = _model(arch, classes)
        key = load_strictly(model, checkpoint, arch)
        size = _SIZES[arch]
        grey, scale = 127 / 255, 128 / 255
        preprocessing = Preprocessing(
            size + _BORDER, size, (grey, grey, grey), (scale, scale, scale), "bicubic"
        )
        return Built(model, preprocessing, key)


def _package() -> Any:
    try:
        return importlib.import_module(_MODULE)
    except ImportError as error:
        raise InstallationError(
            f"EfficientNet-Lite needs the package {_MODULE}, which is not installed",
            "pip install efficientnet-lite-pytorch",
        ) from error


def _model(arch: str, classes: int) -> Any:
    return _package().EfficientNet.from_name(arch, num_classes=classes)

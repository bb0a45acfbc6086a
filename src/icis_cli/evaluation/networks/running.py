"""A network on its device, answering images.

Imports torch inside functions.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from icis_cli.arrays import FloatArray
from icis_cli.errors import IcisError, first_line
from icis_cli.evaluation.networks.registry import ImageNetwork
from icis_cli.runtime import import_torch


@dataclass(frozen=True)
class RunningNetwork:
    """A network on its device.

    Attributes:
        network: as it was loaded.
        device: ``"cpu"`` or ``"cuda"``.
        reduced: dtype of the products before the head, or None for those of the weights.

    """

    network: ImageNetwork
    device: str
    reduced: Any

    def logits(self, pixels: Any) -> FloatArray:
        """Return the logits (B, K+U), float32, of images (B, 3, H, W).

        Raises:
            IcisError: it takes no images of this size.

        """
        torch = import_torch()
        layout = torch.channels_last
        pixels = pixels.to(self.device, non_blocking=True, memory_format=layout)
        reduced: Any = contextlib.nullcontext()
        if self.reduced is not None:
            reduced = torch.autocast(self.device, dtype=self.reduced)
        try:
            with torch.inference_mode(), reduced:
                output = self.network.model(pixels)
        except torch.OutOfMemoryError:
            raise IcisError(
                f"{self.device} has too little memory for {len(pixels)} images at once",
                "pass a smaller --batch-size",
            ) from None
        except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
            height, width = pixels.shape[-2:]
            raise IcisError(
                f"{self.network.name} does not take images of {height} x {width} pixels "
                f"({first_line(error)})",
                "see --resize and --crop",
            ) from error
        found: FloatArray = getattr(output, "logits", output).float().cpu().numpy()
        return found


def network_on(device: str, network: ImageNetwork, reduced: Any = None) -> RunningNetwork:
    """Put a network on a device, in the memory layout in which convolutions are fastest.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        network: from ``load_network``.
        reduced: as in :class:`RunningNetwork`; not used where the head cannot be kept exact.

    """
    torch = import_torch()
    model = network.model.eval().to(device, memory_format=torch.channels_last)
    modules = dict(model.named_modules())
    head = [modules[layer] for layer in network.layers if layer in modules]
    if len(head) < len(network.layers):
        reduced = None
    if reduced is not None:
        for layer in head:
            layer.register_forward_hook(_exactly)
    return RunningNetwork(network, device, reduced)


def gainful_dtype(device: str) -> Any:
    """Return the dtype in which a device computes faster than in float32, or None."""
    if device != "cuda":
        return None
    torch = import_torch()
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.half


def _exactly(layer: Any, inputs: tuple[Any, ...], output: Any) -> Any:
    """Compute the head again in float32: rounded logits tie, and ties decide answers."""
    torch = import_torch()
    with torch.autocast(output.device.type, enabled=False):
        return layer.forward(inputs[0].float())

"""The torchvision network of a checkpoint, ready to answer images on one device.

Imports torch and torchvision inside functions.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from icis_cli.arrays import FloatArray
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.head import strip_prefixes
from icis_cli.checkpoint.torch_pickle import state_dict_of
from icis_cli.errors import CheckpointError, UsageError
from icis_cli.runtime import import_torch, import_torchvision


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


@dataclass(frozen=True)
class Network:
    """A network on its device.

    Attributes:
        model: a torch module, images (B, 3, H, W) -> logits (B, K+U).
        device: ``"cpu"`` or ``"cuda"``.
        reduced: dtype of the products before the head, or None for those of the weights.

    """

    model: Any
    device: str
    reduced: Any

    def logits(self, pixels: Any) -> FloatArray:
        """Return the logits (B, K+U), float32, of images (B, 3, H, W)."""
        torch = import_torch()
        layout = torch.channels_last
        pixels = pixels.to(self.device, non_blocking=True, memory_format=layout)
        reduced: Any = contextlib.nullcontext()
        if self.reduced is not None:
            reduced = torch.autocast(self.device, dtype=self.reduced)
        with torch.inference_mode(), reduced:
            found: FloatArray = self.model(pixels).float().cpu().numpy()
        return found


def network_on(device: str, model: Any, head: str, reduced: Any = None) -> Network:
    """Put a model on a device, in the memory layout in which convolutions are fastest.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        model: from :func:`load_model`.
        head: state-dict key of its final linear layer.
        reduced: as in :class:`Network`.

    """
    torch = import_torch()
    model = model.eval().to(device, memory_format=torch.channels_last)
    if reduced is not None:
        model.get_submodule(strip_prefixes(head)).register_forward_hook(_exactly)
    return Network(model, device, reduced)


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
        bias = None if layer.bias is None else layer.bias.float()
        return torch.nn.functional.linear(inputs[0].float(), layer.weight.float(), bias)

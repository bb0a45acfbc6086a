"""Which tensors a network has, found without the memory for them.

Sizes of a network may come from a stranger's ``config.json``; so its outline is drawn first, and
compared with the tensors that the checkpoint does have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.linear_layers import strip_prefixes
from icis_cli.evaluation.networks.base import Shapes
from icis_cli.runtime import import_torch

#: Tensors that a network makes while it is built, for each that a checkpoint has, and beside them.
_TENSORS_FOR_EACH = 8
_TENSORS_BESIDE = 4096

#: Longest row of numbers that a network may count while it is built.
_LONGEST = 1 << 24

#: What files from before PyTorch 0.4.1 lack; it is filled in when they are loaded.
_MAY_LACK = ".num_batches_tracked"


#: What torch's AveragedModel counts beside the network.
AVERAGED = "n_averaged"


class TooLargeError(Exception):
    """A network has far more tensors than its checkpoint."""


def outline(build: Callable[[], Any], tensors: int) -> Shapes:
    """Return the tensors of the network that ``build`` makes, none of which has any memory.

    Args:
        build: makes a torch module.
        tensors: how many the checkpoint has.

    Raises:
        TooLargeError: it has far more.
        Exception: whatever ``build`` raises.

    """
    with import_torch().device("meta"), _watch(tensors, hollow=()):
        return _shapes(build())


def weights_outline(build: Callable[[], Any], tensors: int) -> Shapes:
    """Return the same for networks that reckon with tensors while they are built, as RegNet does.

    Only its weights have no memory, so that its sizes must be known not to be a stranger's.
    """
    torch = import_torch()
    hollow = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)
    with _watch(tensors, hollow):
        return _shapes(build())


def misfit(checkpoint: Checkpoint, network: Shapes) -> str | None:
    """Say how the tensors of a checkpoint differ from those of a network, None where they do not.

    Keys may have what wrappers put before them. What takes part in training alone may be taken
    out of the checkpoint first.
    """
    key_of = naming(checkpoint, network)
    tensors = {key: info for key, info in checkpoint.tensors.items() if key != AVERAGED}
    own = {key_of(key): info.shape for key, info in tensors.items()}
    if len(own) < len(tensors):
        return "it holds several models"
    lacking = [key for key in network if key not in own and not key.endswith(_MAY_LACK)]
    if lacking:
        return f"the network has {_some(lacking)}, which the checkpoint lacks"
    strange = [key for key in own if key not in network]
    if strange:
        return f"the checkpoint has {_some(strange)}, which the network lacks"
    for key, shape in network.items():
        if own.get(key, shape) != shape:
            return f"{key} has shape {own[key]}, expected {shape}"
    return None


def naming(checkpoint: Checkpoint, network: Shapes) -> Callable[[str], str]:
    """Return how a network calls the tensors of a checkpoint: as it does, or without prefixes."""
    return _same if any(key in network for key in checkpoint.tensors) else strip_prefixes


def _same(key: str) -> str:
    return key


def _some(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"


def _shapes(model: Any) -> Shapes:
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def _watch(tensors: int, hollow: tuple[Any, ...]) -> Any:
    """Return a context that makes tensors of some kinds ``hollow``, and never too many."""
    torch = import_torch()
    kinds = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
    most = _TENSORS_FOR_EACH * tensors + _TENSORS_BESIDE

    mode: Any = torch.overrides.TorchFunctionMode

    class Watch(mode):  # type: ignore[misc]
        made = 0

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            options = dict(kwargs or {})
            if func in kinds:
                self.made += 1
                if self.made > most:
                    raise TooLargeError
            if func in (torch.arange, torch.linspace) and any(
                isinstance(value, int | float) and abs(value) > _LONGEST
                for value in (*args, *options.values())
            ):
                raise TooLargeError
            if func in hollow:
                options["device"] = "meta"
            return func(*args, **options)

    return Watch()

"""Loading a checkpoint into a network of another library, which keeps quiet and offline."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.torch_pickle import state_dict_of
from icis_cli.errors import CheckpointError
from icis_cli.evaluation.networks.base import Shapes
from icis_cli.evaluation.networks.outline import AVERAGED, misfit, naming
from icis_cli.quiet import quietly

#: A name that is no address: neither of a file nor of a place on the network.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")


def does_not_load(checkpoint: Checkpoint, arch: str, why: str) -> CheckpointError:
    """Return the error that a checkpoint is not of this network."""
    return CheckpointError(checkpoint.path, f"does not load into {arch}: {why}", "check --arch")


def is_plain(name: object) -> bool:
    """Tell whether a name from a file is one, and leads nowhere."""
    return isinstance(name, str) and _PLAIN.fullmatch(name) is not None


def load_strictly(model: Any, checkpoint: Checkpoint, arch: str) -> Callable[[str], str]:
    """Load all tensors of a checkpoint into a model, which must have just these.

    Returns:
        How the model calls what the checkpoint calls by a key.

    Raises:
        CheckpointError: it has others.

    """
    own = model.state_dict()
    shapes: Shapes = {key: tuple(tensor.shape) for key, tensor in own.items()}
    problem = misfit(checkpoint, shapes)
    if problem is not None:
        raise does_not_load(checkpoint, arch, problem)
    key_of = naming(checkpoint, shapes)
    state: Any = OrderedDict(
        (key_of(key), tensor)
        for key, tensor in state_dict_of(checkpoint).items()
        if key != AVERAGED
    )
    if state.keys() == own.keys():
        # All fits: versions of modules would only make them look for what old ones had.
        state._metadata = own._metadata  # noqa: SLF001
    with quietly():
        model.load_state_dict(state, strict=True)
    return key_of

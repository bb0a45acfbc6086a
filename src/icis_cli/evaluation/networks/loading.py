"""Loading a checkpoint into a network of another library, which keeps quiet and offline."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.torch_pickle import state_dict_of
from icis_cli.errors import CheckpointError
from icis_cli.evaluation.networks.base import Shapes
from icis_cli.evaluation.networks.outline import AVERAGED, misfit, naming

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


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Let nothing that a library prints, logs or warns of in this block reach the user."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Let Hugging Face's libraries reach nothing over the network in this block."""
    try:
        constants: Any = importlib.import_module("huggingface_hub.constants")
    except ImportError:  # then nothing can
        yield
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before

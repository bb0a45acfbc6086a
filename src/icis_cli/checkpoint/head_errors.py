"""What is said where no head is found: the layers that could be it, and the way out."""

from __future__ import annotations

import shlex

from icis_cli.arrays import HEAD_DTYPES
from icis_cli.checkpoint.architectures import COMMON_HEADS
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.linear_layers import adapter_of, ends, is_linear, module_of, parametrised
from icis_cli.errors import HeadError

#: What a head may be stored as, for people.
DTYPES = f"{', '.join(HEAD_DTYPES[:-1])} or {HEAD_DTYPES[-1]}"


def refuse_adapter(checkpoint: Checkpoint, key: str | None) -> None:
    """Refuse low-rank adapters of ``key``, or any where that is None, with a :class:`HeadError`."""
    adapter = adapter_of(checkpoint, key)
    if adapter is not None:
        raise HeadError(
            f"{checkpoint.path}: it holds an adapter (LoRA), e.g. {adapter!r}, not all weights",
            "merge it first: model.merge_and_unload().save_pretrained('merged') with peft, then "
            "give merged to icis",
        )


def refuse_parametrised(checkpoint: Checkpoint) -> None:
    """Refuse matrices that are made of others, as under weight norm, with a :class:`HeadError`."""
    made = parametrised(checkpoint)
    if made is not None:
        raise HeadError(
            f"{checkpoint.path}: the head may be a layer whose weight is made of other tensors "
            f"(e.g. {made!r}, as weight norm has it)",
            "make it a plain one first, with torch.nn.utils.parametrize.remove_parametrizations, "
            "or name the head with --head",
        )


def _shape(checkpoint: Checkpoint, name: str) -> str:
    return f"{name!r} {checkpoint.tensors[name].shape}"


def _option(key: str) -> str:
    """Return how a layer is named on the command line."""
    return f"--head {shlex.quote(key)}"


def goes_on(checkpoint: Checkpoint, key: str, after: list[str]) -> HeadError:
    """Return the error about a layer that would be the head, had it not something after it."""
    last = after[-1]
    other = module_of(last)
    own = f"{key!r} {checkpoint.tensors[f'{key}.weight'].shape}"
    is_head = is_linear(checkpoint, other)
    return HeadError(
        f"{checkpoint.path}: the head could be {own}, but its answers may go on into "
        f"{_shape(checkpoint, last)}",
        f"name the last layer: {_option(other)}, or {_option(key)} where nothing comes after it"
        if is_head
        else f"rows cannot be added to {last!r}; name the head where nothing comes after it: "
        + _option(key),
    )


def refuse_other_dtypes(
    checkpoint: Checkpoint, bare: dict[str, list[str]], layers: list[str]
) -> None:
    """Refuse where the head, or any linear layer, is stored as float8 or as integers.

    Args:
        checkpoint: an opened checkpoint.
        bare: bare name of each tensor -> its names in the file.
        layers: keys of the layers that can be a head.

    Raises:
        HeadError: a layer that has the name of a head is stored so, or all layers are.

    """
    stored = [
        name
        for name, info in checkpoint.tensors.items()
        if name.endswith(".weight") and len(info.shape) == 2 and info.dtype not in HEAD_DTYPES
    ]
    named = [
        name
        for head in COMMON_HEADS
        for name in bare.get(f"{head}.weight", ())
        if name in stored or name.removesuffix(".weight") in layers
    ]
    found = named[:1] if len(named) == 1 and named[0] in stored else stored[-1:]
    if not found or (layers and found != named):
        return
    raise HeadError(
        f"{checkpoint.path}: expected a linear layer of {DTYPES}, found "
        f"{_shape(checkpoint, found[0])} of {checkpoint.tensors[found[0]].dtype}",
        "give the checkpoint as it was before it was quantised, or store this layer as one of them",
    )


def several(checkpoint: Checkpoint, layers: list[str]) -> HeadError:
    """Return the error about layers none of which is taken; also where there is none at all."""
    if not layers:
        return HeadError(
            f"{checkpoint.path}: expected a linear layer (a 2-D tensor named *.weight), found none",
            "is this the checkpoint of a classifier?",
        )
    rows = {key: checkpoint.tensors[f"{key}.weight"].shape[0] for key in layers}
    last = sorted(ends(checkpoint, layers), key=rows.__getitem__)  # the likeliest, most rows last
    shown = [*(key for key in layers if key not in last), *last][-8:]
    listed = ", ".join(f"{key} {checkpoint.tensors[key + '.weight'].shape}" for key in shown)
    return HeadError(
        f"{checkpoint.path}: {len(layers)} linear layers could be the head: {listed}",
        f"name it, e.g. {_option(shown[-1])}",
    )


def the_only(checkpoint: Checkpoint, keys: list[str]) -> str:
    """Return the one of the names of weights that stand for the same bare name.

    Raises:
        HeadError: there are several.

    """
    if len(keys) > 1:
        layers = [key.removesuffix(".weight") for key in keys]
        raise HeadError(
            f"{checkpoint.path}: it holds several models: the head could be "
            f"{', '.join(map(repr, layers[:4]))}",
            f"name it, e.g. {_option(layers[0])}, and give a file with one model where possible",
        )
    return keys[0]

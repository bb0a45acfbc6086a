"""The head: the final linear layer of a classifier, and how it is found in a checkpoint.

A head is ``<key>.weight`` (K, D) with or without ``<key>.bias`` (K,); a 1x1 convolution
(K, D, 1, 1) is one, too. It is taken, in this order, from the user (``--head``), from what the
checkpoint says, from the architecture's layout, or by being the only linear layer, the only one
under a name that heads commonly have, the last of a row of numbered layers that feed each other,
the only one with as many rows as there are class names, or the one that all others lead to by
their widths.
Anything else is an error that lists the candidates: a wrong guess would rewrite the wrong layer.

Distilled models have two heads, whose answers are averaged: twins. Together they are one head on
both inputs side by side.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np

from icis_cli.arrays import HEAD_DTYPES, FloatArray
from icis_cli.checkpoint.architectures import COMMON_HEADS, layout_of
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.linear_layers import (
    adapter_of,
    beside,
    candidates,
    ends,
    feeds_sibling,
    is_chain,
    is_linear,
    is_matrix,
    last_of_all,
    parametrised,
    place,
    strip_prefixes,
    stripped,
)
from icis_cli.checkpoint.twins import twins_of
from icis_cli.errors import HeadError

#: The squares of larger values, summed over a row, do not fit into float32.
_LARGEST = 1e17


@dataclass(frozen=True)
class Head:
    """The final linear layer.

    Attributes:
        key: state-dict key without ``.weight``, e.g. ``"classifier.6"``.
        weight: (K, D) float32. With twins the weights of all of them side by side, divided by
            their number, so that ``weight @ features + bias`` is the mean of their answers.
        bias: (K,) float32, or None; with twins the mean of theirs.
        dtype: stored dtype, safetensors code.
        found: how it was found, for people.
        twins: keys of further layers whose answers are averaged with this one's.

    """

    key: str
    weight: FloatArray
    bias: FloatArray | None
    dtype: str
    found: str
    twins: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """The keys of all layers that it consists of, in the order of their columns."""
        return (self.key, *self.twins)

    @property
    def rows(self) -> FloatArray:
        """Joined rows ``[W; b]`` (K, D+1), or (K, D) without a bias: what methods predict."""
        if self.bias is None:
            return self.weight
        return np.concatenate([self.weight, self.bias[:, None]], axis=1)


def find_head(checkpoint: Checkpoint, key: str | None = None) -> Head:
    """Find and read the head of a checkpoint.

    Args:
        checkpoint: an opened checkpoint.
        key: the layer to take, e.g. ``"classifier.6"``; None to find it.

    Raises:
        HeadError: no such layer, several candidates, or values that are not finite.

    """
    given = None if key is None else _explicit(checkpoint, key)
    _refuse_adapter(checkpoint, given)
    if given is not None:
        return _read(checkpoint, given, "as given by --head")
    told = [name for name in checkpoint.labels.heads if is_linear(checkpoint, name)]
    if told:
        return _read(checkpoint, told[0], "as the checkpoint says")
    bare = stripped(checkpoint)
    known = _known(checkpoint, bare)
    if known is not None:
        return known
    layers = candidates(checkpoint)
    common = _common(checkpoint, bare, layers)
    if common is not None and len(layers) != 1:
        return _read(checkpoint, common, "by its name")
    _refuse_parametrised(checkpoint)
    if len(layers) == 1:
        return _read(checkpoint, layers[0], "the only linear layer")
    if is_chain(checkpoint, layers):
        return _read(checkpoint, max(layers, key=place), "the last of the linear layers in a row")
    names = len(checkpoint.labels.class_names or ())
    fitting = [key for key in layers if checkpoint.tensors[f"{key}.weight"].shape[0] == names]
    if len(fitting) == 1:
        return _read(checkpoint, fitting[0], "the only one with a row for each class name")
    last = last_of_all(checkpoint, layers)
    if last is not None and names in (0, checkpoint.tensors[f"{last}.weight"].shape[0]):
        return _read(checkpoint, last, "the linear layer that all others lead to")
    if not layers:
        raise HeadError(
            f"{checkpoint.path}: expected a linear layer (a 2-D tensor named *.weight), found none",
            "is this the checkpoint of a classifier?",
        )
    raise _several(checkpoint, layers)


def _refuse_adapter(checkpoint: Checkpoint, key: str | None) -> None:
    adapter = adapter_of(checkpoint, key)
    if adapter is not None:
        raise HeadError(
            f"{checkpoint.path}: it holds an adapter (LoRA), e.g. {adapter!r}, not all weights",
            "merge it first: model.merge_and_unload().save_pretrained('merged') with peft, then "
            "give merged to icis",
        )


def _refuse_parametrised(checkpoint: Checkpoint) -> None:
    made = parametrised(checkpoint)
    if made is not None:
        raise HeadError(
            f"{checkpoint.path}: the head may be a layer whose weight is made of other tensors "
            f"(e.g. {made!r}, as weight norm has it)",
            "make it a plain one first, with torch.nn.utils.parametrize.remove_parametrizations, "
            "or name the head with --head",
        )


def _common(checkpoint: Checkpoint, bare: dict[str, list[str]], layers: list[str]) -> str | None:
    """Return the only layer under a name that heads commonly have, if no other may follow it."""
    found = [
        key.removesuffix(".weight")
        for name in COMMON_HEADS
        for key in bare.get(f"{name}.weight", ())
        if is_linear(checkpoint, key.removesuffix(".weight"))
    ]
    if len(found) != 1 or feeds_sibling(checkpoint, found[0], layers):
        return None
    return None if beside(layers, found[0], strip_prefixes(found[0])) else found[0]


def _several(checkpoint: Checkpoint, layers: list[str]) -> HeadError:
    rows = {key: checkpoint.tensors[f"{key}.weight"].shape[0] for key in layers}
    last = sorted(ends(checkpoint, layers), key=rows.__getitem__)  # the likeliest, most rows last
    shown = [*(key for key in layers if key not in last), *last][-8:]
    listed = ", ".join(f"{key} {checkpoint.tensors[key + '.weight'].shape}" for key in shown)
    return HeadError(
        f"{checkpoint.path}: {len(layers)} linear layers could be the head: {listed}",
        f"name it, e.g. --head {shown[-1]}",
    )


def _require_nothingbeside(checkpoint: Checkpoint, key: str, bare: str) -> None:
    """Refuse a head within a module where a linear layer outside of it may be the true one."""
    outside = beside(candidates(checkpoint), key, bare)
    if outside:
        raise _several(checkpoint, [key, *outside])


def _known(checkpoint: Checkpoint, bare: dict[str, list[str]]) -> Head | None:
    """Return the head of an architecture that is told by its tensor names, or None.

    Raises:
        HeadError: its head is no linear layer, or it is not clear which one it is.

    """
    layout = layout_of(bare)
    if layout is None:
        return None
    weight = _only(checkpoint, bare[f"{layout.head}.weight"])
    if not is_matrix(checkpoint.tensors[weight]) or layout.family == "SqueezeNet":
        raise HeadError(
            f"{checkpoint.path}: the head of {layout.family}, {layout.head!r}, is a "
            "convolution followed by ReLU, expected a linear layer",
            "rows cannot be added to it; use a classifier that ends in a linear layer",
        )
    key = weight.removesuffix(".weight")
    # People put layers of their own after it: then it is no head any more.
    if not feeds_sibling(checkpoint, key, candidates(checkpoint)):
        _require_nothingbeside(checkpoint, key, layout.head)
        return _read(checkpoint, key, f"known for {layout.family}")
    return None


def auxiliary_heads(checkpoint: Checkpoint, head: Head) -> tuple[str, ...]:
    """Return the keys of further heads that take part in training alone, as far as it has them.

    GoogLeNet and Inception v3 have such; what the network answers does not depend on them.
    """
    layout = layout_of(stripped(checkpoint))
    if layout is None or strip_prefixes(head.key) != layout.head:
        return ()
    prefix = head.key.removesuffix(layout.head)
    found = (prefix + name for name in layout.auxiliary)
    return tuple(key for key in found if is_linear(checkpoint, key))


def _only(checkpoint: Checkpoint, keys: list[str]) -> str:
    if len(keys) > 1:
        layers = [key.removesuffix(".weight") for key in keys]
        raise HeadError(
            f"{checkpoint.path}: it holds several models: the head could be "
            f"{', '.join(map(repr, layers[:4]))}",
            f"name it, e.g. --head {layers[0]}, and give a file with one model where possible",
        )
    return keys[0]


def _explicit(checkpoint: Checkpoint, key: str) -> str:
    key = key.removesuffix(".weight").removesuffix(".bias").rstrip(".")
    if f"{key}.weight" in checkpoint.tensors:
        return key
    matches = [
        name.removesuffix(".weight")
        for name in checkpoint.tensors
        if name.endswith(".weight") and strip_prefixes(name) == f"{key}.weight"
    ]
    if len(matches) == 1:
        return matches[0]
    layers = candidates(checkpoint)
    near = difflib.get_close_matches(key, layers, n=3, cutoff=0.5) or layers[-5:]
    raise HeadError(
        f"{checkpoint.path}: no layer {key!r} (expected a tensor {key + '.weight'!r})",
        f"linear layers there: {', '.join(near)}" if near else "it holds no linear layer",
    )


def _read(checkpoint: Checkpoint, key: str, found: str) -> Head:
    twins = twins_of(checkpoint, key)
    layers = [_values(checkpoint, layer) for layer in (key, *twins)]
    dtype = checkpoint.tensors[f"{key}.weight"].dtype
    if not twins:
        return Head(key, *layers[0], dtype, found)
    biases = [bias for _, bias in layers if bias is not None]
    if len(biases) not in (0, len(layers)):
        raise HeadError(
            f"{checkpoint.path}: of the heads {key!r} and {', '.join(map(repr, twins))}, whose "
            "answers are averaged, some have a bias and some have none"
        )
    share = np.float32(1 / len(layers))
    return Head(
        key,
        np.concatenate([weight for weight, _ in layers], axis=1) * share,
        sum(biases[1:], start=biases[0]) * share if biases else None,
        dtype,
        f"{found}; answers are its mean with {', '.join(twins)}",
        twins,
    )


def _values(checkpoint: Checkpoint, key: str) -> tuple[FloatArray, FloatArray | None]:
    """Read weight (K, D) and bias (K,) of one layer, if they are fine."""
    where = f"{checkpoint.path}: head {key!r}"
    info = checkpoint.tensors[f"{key}.weight"]
    if not is_matrix(info) or info.dtype not in HEAD_DTYPES:
        raise HeadError(
            f"{where} has a weight of shape {info.shape} and dtype {info.dtype}, expected a float "
            "matrix (K, D)",
            "name the final linear layer with --head",
        )
    bias_info = checkpoint.tensors.get(f"{key}.bias")
    if bias_info is not None and bias_info.shape != info.shape[:1]:
        raise HeadError(
            f"{where} has {info.shape[0]} rows but a bias of shape {bias_info.shape}",
        )
    if bias_info is not None and bias_info.dtype not in HEAD_DTYPES:
        raise HeadError(f"{where} has a bias of dtype {bias_info.dtype}, expected a float")
    if 0 in info.shape:
        raise HeadError(f"{where} has shape {info.shape}: there is nothing in it")
    weight = checkpoint.array(f"{key}.weight").reshape(info.shape[:2])
    bias = None if bias_info is None else checkpoint.array(f"{key}.bias")
    for values in (weight,) if bias is None else (weight, bias):
        if not np.isfinite(values).all():
            raise HeadError(f"{where} holds NaN or infinite values", "the checkpoint is damaged")
        if np.abs(values).max() > _LARGEST:
            raise HeadError(f"{where} holds values above {_LARGEST:g}", "the checkpoint is damaged")
    return weight, bias

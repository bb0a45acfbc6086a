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
from icis_cli.checkpoint.head_errors import (
    DTYPES,
    goes_on,
    refuse_adapter,
    refuse_other_dtypes,
    refuse_parametrised,
    several,
    the_only,
)
from icis_cli.checkpoint.linear_layers import (
    beside,
    candidates,
    feeds_sibling,
    is_chain,
    is_linear,
    is_matrix,
    last_of_all,
    module_of,
    place,
    strip_prefixes,
    stripped,
)
from icis_cli.checkpoint.takers import takers
from icis_cli.checkpoint.twins import twins_of
from icis_cli.errors import HeadError

#: Parts of the names of layers that a classifier has beside its head.
_ASIDE = ("proj", "predictor", "decode", "recon", "embed", "aux")

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
    refuse_adapter(checkpoint, given)
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
    named = _named(checkpoint, bare)
    # Where there is but one linear layer, a convolution of such a name must come after it.
    after_it = len(layers) != 1 or f"{named}.weight" in takers(checkpoint, layers[0])
    if named is not None and after_it and _is_last(checkpoint, named, layers):
        return _read(checkpoint, named, "by its name")
    refuse_parametrised(checkpoint)
    refuse_other_dtypes(checkpoint, bare, layers)
    left = _only_one_left(checkpoint, layers)
    if left is not None and named not in (None, left[0]) and _is_aside(left[0]):
        left = None
    key = named if left is None else left[0]
    after = [] if key is None else takers(checkpoint, key)
    if left is not None and not after:
        return _read(checkpoint, *left)
    if key is not None and any(module_of(name) not in layers for name in after):
        raise goes_on(checkpoint, key, after)
    raise several(checkpoint, layers)


def _only_one_left(checkpoint: Checkpoint, layers: list[str]) -> tuple[str, str] | None:
    """Return the layer that is the head by the shapes of all, and how that is told."""
    if len(layers) == 1:
        return layers[0], "the only linear layer"
    if is_chain(checkpoint, layers):
        return max(layers, key=place), "the last of the linear layers in a row"
    names = len(checkpoint.labels.class_names or ())
    fitting = [key for key in layers if checkpoint.tensors[f"{key}.weight"].shape[0] == names]
    if len(fitting) == 1:
        return fitting[0], "the only one with a row for each class name"
    last = last_of_all(checkpoint, layers)
    if last is not None and names in (0, checkpoint.tensors[f"{last}.weight"].shape[0]):
        return last, "the linear layer that all others lead to"
    return None


def _named(checkpoint: Checkpoint, bare: dict[str, list[str]]) -> str | None:
    """Return the only layer under a name that heads commonly have."""
    found = [
        key.removesuffix(".weight")
        for name in COMMON_HEADS
        for key in bare.get(f"{name}.weight", ())
        if is_linear(checkpoint, key.removesuffix(".weight"))
    ]
    return found[0] if len(found) == 1 else None


def _is_last(checkpoint: Checkpoint, key: str, layers: list[str]) -> bool:
    """Tell whether no other layer may follow one that is named as heads are."""
    follows = feeds_sibling(checkpoint, key, layers) or takers(checkpoint, key)
    return not follows and not beside(layers, key, strip_prefixes(key))


def _is_aside(key: str) -> bool:
    """Tell whether a layer has a name that those in the body or beside the head have."""
    in_block = any(own.isdecimal() for own in key.split(".")[:-2])
    return in_block or any(word in key.lower() for word in _ASIDE)


def _require_nothing_beside(checkpoint: Checkpoint, key: str, bare: str) -> None:
    """Refuse a head within a module where a linear layer outside of it may be the true one."""
    outside = beside(candidates(checkpoint), key, bare)
    if outside:
        raise several(checkpoint, [key, *outside])


def _known(checkpoint: Checkpoint, bare: dict[str, list[str]]) -> Head | None:
    """Return the head of an architecture that is told by its tensor names, or None.

    Raises:
        HeadError: its head is no linear layer, or it is not clear which one it is.

    """
    layout = layout_of(bare)
    if layout is None:
        return None
    weight = the_only(checkpoint, bare[f"{layout.head}.weight"])
    if not is_matrix(checkpoint.tensors[weight]) or layout.family == "SqueezeNet":
        raise HeadError(
            f"{checkpoint.path}: the head of {layout.family}, {layout.head!r}, is a "
            "convolution followed by ReLU, expected a linear layer",
            "rows cannot be added to it; use a classifier that ends in a linear layer",
        )
    key = weight.removesuffix(".weight")
    # People put layers of their own after it: then it is no head any more.
    if not feeds_sibling(checkpoint, key, candidates(checkpoint)) and not takers(checkpoint, key):
        _require_nothing_beside(checkpoint, key, layout.head)
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


def _explicit(checkpoint: Checkpoint, given: str) -> str:
    # People name one of its tensors, or the start of their names; layers may be called so, too.
    own = (given.removesuffix(end) for end in ("", ".weight", ".bias", "."))
    key = given.removesuffix(".weight").removesuffix(".bias").rstrip(".")
    for layer in (*own, key):
        if f"{layer}.weight" in checkpoint.tensors:
            return layer
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
            f"matrix (K, D) of {DTYPES}",
            "name the final linear layer with --head",
        )
    bias_info = checkpoint.tensors.get(f"{key}.bias")
    if bias_info is not None and bias_info.shape != info.shape[:1]:
        raise HeadError(
            f"{where} has {info.shape[0]} rows but a bias of shape {bias_info.shape}",
        )
    if bias_info is not None and bias_info.dtype not in HEAD_DTYPES:
        raise HeadError(f"{where} has a bias of dtype {bias_info.dtype}, expected {DTYPES}")
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

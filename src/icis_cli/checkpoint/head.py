"""The head: the final linear layer of a classifier, and how it is found in a checkpoint.

A head is ``<key>.weight`` (K, D) with or without ``<key>.bias`` (K,). It is taken, in this order,
from the user (``--head``), from the architecture's layout, or by being the only linear layer, or
the only one under a name that heads commonly have. Anything else is an error that lists the
candidates: a wrong guess would rewrite the wrong layer.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np

from icis_cli.arrays import HEAD_DTYPES, FloatArray
from icis_cli.checkpoint.architectures import COMMON_HEADS, layout_of
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.errors import HeadError

#: What wrappers put before the keys of a state dict.
PREFIXES = ("module.", "_orig_mod.", "model.")

#: The squares of larger values, summed over a row, do not fit into float32.
_LARGEST = 1e17


@dataclass(frozen=True)
class Head:
    """The final linear layer.

    Attributes:
        key: state-dict key without ``.weight``, e.g. ``"classifier.6"``.
        weight: (K, D) float32.
        bias: (K,) float32, or None.
        dtype: stored dtype, safetensors code.
        found: how it was found, for people.

    """

    key: str
    weight: FloatArray
    bias: FloatArray | None
    dtype: str
    found: str

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
    if key is not None:
        return _read(checkpoint, _explicit(checkpoint, key), "as given by --head")
    stripped = {strip_prefixes(name): name for name in checkpoint.tensors}
    layout = layout_of(stripped)
    if layout is not None:
        weight = stripped[f"{layout.head}.weight"]
        if len(checkpoint.tensors[weight].shape) != 2:
            raise HeadError(
                f"{checkpoint.path}: the head of {layout.family}, {layout.head!r}, is a "
                "convolution followed by ReLU, expected a linear layer",
                "rows cannot be added to it; use a classifier that ends in a linear layer",
            )
        return _read(checkpoint, weight.removesuffix(".weight"), f"known for {layout.family}")
    layers = candidates(checkpoint)
    if len(layers) == 1:
        return _read(checkpoint, layers[0], "the only linear layer")
    common = [layer for layer in layers if strip_prefixes(layer) in COMMON_HEADS]
    if len(common) == 1:
        return _read(checkpoint, common[0], "by its name")
    if not layers:
        raise HeadError(
            f"{checkpoint.path}: expected a linear layer (a 2-D tensor named *.weight), found none",
            "is this the checkpoint of a classifier?",
        )
    listed = ", ".join(f"{key} {checkpoint.tensors[key + '.weight'].shape}" for key in layers[-8:])
    raise HeadError(
        f"{checkpoint.path}: {len(layers)} linear layers could be the head: {listed}",
        f"name it, e.g. --head {layers[-1]}",
    )


def strip_prefixes(name: str) -> str:
    """Return a state-dict key as the bare model has it (without ``module.`` and the like)."""
    while True:
        prefix = next((p for p in PREFIXES if name.startswith(p)), None)
        if prefix is None:
            return name
        name = name.removeprefix(prefix)


def candidates(checkpoint: Checkpoint) -> list[str]:
    """Return the keys of all layers that could be a head: float matrices, in file order."""
    return [
        name.removesuffix(".weight")
        for name, info in checkpoint.tensors.items()
        if name.endswith(".weight") and len(info.shape) == 2 and info.dtype in HEAD_DTYPES
    ]


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
    where = f"{checkpoint.path}: head {key!r}"
    info = checkpoint.tensors[f"{key}.weight"]
    if len(info.shape) != 2 or info.dtype not in HEAD_DTYPES:
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
    weight = checkpoint.array(f"{key}.weight")
    bias = None if bias_info is None else checkpoint.array(f"{key}.bias")
    for values in (weight,) if bias is None else (weight, bias):
        if not np.isfinite(values).all():
            raise HeadError(f"{where} holds NaN or infinite values", "the checkpoint is damaged")
        if np.abs(values).max() > _LARGEST:
            raise HeadError(f"{where} holds values above {_LARGEST:g}", "the checkpoint is damaged")
    return Head(key, weight, bias, info.dtype, found)

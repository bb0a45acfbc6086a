"""Linear layers by their tensor names: which there are, and how they follow each other."""

from __future__ import annotations

from itertools import pairwise

from icis_cli.arrays import HEAD_DTYPES
from icis_cli.checkpoint.base import Checkpoint, TensorInfo

#: What wrappers put before the keys of a state dict.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")


def strip_prefixes(name: str) -> str:
    """Return a state-dict key as the bare model has it (without ``module.`` and the like)."""
    while True:
        prefix = next((p for p in PREFIXES if name.startswith(p)), None)
        if prefix is None:
            # Of some networks only a part is wrapped: features.module.0.weight.
            return name.replace(".module.", ".")
        name = name.removeprefix(prefix)


def candidates(checkpoint: Checkpoint) -> list[str]:
    """Return the keys of all layers that could be a head: float matrices, in file order."""
    return [
        name.removesuffix(".weight")
        for name, info in checkpoint.tensors.items()
        if name.endswith(".weight") and len(info.shape) == 2 and info.dtype in HEAD_DTYPES
    ]


def stripped(checkpoint: Checkpoint) -> dict[str, list[str]]:
    """Return the bare name of each tensor with the keys that it has in the file: mostly one."""
    found: dict[str, list[str]] = {}
    for name in checkpoint.tensors:
        found.setdefault(strip_prefixes(name), []).append(name)
    return found


def is_matrix(info: TensorInfo) -> bool:
    """Tell whether a tensor is (K, D), or (K, D, 1, 1) as in convolutions over one pixel."""
    return len(info.shape) == 2 or (len(info.shape) == 4 and info.shape[2:] == (1, 1))


def is_linear(checkpoint: Checkpoint, key: str) -> bool:
    """Tell whether ``key`` is a linear layer, or a convolution over one pixel, of floats."""
    info = checkpoint.tensors.get(f"{key}.weight")
    return info is not None and is_matrix(info) and info.dtype in HEAD_DTYPES


def feeds_sibling(checkpoint: Checkpoint, key: str, layers: list[str]) -> bool:
    """Tell whether a layer beside this one, in the same module, takes what it gives.

    Of numbered layers only a later one can.
    """
    rows = checkpoint.tensors[f"{key}.weight"].shape[0]
    parent, _, own = key.rpartition(".")

    def takes_it(other: str) -> bool:
        beside, _, name = other.rpartition(".")
        earlier = own.isdecimal() and name.isdecimal() and int(name) <= int(own)
        if other == key or beside != parent or earlier:
            return False
        return checkpoint.tensors[f"{other}.weight"].shape[1] == rows

    return any(map(takes_it, layers))


def is_chain(checkpoint: Checkpoint, layers: list[str]) -> bool:
    """Tell whether layers are numbered parts of one module, each taking what the last one gave."""
    parents = {key.rpartition(".")[0] for key in layers}
    numbered = all(key.rpartition(".")[2].isdecimal() for key in layers)
    if len(layers) < 2 or len(parents) > 1 or not numbered:
        return False
    shapes = [checkpoint.tensors[f"{key}.weight"].shape for key in sorted(layers, key=place)]
    return all(first[0] == then[1] for first, then in pairwise(shapes))


def place(key: str) -> int:
    """Return the number of a numbered part of a module."""
    return int(key.rpartition(".")[2])

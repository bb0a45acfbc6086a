"""Linear layers by their tensor names: which there are, and how they follow each other."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from icis_cli.arrays import HEAD_DTYPES
from icis_cli.checkpoint.base import Checkpoint, TensorInfo

#: What wrappers put before the keys of a state dict.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")

#: In the names of adapters' tensors, as peft has them.
_ADAPTERS = (".lora_A.", ".lora_B.", ".lora_embedding_A", ".lora_embedding_B")

#: Ends of the names of what modules make their weights of.
_MADE_OF = (".parametrizations.weight.original", ".parametrizations.weight.original1",
            ".weight_v", ".weight_orig")  # fmt: skip


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


def module_of(name: str) -> str:
    """Return the key of the layer whose weight a tensor is; else its own name."""
    return name.removesuffix(".weight").removesuffix(".parametrizations.weight.original1")


def order_tells(checkpoint: Checkpoint) -> bool:
    """Tell whether the order of the file may be that of the layers.

    In safetensors it is that of the alphabet, for each dtype and in each shard.
    """
    names: dict[str, list[str]] = {}
    for name, info in checkpoint.tensors.items():
        names.setdefault(info.dtype, []).append(name)
    descents = (sum(then < first for first, then in pairwise(part)) for part in names.values())
    return max(descents, default=0) >= len(checkpoint.files)


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


def ends(checkpoint: Checkpoint, layers: list[str]) -> list[str]:
    """Return the layers whose answers no other one could take: none has so many inputs.

    Matrices under other names (attention, recurrent layers) could take them, too. Embeddings, which
    have a row for each word and no bias, are not among them.
    """
    widths = Counter(info.shape[1] for info in checkpoint.tensors.values() if len(info.shape) == 2)
    shapes = {key: checkpoint.tensors[f"{key}.weight"].shape for key in layers}
    return [
        key
        for key, (rows, width) in shapes.items()
        if widths[rows] == (rows == width) and not is_embedding(checkpoint, key)
    ]


def is_embedding(checkpoint: Checkpoint, key: str) -> bool:
    """Tell whether a layer looks up rows by their numbers, as its name and no bias tell."""
    own = key.rpartition(".")[2]
    named = "embed" in key or own == "emb" or own.endswith("_emb")
    return named and f"{key}.bias" not in checkpoint.tensors


def last_of_all(checkpoint: Checkpoint, layers: list[str]) -> str | None:
    """Return the layer that all others lead to by their widths, where there can be but one.

    No other one has as many rows, and it comes last, unless the order of the file is that of the
    alphabet and says nothing.
    """
    last = ends(checkpoint, layers)
    if len(last) != 1:
        return None
    steps = [key for key in layers if not is_embedding(checkpoint, key)]
    if order_tells(checkpoint) and last != steps[-1:]:
        return None
    others = [checkpoint.tensors[f"{key}.weight"].shape for key in steps if key != last[0]]
    rows, width = checkpoint.tensors[f"{last[0]}.weight"].shape
    taken, new = {width}, {width}
    while new:  # back from it: what gives what is taken takes something itself
        new = {inputs for outputs, inputs in others if outputs in new} - taken
        taken |= new
    leads = all(outputs in taken and outputs != rows for outputs, _ in others)
    return last[0] if leads else None


def beside(layers: list[str], key: str, bare: str) -> list[str]:
    """Return the layers outside of the module that a layer is wrapped in, if it is."""
    prefix = key.removesuffix(bare)
    return [layer for layer in layers if not layer.startswith(prefix)]


def adapter_of(checkpoint: Checkpoint, key: str | None) -> str | None:
    """Return a tensor of a low-rank adapter (LoRA): one of ``key``, or any where that is None."""
    start = "" if key is None else f"{key.removesuffix('.base_layer')}."
    return next(
        (
            name
            for name in checkpoint.tensors
            if name.startswith(start) and any(part in name for part in _ADAPTERS)
        ),
        None,
    )


def parametrised(checkpoint: Checkpoint) -> str | None:
    """Return a tensor that a matrix is made of, as under weight norm; None where there is none."""
    return next(
        (
            name
            for name, info in checkpoint.tensors.items()
            if name.endswith(_MADE_OF) and len(info.shape) == 2 and info.shape[1] > 1
        ),
        None,
    )


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

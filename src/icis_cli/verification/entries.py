"""PyTorch files that hold more than a state dict: which network is meant, and what is beside it.

Training checkpoints hold several networks, a new checkpoint the one that got rows. Beside it is
what was there before, class counts and names brought up to date; nothing that describes the old
head.
"""

from __future__ import annotations

import argparse
import itertools
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.registry import open_checkpoint
from icis_cli.checkpoint.torch_entries import NewHead, stale_entries, updated
from icis_cli.checkpoint.torch_pickle import TorchCheckpoint
from icis_cli.checkpoint.torch_tensors import bytes_of
from icis_cli.errors import CheckpointError
from icis_cli.injection.record import Record
from icis_cli.runtime import import_torch
from icis_cli.verification.stretches import stretches


def fitting_entry(old: Checkpoint, new: Checkpoint) -> Checkpoint:
    """Return the network of a PyTorch file that the new checkpoint is nearest to.

    Of a file with several networks, ``old`` is one of them; it is returned where no other one has
    more tensors of which the new checkpoint begins with the very bytes.
    """
    if not isinstance(old, TorchCheckpoint) or old.entry is None:
        return old
    found, most = old, _shared(old, new)
    for key in old.chosen.others:
        try:
            other = open_checkpoint(old.path, key)
        except CheckpointError:  # quantised, for example: no rows could be added to it
            continue
        shared = _shared(other, new)
        if shared > most and isinstance(other, TorchCheckpoint):
            found, most = other, shared
    return found


def _shared(old: Checkpoint, new: Checkpoint) -> int:
    """Count the tensors that a new checkpoint begins with the bytes of."""
    return sum(
        info.shape[1:] == new.tensors[key].shape[1:]
        and info.dtype == new.tensors[key].dtype
        and info.size <= new.tensors[key].size
        and all(s.difference() is None for s in stretches(old.blocks(key), new.blocks(key)))
        for key, info in old.tensors.items()
        if key in new.tensors
    )


def entries_difference(
    old: Checkpoint, new: TorchCheckpoint, record: Record, before: int
) -> str | None:
    """Say what a new PyTorch file holds beside its tensors that does not follow from the old one.

    Args:
        old: of any container; others than PyTorch's give tensors alone.
        new: what is looked at.
        record: of ``new``.
        before: rows of the old head.

    """
    of_old = isinstance(old, TorchCheckpoint)
    key = old.chosen.key if isinstance(old, TorchCheckpoint) else None
    if new.chosen.key != key:
        where = "at its top" if new.chosen.key is None else f"under {new.chosen.key!r}"
        was = "at its top" if key is None else f"under {key!r}"
        return f"its state dict lies {where}, expected {was}"
    state = old.state if isinstance(old, TorchCheckpoint) else {}
    found = _difference(_no_tensors(state), _no_tensors(new.state))
    if found is not None:
        return found
    if of_old and not _same(_attributes(state), _attributes(new.state)):
        return "the versions of its modules differ"
    odd = _other_gradient(state, new.state)
    if odd is not None:
        return f"its tensor {odd!r} is to be trained in one of them alone"
    if key is None or not isinstance(old, TorchCheckpoint):
        return None
    stale = {key, *stale_entries(old.root, old.chosen)}
    wanted = {name: value for name, value in old.root.items() if name not in stale}
    counts, end = [before], record.seen
    for part in record.rounds:
        end += part.classes
        if end > before:
            counts.append(end)
    for rows, more in itertools.pairwise(counts):
        head = NewHead(rows, more, record.class_names[:more])
        wanted = {entry: updated(entry, value, head) for entry, value in wanted.items()}
    return _difference(wanted, {name: v for name, v in new.root.items() if name != key})


def _no_tensors(state: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return what of a state dict is compared nowhere else."""
    torch = import_torch()
    return {
        key: value
        for key, value in state.items()
        if not (isinstance(key, str) and isinstance(value, torch.Tensor))
    }


def _attributes(state: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what a state dict has beside its tensors: the versions of the modules."""
    return vars(state) if isinstance(state, OrderedDict) else {}


def _other_gradient(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> str | None:
    """Return the first tensor of two state dicts that only one of them wants to be trained."""
    torch = import_torch()
    for key, tensor in one.items():
        found = other.get(key)
        if not isinstance(tensor, torch.Tensor) or not isinstance(found, torch.Tensor):
            continue
        if tensor.requires_grad != found.requires_grad:
            return str(key)
    return None


def _difference(wanted: Mapping[Any, Any], found: Mapping[Any, Any]) -> str | None:
    # By how they are spelled: 1 and True are one key, and a key that is not a number is none.
    wanted, found = ({repr(k): v for k, v in one.items()} for one in (wanted, found))
    for key in (*wanted, *found):
        if key not in found:
            return f"its entry {key} is missing"
        if key not in wanted:
            return f"its entry {key} is more than follows from the old checkpoint"
        if not _same(wanted[key], found[key]):
            return f"its entry {key} is not what follows from the old checkpoint and the record"
    return None


def _same(one: Any, other: Any) -> bool:
    """Tell whether two entries are the same, numbers bit for bit."""
    looked_at: set[tuple[int, int]] = set()  # a pickle may hold a list that lies in itself
    left = [(one, other)]
    while left:
        one, other = left.pop()
        if type(one) is not type(other):
            return False
        if (id(one), id(other)) in looked_at:
            continue
        parts, others = _ordered(one), _ordered(other)
        if parts is None or others is None:
            if not _is_equal(one, other):
                return False
        else:
            looked_at.add((id(one), id(other)))
            if len(parts) != len(others):
                return False
            left += zip(parts, others, strict=True)
    return True


def _ordered(value: Any) -> list[Any] | None:
    """Return the parts of a container, keys and attributes, too; None of anything else."""
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        attributes = _attributes(value)
        return [*value, *value.values(), *attributes, *attributes.values()]
    if isinstance(value, set):  # ordered by chance; 1 and True are one there
        return sorted(f"{type(part).__name__} {part!r}" for part in value)
    return list(value) if isinstance(value, list | tuple) else None


def _is_equal(one: Any, other: Any) -> bool:
    """Tell whether two values of one type, which are no containers, are the same."""
    torch = import_torch()
    if isinstance(one, torch.Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        alike = alike and one.layout == other.layout and one.requires_grad == other.requires_grad
        if alike and (one.layout is not torch.strided or one.is_quantized or one.is_meta):
            return repr(one) == repr(other)
        return alike and bytes_of(one) == bytes_of(other)
    if isinstance(one, float | complex):  # 0.0 and -0.0 differ, what is not a number does not
        return repr(one) == repr(other)
    if hasattr(one, "tobytes"):  # of numpy
        return bool(one.dtype == other.dtype and one.shape == other.shape) and (
            one.tobytes() == other.tobytes()
        )
    return bool(one == other)

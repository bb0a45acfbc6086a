"""The tensors of two checkpoints compared: all that must be the same, and the rows that are new."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from icis_cli.arrays import ITEM_SIZE
from icis_cli.checkpoint.base import Checkpoint, TensorInfo
from icis_cli.checkpoint.folder import FolderCheckpoint, torch_file
from icis_cli.checkpoint.head import Head, auxiliary_heads
from icis_cli.injection.appending import tied_to
from icis_cli.injection.record import Record
from icis_cli.verification.result import Check
from icis_cli.verification.stretches import stretches

#: Neutral rows are the mean of others, up to what a stored number is rounded by.
_ROUNDED = 0.01

#: Called with bytes compared so far, bytes in all, and the tensor that is looked at.
Watch = Callable[[int, int, str], object]


@dataclass(frozen=True)
class Grown:
    """A new checkpoint as it must be.

    Attributes:
        tensors: key -> type and shape of every tensor, in order.
        head: keys of the tensors of the head: they have new rows.
        auxiliary: keys of further tensors that have new rows.
        ties: keys of tensors that are one with some of these, and have their rows -> these.

    """

    tensors: dict[str, TensorInfo]
    head: tuple[str, ...]
    auxiliary: tuple[str, ...]
    ties: dict[str, str]


def grown(old: Checkpoint, new: Checkpoint, head: Head, record: Record) -> Grown:
    """Return what a checkpoint must become with the rows that a record tells of."""
    total = len(record.class_names)
    own = _tensors_of(old, head.layers)
    sides = _tensors_of(old, record.auxiliary)
    tensors = dict(old.without(record.dropped).tensors)
    for key in (*own, *sides):
        if key in tensors:
            tensors[key] = _of_rows(tensors[key], total)
    counts = _counts(old, new, len(head.weight), record)
    ties: dict[str, str] = {}
    for key, other in tied_to(old, (*own, *sides)).items():
        there = new.tensors[key].shape[:1] if key in new.tensors else ()
        rows = next((count for count in counts if (count,) == there), counts[-1])
        if key in tensors and rows > len(head.weight):
            tensors[key] = _of_rows(tensors[key], rows)
            ties[key] = other
    return Grown(tensors, own, sides, ties)


def _of_rows(info: TensorInfo, rows: int) -> TensorInfo:
    return TensorInfo(info.dtype, (rows, *info.shape[1:]))


def _counts(old: Checkpoint, new: Checkpoint, before: int, record: Record) -> list[int]:
    """Return how many rows tensors may have that were one with the head.

    A copy of a PyTorch file, or of a folder with one, keeps them one with it; another format
    cannot, nor a folder that becomes a file. Where there were several injections, it is not known
    in which formats the steps between were.
    """
    end, counts = record.seen, [before]
    for part in record.rounds:
        end += part.classes
        if end > before:
            counts.append(end)
    if len(counts) > 2:
        return counts
    copied = isinstance(new, FolderCheckpoint) or not isinstance(old, FolderCheckpoint)
    return counts[-1:] if copied and torch_file(new) is not None else counts[:1]


def table_check(
    old: Checkpoint, new: Checkpoint, head: Head, record: Record, known: Record | None
) -> Check:
    """Compare which tensors there are, in which order, of which types and shapes.

    ``known`` is the record of the old checkpoint, if it has one.
    """
    expected = grown(old, new, head, record).tensors
    left = f"; left out: {', '.join(record.dropped)}" if record.dropped else ""
    return Check(
        "tensors",
        _not_allowed(old, head, record, known) or _difference(expected, new.tensors),
        f"{len(expected)} with the same names, types and order{left}",
    )


def _not_allowed(old: Checkpoint, head: Head, record: Record, known: Record | None) -> str | None:
    """Say what a record tells of more than the head that is no head for training alone."""
    allowed = auxiliary_heads(old, head)
    modules = {key.rpartition(".")[0] for key in allowed}
    for key in record.auxiliary:
        if key not in allowed or record.auxiliary.count(key) > 1:
            return f"the record widens {key!r}, which is no auxiliary head"
        if old.tensors[f"{key}.weight"].shape[0] != len(head.weight):
            return f"the record widens {key!r}, which has rows of other classes"
    gone = () if known is None else known.dropped  # the old checkpoint lacks these already
    for module in record.dropped[len(gone) :]:
        if module not in modules or record.dropped.count(module) > 1:
            return f"the record leaves out {module!r}, which has no auxiliary head"
    return None


def _difference(expected: Mapping[str, TensorInfo], found: Mapping[str, TensorInfo]) -> str | None:
    """Say where two tables of tensors differ first, None where they do not."""
    missing = next((key for key in expected if key not in found), None)
    if missing is not None:
        return f"tensor {missing!r} is missing"
    more = next((key for key in found if key not in expected), None)
    if more is not None:
        return f"tensor {more!r} is not in the old checkpoint"
    for key, info in expected.items():
        if found[key] != info:
            return f"{key!r} is {_told(found[key])}, expected {_told(info)}"
    for own, other in zip(expected, found, strict=True):
        if own != other:
            return f"the order differs: {other!r} comes where {own!r} was"
    return None


def value_checks(
    old: Checkpoint, new: Checkpoint, expected: Grown, watch: Watch | None = None
) -> Iterator[Check]:
    """Compare the bytes of all tensors that both have, and look at the new rows.

    The two must have the tensors that are ``expected``.
    """
    compared = _Comparison(old, new, sum(info.size for info in expected.tensors.values()), watch)
    changed = (*expected.head, *expected.auxiliary)
    others = [key for key in expected.tensors if key not in changed and key not in expected.ties]
    found = _first([compared.same(key) for key in others])
    size = sum(expected.tensors[key].size for key in others)
    told = f"the same: {len(others)} of {size:,} bytes"
    yield Check("other tensors", found, told)
    differences = [compared.continued(key) for key in changed]
    wrong, odd = (_first(texts) for texts in zip(*differences, strict=True))
    rows = old.tensors[expected.head[0]].shape[0]
    count = expected.tensors[expected.head[0]].shape[0] - rows
    listed = ", ".join(changed)
    yield Check("old rows", wrong, f"the same: {rows} of {listed}")
    odd = odd or _first([_not_neutral(new, key, rows) for key in expected.auxiliary])
    yield Check("new rows", odd, f"{count} of finite numbers")
    if expected.ties:
        found = _first([compared.tied(key, own) for key, own in expected.ties.items()])
        pairs = ", ".join(f"{key} with {own}" for key, own in expected.ties.items())
        yield Check("tied tensors", found, f"the same rows: {pairs}")


def _not_neutral(new: Checkpoint, key: str, before: int) -> str | None:
    """Say which new row of a head for training alone is not the mean of the ``before`` old ones."""
    info = new.tensors[key]
    values = new.array(key).reshape(info.shape[0], -1)
    off = np.abs(values[before:] - values[:before].mean(axis=0)).max(axis=1, initial=0)
    allowed = _ROUNDED * float(np.abs(values[:before]).max(initial=0))
    bad = np.flatnonzero(~(off <= allowed))
    return (
        f"{key!r} has in row {before + int(bad[0])} not the mean of the old ones"
        if len(bad)
        else None
    )


@dataclass
class _Comparison:
    """Tensors of two checkpoints gone through one by one, with the bytes done so far."""

    old: Checkpoint
    new: Checkpoint
    total: int
    watch: Watch | None
    done: int = 0

    def same(self, key: str) -> str | None:
        """Say where a tensor differs, None where it does not."""
        info = self.old.tensors[key]
        for stretch in stretches(self.old.blocks(key), self.new.blocks(key)):
            self._show(len(stretch.new), key)
            place = stretch.difference()
            if place is not None:
                number = place // ITEM_SIZE[info.dtype]
                return f"{key!r} differs, first in number {number} of {info.count}"
        return None

    def continued(self, key: str) -> tuple[str | None, str | None]:
        """Say where old rows of a tensor differ, and where new ones are not finite."""
        info = self.new.tensors[key]
        row = info.size // info.shape[0]
        wrong: str | None = None
        for stretch in stretches(self.old.blocks(key), self.new.blocks(key)):
            self._show(len(stretch.new), key)
            if stretch.old is not None:
                place = stretch.difference()
                if place is not None and wrong is None:
                    wrong = f"{key!r} differs in old row {place // row}"
                continue
            place = stretch.not_finite(info.dtype)
            if place is not None:
                return wrong, f"{key!r} has a number in row {place // row} that is not finite"
        return wrong, None

    def tied(self, key: str, own: str) -> str | None:
        """Say where a tensor is not what another one of the new checkpoint begins with."""
        info = self.new.tensors[key]
        row = info.size // info.shape[0]
        for stretch in stretches(self.new.blocks(own), self.new.blocks(key)):
            self._show(len(stretch.new), key)
            place = stretch.difference()
            if place is not None:
                return f"{key!r} was one with {own!r}, but differs from it in row {place // row}"
        return None

    def _show(self, size: int, key: str) -> None:
        self.done += size
        if self.watch is not None:
            self.watch(self.done, self.total, key)


def _first(texts: Iterable[str | None]) -> str | None:
    return next((text for text in texts if text is not None), None)


def _tensors_of(checkpoint: Checkpoint, layers: tuple[str, ...]) -> tuple[str, ...]:
    names = (f"{layer}.{part}" for layer in layers for part in ("weight", "bias"))
    return tuple(name for name in names if name in checkpoint.tensors)


def _told(info: TensorInfo) -> str:
    return f"{info.dtype} {info.shape}"

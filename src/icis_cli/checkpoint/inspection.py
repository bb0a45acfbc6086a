"""Inspection: what a checkpoint holds, told without changing or fully reading it.

Of the tensors only the head is read; all else comes from the table of contents of the file and,
where rows were injected, from its record. A checkpoint whose head is not found can be looked at,
too: that is when a person wants to look.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.head import Head, auxiliary_heads, find_head
from icis_cli.checkpoint.linear_layers import candidates
from icis_cli.checkpoint.registry import open_checkpoint
from icis_cli.errors import CheckpointError, HeadError, printable
from icis_cli.injection.record import Record, find_record


@dataclass(frozen=True)
class Layer:
    """A layer that could be the head, as the table of contents has it.

    Attributes:
        key: state-dict key without ``.weight``.
        rows: K, the number of rows.
        width: D, the number of inputs.
        dtype: of the weight, safetensors code.
        bias: whether there is a ``key.bias``.

    """

    key: str
    rows: int
    width: int
    dtype: str
    bias: bool


@dataclass(frozen=True)
class Norms:
    """Euclidean norms of the weight rows (K, D), without the bias."""

    smallest: float
    median: float
    largest: float


@dataclass(frozen=True)
class FoundHead:
    """The head that was found.

    Attributes:
        layer: which one it is.
        found: how it was found, for people.
        norms: of its rows.
        twins: keys of further layers whose answers are averaged with its own; ``layer.width``
            counts the inputs of all of them.
        auxiliary: keys of heads that take part in training alone.

    """

    layer: Layer
    found: str
    norms: Norms
    twins: tuple[str, ...] = ()
    auxiliary: tuple[str, ...] = ()


@dataclass(frozen=True)
class MissingHead:
    """Why no head was found.

    Attributes:
        reason: one line.
        hint: the way out, or ``""``.

    """

    reason: str
    hint: str


@dataclass(frozen=True)
class ClassNames:
    """Names of the head's rows.

    Attributes:
        source: ``"record"`` (of an injection) or ``"checkpoint"`` (beside its state dict).
        names: in row order.

    """

    source: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class InjectedRound:
    """One injection, as the record tells it.

    Attributes:
        classes: how many rows it added.
        method: name of the method.
        calibration: ``"auto"``, ``"fixed"`` or ``"none"``.
        gamma: offset that was added to the biases of these rows.
        version: of the package that did it.

    """

    classes: int
    method: str
    calibration: str
    gamma: float
    version: str


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint holds.

    Attributes:
        path: the file, or the folder of its shards.
        container: name of the container, as ``Checkpoint.container``.
        size: bytes on disk, of all shards together.
        tensors: how many there are.
        parameters: dtype (safetensors code) -> how many numbers are stored in it, buffers included.
        layers: all that could be the head, in file order.
        head: the head, or why none was found.
        class_names: where the checkpoint or its record tells them.
        trained: K before the first injection; None without a record.
        rounds: the injections in order.
        arch: name of the architecture, where the checkpoint tells it.
        metadata: keys of the text beside the tensors.
        notes: what a person should know.

    """

    path: Path
    container: str
    size: int
    tensors: int
    parameters: Mapping[str, int]
    layers: tuple[Layer, ...]
    head: FoundHead | MissingHead
    class_names: ClassNames | None
    trained: int | None
    rounds: tuple[InjectedRound, ...]
    arch: str | None
    metadata: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready values; ``head`` is null where none was found."""
        names = self.class_names
        return {
            "weights": str(self.path),
            "container": self.container,
            "bytes": self.size,
            "tensors": self.tensors,
            "parameters": dict(self.parameters),
            "candidates": [asdict(layer) for layer in self.layers],
            **_head_json(self.head),
            "class_names": None
            if names is None
            else {"source": names.source, "count": len(names.names), "names": list(names.names)},
            "trained_rows": self.trained,
            "rounds": [asdict(part) for part in self.rounds],
            "arch": self.arch,
            "metadata": list(self.metadata),
            "notes": list(self.notes),
        }


def inspect_checkpoint(source: Checkpoint | Path | str, head: str | None = None) -> Inspection:
    """Look into a checkpoint.

    Args:
        source: an opened checkpoint, or its path.
        head: the layer to take, e.g. ``"classifier.6"``; None to find it.

    Raises:
        CheckpointError: the file or its record is missing, unreadable or damaged.
        HeadError: ``head`` is given, but is none. Where no head is found, that is a result.

    """
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source)
    found = _find(checkpoint, head)
    record = find_record(checkpoint)
    names = _names(checkpoint, record)
    rounds = () if record is None else _rounds(record, checkpoint.path)
    return Inspection(
        path=checkpoint.path,
        container=checkpoint.container,
        size=size_on_disk(checkpoint),
        tensors=len(checkpoint.tensors),
        parameters=_parameters(checkpoint),
        layers=tuple(_layer(checkpoint, key) for key in candidates(checkpoint)),
        head=found,
        class_names=names,
        trained=None if record is None else record.seen,
        rounds=rounds,
        arch=checkpoint.labels.arch,
        metadata=tuple(checkpoint.metadata),
        notes=(*checkpoint.notes, *_contradictions(found, names, record)),
    )


def size_on_disk(checkpoint: Checkpoint) -> int:
    """Return the bytes of all files of a checkpoint.

    Raises:
        CheckpointError: one of them cannot be looked at.

    """
    try:
        return sum(path.stat().st_size for path in checkpoint.files)
    except OSError as error:
        path = error.filename or checkpoint.path
        raise CheckpointError(path, f"cannot be read: {error.strerror or error}") from error


def _head_json(head: FoundHead | MissingHead) -> dict[str, Any]:
    if isinstance(head, MissingHead):
        return {"head": None, "why_no_head": asdict(head)}
    layer = head.layer
    return {
        "head": {
            "key": layer.key,
            "classes": layer.rows,
            "width": layer.width,
            "bias": layer.bias,
            "dtype": layer.dtype,
            "found": head.found,
            "norms": asdict(head.norms),
            "twins": list(head.twins),
            "auxiliary": list(head.auxiliary),
        },
        "why_no_head": None,
    }


def _find(checkpoint: Checkpoint, key: str | None) -> FoundHead | MissingHead:
    try:
        head = find_head(checkpoint, key)
    except HeadError as error:
        if key is not None:
            raise
        where = f"{printable(checkpoint.path)}: "
        return MissingHead(error.message.removeprefix(where), error.hint)
    layer = replace(_layer(checkpoint, head.key), width=head.weight.shape[1])
    sides = auxiliary_heads(checkpoint, head)
    return FoundHead(layer, head.found, _norms(head), head.twins, sides)


def _layer(checkpoint: Checkpoint, key: str) -> Layer:
    info = checkpoint.tensors[f"{key}.weight"]
    rows, width = info.shape[:2]
    return Layer(key, rows, width, info.dtype, f"{key}.bias" in checkpoint.tensors)


def _norms(head: Head) -> Norms:
    weight: FloatArray = head.weight
    # Sums in float64, without a copy of the weight in it.
    norms = np.sqrt(np.einsum("kd,kd->k", weight, weight, dtype=np.float64))
    return Norms(float(norms.min()), float(np.median(norms)), float(norms.max()))


def _parameters(checkpoint: Checkpoint) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for info in checkpoint.tensors.values():
        counts[info.dtype] += info.count
    return dict(counts.most_common())


def _names(checkpoint: Checkpoint, record: Record | None) -> ClassNames | None:
    if record is not None:
        return ClassNames("record", record.class_names)
    names = checkpoint.labels.class_names
    return None if names is None else ClassNames("checkpoint", names)


def _rounds(record: Record, path: Path) -> tuple[InjectedRound, ...]:
    """Return the injections of a record; its values may be anything that JSON can hold."""
    try:
        rounds = tuple(
            InjectedRound(
                int(part.classes),
                str(part.method),
                str(part.calibration_kind),
                float(part.calibration),
                str(part.version),
            )
            for part in record.rounds
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(path, f"holds a damaged icis record ({error!r})") from None
    if not all(math.isfinite(part.gamma) for part in rounds):
        raise CheckpointError(path, "holds a damaged icis record (an offset that is no number)")
    return rounds


def _contradictions(
    head: FoundHead | MissingHead, names: ClassNames | None, record: Record | None
) -> tuple[str, ...]:
    """Say where head, names and record do not fit each other."""
    if isinstance(head, MissingHead):
        return ()
    notes = []
    layer = head.layer
    if record is not None and record.head != layer.key:
        notes.append(f"the record is about the head {record.head!r}, not {layer.key!r}")
    elif names is not None and len(names.names) != layer.rows:
        notes.append(
            f"the head has {layer.rows} rows, but the {names.source} names {len(names.names)} "
            "classes"
        )
    return tuple(notes)

"""New rows as they are predicted, and as they are appended to the tensors of a head.

Where they are too many to lie in memory they are made block by block: once when they are judged,
and again when they are written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from icis_cli.arrays import FloatArray, IntArray, encode
from icis_cli.checkpoint.base import Buffer, Checkpoint, Edit, TensorInfo
from icis_cli.checkpoint.folder import torch_file
from icis_cli.checkpoint.head import Head
from icis_cli.checkpoint.torch_tensors import tied
from icis_cli.errors import TrainingError
from icis_cli.injection.injector import Injector
from icis_cli.injection.targets import NewClasses
from icis_cli.injection.tuning import Tuned
from icis_cli.lazy import LazyMatrix, Matrix, blocks, kept_if_small, looked_up

_ALL = slice(None)


def predicted_rows(injector: Injector, classes: NewClasses) -> Matrix:
    """Return the rows (U, P) that the injector predicts for new classes, U >= 1.

    Raises:
        TrainingError: a row is not finite; of very many rows, when it is made.

    """
    width = injector.predict(classes.descriptors[:1]).shape[1]

    def make(rows: slice | IntArray) -> FloatArray:
        described = looked_up(classes.descriptors, rows)
        return finite(injector.predict(described), classes, rows)

    return kept_if_small(LazyMatrix(len(classes.names), width, make))


def finite(rows: FloatArray, classes: NewClasses, where: slice | IntArray = _ALL) -> FloatArray:
    """Return rows (B, P), those of the classes ``where`` says, if all are of finite length.

    Raises:
        TrainingError: naming the first class whose row is not.

    """
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(rows, axis=1)  # infinite above 1e19: nothing could be computed
    bad = np.flatnonzero(~np.isfinite(lengths))
    if len(bad):
        name = classes.names[np.arange(len(classes.names))[where][bad[0]]]
        raise TrainingError(
            f"the predicted row of {name!r} is not finite or far too long",
            "its descriptor may be far out of the range of the seen ones",
        )
    return rows


def appended(checkpoint: Checkpoint, head: Head, tuned: Tuned) -> dict[str, Edit]:
    """Make the edits that append tuned rows to weight and bias of every layer of a head.

    Raises:
        TrainingError: a value does not fit the head's dtype; of very many rows, when it is
            written.

    """
    edits: dict[str, Edit] = {}
    first = 0
    for layer in head.layers:
        weight, bias = f"{layer}.weight", f"{layer}.bias"
        end = first + checkpoint.tensors[weight].shape[1]
        part = _Appended(checkpoint, weight, tuned.rows, slice(first, end), len(head.layers))
        edits[weight] = part.edit()
        if tuned.biases is not None:
            edits[bias] = _Appended(checkpoint, bias, tuned.biases[:, None], slice(0, 1)).edit()
        first = end
    return edits


def widened(checkpoint: Checkpoint, keys: tuple[str, ...], count: int) -> dict[str, Edit]:
    """Make the edits that append ``count`` neutral rows, the mean of the old ones, to layers."""
    edits: dict[str, Edit] = {}
    for key in keys:
        for name in (f"{key}.weight", f"{key}.bias"):
            if name in checkpoint.tensors:
                values = checkpoint.array(name).reshape(checkpoint.tensors[name].shape[0], -1)
                rows = np.repeat(values.mean(axis=0, keepdims=True), count, axis=0)
                edits[name] = _Appended(checkpoint, name, rows, _ALL).edit()
    return edits


def shortened(checkpoint: Checkpoint, keys: tuple[str, ...], count: int) -> dict[str, Edit]:
    """Make the edits that leave the first ``count`` rows of layers, byte for byte."""
    names = (f"{key}.{part}" for key in keys for part in ("weight", "bias"))
    return cut(checkpoint, (name for name in names if name in checkpoint.tensors), count)


def cut(checkpoint: Checkpoint, names: Iterable[str], count: int) -> dict[str, Edit]:
    """Make the edits that leave the first ``count`` rows of tensors, byte for byte."""
    edits: dict[str, Edit] = {}
    for name in names:
        info = checkpoint.tensors[name]
        kept = _first_rows(checkpoint, name, count)
        edits[name] = Edit(TensorInfo(info.dtype, (count, *info.shape[1:])), (kept,))
    return edits


def _first_rows(checkpoint: Checkpoint, name: str, count: int) -> memoryview:
    data = memoryview(checkpoint.raw(name)).cast("B")
    return data[: len(data) // checkpoint.tensors[name].shape[0] * count]


def tied_to(checkpoint: Checkpoint, keys: Collection[str]) -> dict[str, str]:
    """Return the tensors that are one with some of ``keys``, and so change with them.

    Only PyTorch files tell of such; of a head that is also the embedding, for example.

    Returns:
        key -> the one of ``keys`` that it shares its values with.

    """
    file = torch_file(checkpoint)
    if file is None:
        return {}
    found: dict[str, str] = {}
    for group in tied(file.state):
        own = next((key for key in keys if key in group), None)
        if own is not None:
            others = (key for key in group if key not in keys and key in checkpoint.tensors)
            found |= dict.fromkeys(others, own)
    return found


def grown_with(
    checkpoint: Checkpoint, keys: Collection[str], counts: Collection[int]
) -> dict[str, str]:
    """Return the tensors that got injected rows because they are, or were, one with a head.

    A checkpoint that was a PyTorch file before may hold them as tensors of their own: such a
    matrix has the very rows of the head, as many as that had after one of the injections.

    Args:
        checkpoint: with injected rows.
        keys: of the tensors that rows were injected into.
        counts: of rows that these had after each injection.

    Returns:
        key -> the one of ``keys`` whose rows it has.

    """
    found = tied_to(checkpoint, keys)
    for own in (key for key in keys if key.endswith(".weight")):
        for key in checkpoint.tensors:
            if key not in keys and key not in found and _begins(checkpoint, own, key, counts):
                found[key] = own
                # A number per class could be that of another tensor by chance, a row could not.
                bias, other = (f"{name.removesuffix('.weight')}.bias" for name in (own, key))
                both = bias in keys and other in checkpoint.tensors and other not in keys
                if both and _begins(checkpoint, bias, other, counts):
                    found[other] = bias
    return found


def _begins(checkpoint: Checkpoint, own: str, key: str, counts: Collection[int]) -> bool:
    """Tell whether a tensor is the beginning of another one, as long as one of ``counts``."""
    whole, part = checkpoint.tensors[own], checkpoint.tensors[key]
    if part.dtype != whole.dtype or part.shape[1:] != whole.shape[1:] or not part.shape:
        return False
    rows = part.shape[0]
    return rows in counts and _first_rows(checkpoint, own, rows) == _first_rows(
        checkpoint, key, rows
    )


@dataclass(frozen=True)
class _Appended:
    """The bytes of a tensor and of new rows after it; made anew each time they are asked for.

    Attributes:
        checkpoint: where the tensor is.
        key: of the tensor.
        rows: (U, P) new rows.
        columns: which of their columns are the tensor's.
        scale: what these are multiplied by: the number of layers that a head is the mean of.

    """

    checkpoint: Checkpoint
    key: str
    rows: Matrix
    columns: slice
    scale: int = 1

    def edit(self) -> Edit:
        """Return what takes the place of the tensor."""
        info = self.checkpoint.tensors[self.key]
        shape = (info.shape[0] + len(self.rows), *info.shape[1:])
        lazy = isinstance(self.rows, LazyMatrix)
        return Edit(TensorInfo(info.dtype, shape), self if lazy else tuple(self))

    def __iter__(self) -> Iterator[Buffer]:
        dtype = self.checkpoint.tensors[self.key].dtype
        yield self.checkpoint.raw(self.key)
        for _, block in blocks(self.rows):
            try:
                yield encode(block[:, self.columns] * np.float32(self.scale), dtype)
            except OverflowError as error:
                raise TrainingError(f"{self.checkpoint.path}: {self.key}: {error}") from None

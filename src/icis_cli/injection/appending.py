"""New rows as they are predicted, and as they are appended to the tensors of a head.

Where they are too many to lie in memory they are made block by block: once when they are judged,
and again when they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from icis_cli.arrays import FloatArray, IntArray, encode
from icis_cli.checkpoint.base import Buffer, Checkpoint, Edit, TensorInfo
from icis_cli.checkpoint.head import Head
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
    """Make the edits that append tuned rows to weight and bias.

    Raises:
        TrainingError: a value does not fit the head's dtype; of very many rows, when it is
            written.

    """
    width = head.weight.shape[1]
    weight, bias = f"{head.key}.weight", f"{head.key}.bias"
    edits = {weight: _edit(checkpoint, weight, tuned.rows, slice(0, width))}
    if tuned.biases is not None:
        edits[bias] = _edit(checkpoint, bias, tuned.biases[:, None], slice(0, 1))
    return edits


def _edit(checkpoint: Checkpoint, key: str, rows: Matrix, columns: slice) -> Edit:
    info = checkpoint.tensors[key]
    appended = _Appended(checkpoint, key, rows, columns)
    shape = (info.shape[0] + len(rows), *info.shape[1:])
    lazy = isinstance(rows, LazyMatrix)
    return Edit(TensorInfo(info.dtype, shape), appended if lazy else tuple(appended))


@dataclass(frozen=True)
class _Appended:
    """The bytes of a tensor and of new rows after it; made anew each time they are asked for."""

    checkpoint: Checkpoint
    key: str
    rows: Matrix
    columns: slice

    def __iter__(self) -> Iterator[Buffer]:
        dtype = self.checkpoint.tensors[self.key].dtype
        yield self.checkpoint.raw(self.key)
        for _, block in blocks(self.rows):
            try:
                yield encode(block[:, self.columns], dtype)
            except OverflowError as error:
                raise TrainingError(f"{self.checkpoint.path}: {self.key}: {error}") from None

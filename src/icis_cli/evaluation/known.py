"""What is known about the rows of a head that is evaluated: names, and which are new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icis_cli.arrays import FloatArray, unit_rows
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.head import Head, find_head
from icis_cli.descriptors.names import match_names
from icis_cli.errors import AlignmentError, InjectorError
from icis_cli.evaluation.features import LabelMap
from icis_cli.injection.injector import Injector, head_digest
from icis_cli.injection.record import Record, find_record


@dataclass(frozen=True)
class KnownHead:
    """A head whose rows have names, seen classes first.

    Attributes:
        head: the head.
        names: K+U class names.
        seen_classes: K.
        descriptor_rows: K+U descriptor row numbers, or None where those are not known or are of
            several files.

    """

    head: Head
    names: tuple[str, ...]
    seen_classes: int
    descriptor_rows: tuple[int, ...] | None

    @property
    def label_map(self) -> LabelMap:
        """How the labels of samples turn into rows of this head."""
        return LabelMap(self.names, self.descriptor_rows)


def known_head(
    checkpoint: Checkpoint,
    injector: Injector | None = None,
    *,
    names: Sequence[str] | None = None,
    unseen: Sequence[str] | None = None,
    head_key: str | None = None,
) -> KnownHead:
    """Find the head of an expanded checkpoint and the names of its rows.

    Args:
        checkpoint: the expanded checkpoint.
        injector: the one it was expanded with; needed only where the checkpoint has no record.
        names: class names of all rows, in order, instead.
        unseen: with ``names``: which of them are new; they must be the last rows.
        head_key: the head, where it cannot be found.

    Raises:
        AlignmentError: the names do not fit the head, or nothing tells which rows are new.
        InjectorError: the injector does not fit the head.

    """
    record = find_record(checkpoint)
    if head_key is None and record is not None:
        head_key = record.head
    if names is not None:
        head = find_head(checkpoint, head_key)
        return _by_names(checkpoint, head, names, unseen, record)
    if record is not None:
        head = find_head(checkpoint, head_key)
        misfit = record.misfit(len(head.weight))
        if misfit is not None:
            raise AlignmentError(
                f"{checkpoint.path}: {misfit}",
                "the record belongs to another file: pass --classes and --unseen",
            )
        return KnownHead(head, record.class_names, record.seen, record.descriptor_rows)
    if injector is None:
        raise AlignmentError(
            f"{checkpoint.path} does not say which classes its rows are",
            "pass --injector, or --classes with the names of all rows and --unseen with the new",
        )
    key = injector.source.head if head_key is None else head_key
    return _by_injector(checkpoint, find_head(checkpoint, key), injector)


def _by_injector(checkpoint: Checkpoint, head: Head, injector: Injector) -> KnownHead:
    class_names = injector.seen_names + injector.unseen_names
    if len(class_names) != len(head.weight):
        raise InjectorError(
            checkpoint.path,
            f"its head has {len(head.weight)} rows, but the injector knows {len(class_names)} "
            "classes",
            "pass --classes with the names of all rows and --unseen with the new ones",
        )
    seen = len(injector.seen_names)
    trained = head_digest(head.weight[:seen], None if head.bias is None else head.bias[:seen])
    width = head.weight.shape[1]
    predicted = injector.predict(injector.unseen_descriptors)[:, :width]
    if trained != injector.source.head_sha256 or not _same_rows(
        head.weight[seen:], predicted, head.weight[:seen].mean(axis=0)
    ):
        raise InjectorError(
            checkpoint.path,
            "its rows are not those of this injector, in its order",
            "pass --classes with the names of all rows and --unseen with the new ones",
        )
    return KnownHead(head, class_names, seen, injector.seen_rows + injector.unseen_rows)


def _same_rows(stored: FloatArray, predicted: FloatArray, middle: FloatArray) -> bool:
    """Tell whether stored weights (U, D) are the predicted ones as far as calibration leaves them.

    Stored rows are rounded to the dtype of the head, an offset changes the bias alone, and evening
    changes the distance from the mean seen row, not the direction.
    """
    size = float(np.abs(predicted).max())
    same = np.isclose(stored, predicted, rtol=0.01, atol=0.01 * size).all(axis=1)
    alike = (unit_rows(stored - middle) * unit_rows(predicted - middle)).sum(axis=1)
    return bool((same | (alike > 0.999)).all())


def _by_names(
    checkpoint: Checkpoint,
    head: Head,
    names: Sequence[str],
    unseen: Sequence[str] | None,
    record: Record | None,
) -> KnownHead:
    total = len(head.weight)
    if len(names) != total:
        raise AlignmentError(
            f"--classes lists {len(names)} names, but the head of {checkpoint.path} has {total} "
            "rows",
            "one name per row, in row order",
        )
    if len(set(names)) != total:
        twice = next(name for name in names if list(names).count(name) > 1)
        raise AlignmentError(f"--classes lists {twice!r} twice")
    seen_classes = None if record is None else record.seen
    if unseen is not None:
        new = match_names(unseen, names, "--classes").rows
        seen_classes = total - len(set(new))
        if sorted(set(new)) != list(range(seen_classes, total)):
            raise AlignmentError(
                "the classes listed by --unseen are not the last rows of the head",
                "injected rows come last: check the order of --classes",
            )
    if seen_classes is None:
        raise AlignmentError(
            "nothing tells which classes are new", "list them in a file and pass --unseen"
        )
    rows = None if record is None else record.descriptor_rows
    return KnownHead(head, tuple(names), seen_classes, rows)

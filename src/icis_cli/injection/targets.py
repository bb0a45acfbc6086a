"""Which classes to inject: those that ``fit`` saw as unseen, or others described since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.descriptors.alignment import rows_of
from icis_cli.descriptors.base import Descriptors
from icis_cli.descriptors.names import simplified
from icis_cli.errors import AlignmentError, DescriptorError
from icis_cli.files import sha256_of
from icis_cli.injection.injector import Injector


@dataclass(frozen=True)
class NewClasses:
    """Classes to inject.

    Attributes:
        descriptors: (U, d).
        names: U class names.
        rows: U descriptor row numbers.
        sources: name and sha256 of each descriptor file.
        notes: what a person may want to check.
        warnings: what is odd about the descriptors.

    """

    descriptors: FloatArray
    names: tuple[str, ...]
    rows: tuple[int, ...]
    sources: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def new_classes(
    injector: Injector, table: Descriptors | None, unseen: Sequence[str] | None
) -> NewClasses:
    """Choose the classes to inject.

    Args:
        injector: a fitted method with the unseen descriptors that it was given.
        table: descriptors of other or more classes; None for those of the injector.
        unseen: names or 0-based row numbers; None for every class that is not seen.

    Raises:
        DescriptorError: another number of columns than at fit.
        AlignmentError: no class is left, or one is named that is not there.

    """
    if table is None:
        fitted = Descriptors(
            injector.unseen_descriptors, injector.unseen_names, Path(injector.descriptors[-1][0])
        )
        chosen: Sequence[int] = range(len(fitted.values))
        if unseen is not None:
            numbers = dict(zip(map(str, injector.unseen_rows), fitted.names or (), strict=True))
            chosen = rows_of(fitted, [numbers.get(u, u) for u in unseen], "--unseen", [])
        return NewClasses(
            fitted.values[list(chosen)],
            tuple(injector.unseen_names[row] for row in chosen),
            tuple(injector.unseen_rows[row] for row in chosen),
            injector.descriptors,
        )
    if table.values.shape[1] != injector.seen_descriptors.shape[1]:
        raise DescriptorError(
            table.path,
            f"has {table.values.shape[1]} columns, but the injector was fitted on "
            f"{injector.seen_descriptors.shape[1]}",
            "describe the new classes by the same attributes",
        )
    notes: list[str] = []
    if unseen is not None:
        rows = rows_of(table, unseen, "--unseen", notes)
    elif table.names is not None:
        seen = {simplified(name) for name in injector.seen_names}
        rows = tuple(r for r, name in enumerate(table.names) if simplified(name) not in seen)
    else:
        rows = _not_seen_by_position(injector, table)
    if not rows:
        raise AlignmentError(f"{table.path} describes no class that is new")
    return NewClasses(
        table.values[list(rows)],
        tuple(table.class_name(row) for row in rows),
        rows,
        ((table.path.name, sha256_of(table.path)),),
        tuple(notes),
        table.warnings,
    )


def _not_seen_by_position(injector: Injector, table: Descriptors) -> tuple[int, ...]:
    """Leave out the seen rows of a file without names, where it holds them at the same places."""
    seen = list(injector.seen_rows)
    everything = tuple(range(len(table.values)))
    if max(seen) < len(table.values) and np.array_equal(
        table.values[seen], injector.seen_descriptors
    ):
        taken = set(seen)
        return tuple(row for row in everything if row not in taken)
    return everything

"""Which classes to inject: those that ``fit`` saw as unseen, or others described since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from icis_cli.arrays import FloatArray
from icis_cli.descriptors.alignment import rows_of
from icis_cli.descriptors.base import Descriptors
from icis_cli.descriptors.columns import in_columns
from icis_cli.descriptors.names import known_rows
from icis_cli.descriptors.plausibility import lookalikes
from icis_cli.errors import AlignmentError, DescriptorError, UsageError
from icis_cli.files import sha256_of
from icis_cli.injection.injector import Injector
from icis_cli.injection.recognising import recognised
from icis_cli.lazy import rows_at


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
        table: what they were chosen from, columns and names as fit knew them; None where they are
            those of the injector.

    """

    descriptors: FloatArray
    names: tuple[str, ...]
    rows: tuple[int, ...]
    sources: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    table: Descriptors | None = None


def new_classes(
    injector: Injector,
    table: Descriptors | None,
    unseen: Sequence[str] | None,
    known: Sequence[str] = (),
) -> NewClasses:
    """Choose the classes to inject.

    Args:
        injector: a fitted method with the unseen descriptors that it was given.
        table: descriptors of other or more classes, with the views that fit had in the same
            order; None for those of the injector.
        unseen: names or 0-based row numbers; None for every class that is not seen.
        known: names of the classes that the checkpoint has.

    Raises:
        UsageError: another number of views than at fit, or another order.
        DescriptorError: a view has another number of columns than at fit.
        AlignmentError: no class is left, one is named that is not there, or a view has columns
            of other names than at fit.

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
            rows_at(fitted.values, chosen),
            tuple(injector.unseen_names[row] for row in chosen),
            tuple(injector.unseen_rows[row] for row in chosen),
            injector.descriptors,
        )
    _check_views(injector, table)
    table = recognised(in_fitted_columns(injector, table), injector, known)
    notes = list(table.notes)
    # Without names, classes of another file are numbered on from the seen ones, as fit does.
    start = max(injector.seen_rows) + 1
    if unseen is not None:
        rows = rows_of(table, unseen, "--unseen", notes)
    elif table.names is not None:
        seen = known_rows(table.names, injector.seen_names)
        notes += _spelt_otherwise(table.names, seen)
        rows = tuple(row for row in range(len(table.names)) if row not in seen)
    else:
        rows = tuple(range(len(table.values)))
    if not rows:
        raise AlignmentError(f"{table.path} describes no class that is new")
    names = tuple(table.class_name(row, start) for row in rows)
    return NewClasses(
        rows_at(table.values, rows),
        names,
        rows,
        tuple((view.name, sha256_of(view.path)) for view in table.views),
        tuple(notes),
        (*table.warnings, *lookalikes(names, injector.seen_names)),
        table,
    )


def _check_views(injector: Injector, table: Descriptors) -> None:
    """Refuse other views than the injector was fitted on."""
    widths = injector.views.widths
    fitted = [name for name, _ in injector.descriptors[: len(widths)]]
    given = [view.name for view in table.views]
    if len(given) != len(widths):
        raise UsageError(
            f"fit had {len(widths)} descriptor file(s) for the same classes "
            f"({', '.join(fitted)}), found {len(given)} ({', '.join(given)})",
            "give --attrs as often as to fit, in the same order",
        )
    if given != fitted and sorted(given) == sorted(fitted):
        raise UsageError(
            f"the descriptor files are in the order {', '.join(given)}, but fit had "
            f"{', '.join(fitted)}",
            "give --attrs in the same order",
        )
    named = injector.columns or (None,) * len(widths)
    for view, expected, columns in zip(table.views, widths, named, strict=True):
        if view.width != expected and (view.columns is None or columns is None):
            raise DescriptorError(
                view.path,
                f"has {view.width} columns, but the injector was fitted on {expected}",
                "describe the new classes by the same attributes"
                + (", the files in the order that fit had" if len(widths) > 1 else ""),
            )


def in_fitted_columns(injector: Injector, table: Descriptors) -> Descriptors:
    """Put the columns in the order that fit had, where both have names for them."""
    fitted = [name for name, _ in injector.descriptors]
    columns = injector.columns or (None,) * len(injector.views.widths)
    return in_columns(table, columns, [f"{name} at icis fit" for name in fitted[: len(columns)]])


def _spelt_otherwise(names: Sequence[str], known: Mapping[int, str]) -> list[str]:
    """Say which rows of a table are taken for known classes though not spelt alike."""
    pairs = [f"{names[row]!r} = {name!r}" for row, name in known.items() if names[row] != name]
    if not pairs:
        return []
    return [f"{len(pairs)} classes are taken for classes of the head: {', '.join(pairs)}"]

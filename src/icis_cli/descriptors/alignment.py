"""Aligned classes: which descriptor belongs to which row of the head, and which classes are new.

This is where a mistake would be silent and fatal, so everything that was understood is kept in
words (``how``, ``notes``, ``warnings``) for the commands to print.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.descriptors.base import Descriptors, View
from icis_cli.descriptors.columns import in_columns
from icis_cli.descriptors.names import match_names
from icis_cli.descriptors.plausibility import (
    lookalikes,
    require_no_contradiction,
    view_doubts,
)
from icis_cli.descriptors.slips import looks_like_table, slips, way_out_of_count
from icis_cli.descriptors.views import require_same_views
from icis_cli.errors import AlignmentError
from icis_cli.lazy import rows_at


@dataclass(frozen=True)
class AlignedClasses:
    """Seen classes in head-row order, and unseen classes in the order of their descriptors.

    Attributes:
        seen: (K, d) descriptors; row k describes row k of the head.
        unseen: (U, d) descriptors of the classes to add.
        seen_names, unseen_names: K and U names; ``class_<descriptor row>`` where none are known.
        seen_rows, unseen_rows: descriptor row numbers, 0-based; a file of new classes counts on
            from the end of the first.
        how: how head rows and descriptor rows were matched, for people.
        sources: the descriptor files, those of the seen classes first.
        views: the files of the seen classes in the order of their columns, at least one;
            ``seen`` and ``unseen`` hold the values as they were read.
        notes: what a person may want to check.
        warnings: what is probably wrong.
        doubts: about the order of classes, for each view; None where it looks right.

    """

    seen: FloatArray
    unseen: FloatArray
    seen_names: tuple[str, ...]
    unseen_names: tuple[str, ...]
    seen_rows: tuple[int, ...]
    unseen_rows: tuple[int, ...]
    how: str
    sources: tuple[Path, ...]
    views: tuple[View, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    doubts: tuple[str | None, ...] = ()


def align(
    head_rows: FloatArray,
    descriptors: Descriptors,
    unseen_descriptors: Descriptors | None = None,
    *,
    head_names: Sequence[str] | None = None,
    seen: Sequence[str] | None = None,
    unseen: Sequence[str] | None = None,
) -> AlignedClasses:
    """Match descriptor rows with head rows and tell which classes are new.

    Args:
        head_rows: (K, P) rows of the head.
        descriptors: of seen and new classes, or of the seen ones alone where
            ``unseen_descriptors`` is given; several views go through ``join_views`` first.
        unseen_descriptors: of the new classes, with the same views and columns.
        head_names: K class names of the head's rows, where the checkpoint tells.
        seen: names or 0-based descriptor row numbers, one per head row, in head-row order.
            Default: by name where ``head_names`` are known, else the first K rows.
        unseen: names or row numbers of the classes to add. Default: all that are not seen.

    Raises:
        AlignmentError: fewer descriptors than head rows, names that match nothing or twice, no
            new class, fewer than two seen classes, or other views or columns of the new classes.

    """
    count = len(head_rows)
    if count < 2:
        raise AlignmentError(
            "the head has 1 row, expected at least 2: one class teaches nothing about others"
        )
    if unseen_descriptors is not None:
        unseen_descriptors = in_columns(
            unseen_descriptors,
            [view.columns for view in descriptors.views],
            [str(view.path) for view in descriptors.views],
        )
    table = _stacked(descriptors, unseen_descriptors)
    available = len(descriptors.values)
    if available < count:
        raise AlignmentError(
            f"{descriptors.path} describes {available} classes, but the head has {count} rows",
            "every class of the head needs a descriptor"
            + (", or, if it is ImageNet's, --seen imagenet-1k" if count == 1000 else ""),
        )
    files = (descriptors,) if unseen_descriptors is None else (descriptors, unseen_descriptors)
    notes = [note for file in files for note in file.notes]
    warnings = [warning for file in files for warning in file.warnings]
    seen_rows, how = _seen_rows(descriptors, count, head_names, seen, notes)
    start = 0 if unseen_descriptors is None else available
    if unseen is None:
        taken = set(seen_rows)
        unseen_rows = tuple(r for r in range(start, len(table.values)) if r not in taken)
    else:
        unseen_rows = rows_of(table, unseen, "--unseen", notes)
    _check_disjoint(table, seen_rows, unseen_rows)
    if not unseen_rows:
        raise AlignmentError(
            f"no class is new: {descriptors.path} describes only the {count} classes of the head",
            "add descriptors of the new classes to it, or give them as --unseen-attrs",
        )
    warnings += slips(descriptors, unseen_descriptors)
    described = rows_at(table.values, seen_rows)
    doubts = view_doubts(described, [view.width for view in descriptors.views], head_rows)
    warnings += _told(descriptors, doubts, head_rows)
    seen_names = _names(table, seen_rows, head_names)
    unseen_names = _names(table, unseen_rows, None)
    warnings += lookalikes(unseen_names, seen_names)
    return AlignedClasses(
        described,
        rows_at(table.values, unseen_rows),
        seen_names,
        unseen_names,
        seen_rows,
        unseen_rows,
        how,
        tuple(view.path for file in files for view in file.views),
        descriptors.views,
        tuple(notes),
        tuple(warnings),
        doubts,
    )


def _stacked(first: Descriptors, second: Descriptors | None) -> Descriptors:
    """Stack two files of descriptors, the second after the first."""
    if second is None:
        return first
    require_same_views(first, second)
    names: tuple[str, ...] | None = None
    if first.names is not None or second.names is not None:
        count = len(first.values)
        names = (
            *(first.class_name(row) for row in range(count)),
            *(second.class_name(row, count) for row in range(len(second.values))),
        )
        both = set(names[:count]) & set(names[count:])
        if both:
            raise AlignmentError(
                f"class {sorted(both)[0]!r} is in both {first.path} and {second.path}",
                "a class is either seen or new",
            )
    return Descriptors(np.concatenate([first.values, second.values]), names, second.path)


def _seen_rows(
    descriptors: Descriptors,
    count: int,
    head_names: Sequence[str] | None,
    seen: Sequence[str] | None,
    notes: list[str],
) -> tuple[tuple[int, ...], str]:
    if seen is not None:
        if looks_like_table(seen, descriptors):
            raise AlignmentError(
                f"--seen: expected names, found lines of a table (first {seen[0][:60]!r})",
                "list the names alone, one a line, in head-row order",
            )
        if len(seen) != count:
            raise AlignmentError(
                f"--seen lists {len(seen)} classes, but the head has {count} rows",
                way_out_of_count(seen, count, descriptors),
            )
        rows = rows_of(descriptors, seen, "--seen", notes)
        require_no_contradiction(descriptors, rows, head_names)
        return rows, "by --seen"
    if head_names is not None and len(head_names) == count and descriptors.names is not None:
        match = match_names(
            head_names,
            descriptors.names,
            str(descriptors.path),
            "list the head's classes with --seen",
        )
        notes.extend(match.notes())
        return match.rows, "by name"
    if head_names is not None and len(head_names) != count:
        notes.append(
            f"the checkpoint lists {len(head_names)} names for {count} rows; they are not used"
        )
    if len(descriptors.values) > count or descriptors.names is not None:
        notes.append(
            f"matched by position: the first {count} descriptors are taken for the head's rows, in "
            "that order; if that is not so, list the head's classes in a file and pass --seen"
        )
    return tuple(range(count)), "by position"


def rows_of(
    table: Descriptors, entries: Sequence[str], option: str, notes: list[str]
) -> tuple[int, ...]:
    """Turn names, or 0-based row numbers, into row numbers.

    Args:
        table: the descriptors they refer to.
        entries: what a list file holds; numbers unless one of them is a class name.
        option: the option that named the file, for messages.
        notes: inexact matches are added to it.

    Raises:
        AlignmentError: an entry is not there, or there twice.

    """
    if not entries:
        raise AlignmentError(f"{option} lists no class")
    named = table.names is not None and not set(entries).isdisjoint(table.names)
    if not named and all(entry.isdecimal() and entry.isascii() for entry in entries):
        rows = tuple(int(entry) for entry in entries)
        if max(rows) >= len(table.values):
            raise AlignmentError(
                f"{option}: there is no descriptor row {max(rows)}, "
                f"only 0 to {len(table.values) - 1}"
            )
        if len(set(rows)) != len(rows):
            twice = next(row for row in rows if rows.count(row) > 1)
            raise AlignmentError(f"{option} lists descriptor row {twice} twice")
        return rows
    if table.names is None:
        raise AlignmentError(
            f"{option} lists names (first {entries[0]!r}), but {table.path} has no class names",
            "give them with --classes, or list 0-based row numbers",
        )
    if len(set(entries)) != len(entries):
        twice_named = next(entry for entry in entries if entries.count(entry) > 1)
        raise AlignmentError(f"{option} lists {twice_named!r} twice")
    match = match_names(entries, table.names, str(table.path))
    notes.extend(match.notes())
    return match.rows


def _check_disjoint(
    table: Descriptors, seen_rows: Sequence[int], unseen_rows: Sequence[int]
) -> None:
    both = set(seen_rows) & set(unseen_rows)
    if both:
        raise AlignmentError(
            f"{table.label(min(both))} is both a class of the head and a new class",
            "take it out of --unseen, or mend --seen",
        )


def _told(
    descriptors: Descriptors, doubts: Sequence[str | None], head_rows: FloatArray
) -> list[str]:
    """Warn about every view of the seen classes that looks as if in the wrong order."""
    if not np.ptp(head_rows, axis=0).any():
        return [
            "all rows of the head are equal: it tells no class apart, and nothing can be learned"
        ]
    views = descriptors.views
    return [
        doubt if len(views) == 1 else f"{view.path}: {doubt}"
        for view, doubt in zip(views, doubts, strict=True)
        if doubt is not None
    ]


def _names(
    table: Descriptors, rows: Sequence[int], head_names: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the names of descriptor rows; the head's own names where those are known."""
    if head_names is not None and len(head_names) == len(rows):
        return tuple(head_names)
    return tuple(table.class_name(row) for row in rows)

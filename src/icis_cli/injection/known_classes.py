"""Classes that a checkpoint has already: left out where a table has grown, refused elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from icis_cli.descriptors.names import known_rows
from icis_cli.errors import HeadError
from icis_cli.injection.injector import Injector
from icis_cli.injection.targets import NewClasses
from icis_cli.lazy import rows_at


def new_alone(
    classes: NewClasses,
    injector: Injector,
    known: Sequence[str],
    unseen: Sequence[str] | None,
) -> NewClasses:
    """Return the classes that the checkpoint lacks.

    A table with names may have grown since an earlier injection: what was injected then is left
    out, with a note. Numbers for want of names tell nothing: every table has the same.

    Args:
        classes: what ``new_classes`` made of ``injector`` and ``unseen``.
        injector: the one that predicts their rows.
        known: names of the classes that the checkpoint has.
        unseen: the classes that are asked for by name or number; None for all.

    Raises:
        HeadError: one that is asked for, or of the injector, is there already; or all are.

    """
    table = classes.table
    named = table is not None and table.names is not None
    if table is not None and table.names is not None:
        there = known_rows(table.names, known)
        called = [there.get(row) for row in classes.rows]
    else:
        fitted = injector.seen_names
        there = known_rows((*fitted, *classes.names), known)
        called = [there.get(len(fitted) + place) for place in range(len(classes.names))]
    pairs = [
        (name, old) for name, old in zip(classes.names, called, strict=True) if old is not None
    ]
    count, total = len(pairs), len(called)
    if not pairs:
        return classes
    first, _ = pairs[0]
    if count == total or not named or unseen is not None:
        raise HeadError(
            f"{count} of the {total} new classes are in the checkpoint already, first {first!r}",
            "choose others with --unseen, give them other names with --classes, or take them out "
            "with icis inject --remove",
        )
    kept = [place for place, old in enumerate(called) if old is None]
    note = (
        f"{count} of {total} classes are in the checkpoint already and stay as they are, first "
        f"{first!r}: {len(kept)} are new"
    )
    spelt = ", ".join(f"{name!r} = {old!r}" for name, old in pairs if name != old)
    if spelt:
        note += f"; spelt otherwise there: {spelt}"
    return replace(
        classes,
        descriptors=rows_at(classes.descriptors, kept),
        names=tuple(classes.names[place] for place in kept),
        rows=tuple(classes.rows[place] for place in kept),
        notes=(*classes.notes, note),
    )

"""What an injector file must hold: its parts are what they should be, and fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.descriptors.views import ViewSpace
from icis_cli.lazy import blocks
from icis_cli.validation.heldout import HeldOut

if TYPE_CHECKING:
    from icis_cli.injection.injector import Injector


def check_parts(injector: Injector) -> None:
    """Check that the parts of an injector are what they should be and fit together.

    Raises:
        ValueError: they do not. A damaged predictor may raise LookupError or TypeError, too.

    """
    _require_texts("libraries", tuple(injector.libraries.values()))
    _require_texts("source", tuple(injector.source.settings().values()))
    _require_texts("descriptors", tuple(part for pair in injector.descriptors for part in pair))
    _require_views(injector)
    for side, values, names, rows in (
        ("seen", injector.seen_descriptors, injector.seen_names, injector.seen_rows),
        ("unseen", injector.unseen_descriptors, injector.unseen_names, injector.unseen_rows),
    ):
        _require_rows(f"descriptors.{side}", values)
        _require_texts(f"{side}_names", names)
        if not all(type(row) is int and row >= 0 for row in rows):
            raise ValueError(f"{side}_rows: expected row numbers")
        if not 0 < len(values) == len(names) == len(rows):
            raise ValueError(
                f"{len(values)} {side} descriptors, {len(names)} names and {len(rows)} rows"
            )
    if injector.unseen_descriptors.shape[1] != injector.seen_descriptors.shape[1]:
        raise ValueError("seen and unseen descriptors differ in width")
    with np.errstate(all="ignore"):  # a row that is not finite is refused where it is used
        row = injector.predict(injector.seen_descriptors[:1])
    if row.ndim != 2 or row.shape[0] != 1 or row.dtype != np.float32 or not row.size:
        raise ValueError(f"the method predicts {row.shape} {row.dtype} for one descriptor")
    held = injector.held
    if held is not None:
        _require_rows("heldout.rows", held.rows)
        if held.rows.shape[1] != row.shape[1]:
            raise ValueError(
                f"held-out rows of {held.rows.shape[1]} numbers, predicted ones of {row.shape[1]}"
            )


def _require_views(injector: Injector) -> None:
    """Check that there is one of everything per view."""
    if len(injector.encodings) not in (0, len(injector.views.widths)):
        raise ValueError(f"{len(injector.encodings)} encodings for other views")
    if len(injector.columns) not in (0, len(injector.views.widths)):
        raise ValueError(f"{len(injector.columns)} lists of columns for other views")
    for names, width in zip(injector.columns, injector.views.widths, strict=False):
        _require_texts("columns", names or ())
        if names is not None and len(names) != width:
            raise ValueError(f"{len(names)} names for {width} columns")
    if len(injector.descriptors) < len(injector.views.widths):
        raise ValueError(f"{len(injector.descriptors)} descriptor files for more views")


def _require_texts(what: str, values: tuple[Any, ...]) -> None:
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{what}: expected texts")


def _require_rows(what: str, values: NDArray[Any]) -> None:
    sound = values.ndim == 2 and values.dtype == np.float32
    if not sound or not all(np.isfinite(block).all() for _, block in blocks(values)):
        raise ValueError(
            f"{what}: expected finite float32 rows, found {values.shape} {values.dtype}"
        )


def views_of(settings: Mapping[str, Any] | None, width: int) -> ViewSpace:
    """Restore the views; ``settings`` is None in injectors from before there were several."""
    if settings is None:
        return ViewSpace.equal((width,))
    views = ViewSpace.restore(settings)
    if sum(views.widths) != width:
        raise ValueError(f"views of {sum(views.widths)} columns for descriptors of {width}")
    return views


def held_of(tensors: Mapping[str, Any]) -> HeldOut | None:
    """Restore the held-out rows, None where there are none."""
    if "heldout.rows" not in tensors:
        return None
    held = HeldOut(*(tensors[f"heldout.{part}"] for part in ("classes", "fold", "rows")))
    count = len(tensors["descriptors.seen"])
    if held.rows.ndim != 2 or held.classes.ndim != 1 or held.fold.ndim != 1:
        raise ValueError("the held-out rows are no matrix with a class and a fold for each row")
    if held.fold.dtype != np.int64:
        raise ValueError("the folds of the held-out classes are no whole numbers")
    if len(np.unique(held.fold)) < 2 or len(np.unique(held.classes)) < len(held.classes):
        raise ValueError("the held-out classes are in fewer than two folds, or occur twice")
    if held.classes.dtype != np.int64 or not ((held.classes >= 0) & (held.classes < count)).all():
        raise ValueError("the held-out classes are no rows of the head")
    return held

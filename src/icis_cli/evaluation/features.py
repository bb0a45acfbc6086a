"""Features to evaluate on: an ``.npz`` with ``features`` (N, D) and ``labels`` (N,)."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.arrays import IntArray
from icis_cli.descriptors.numpy_files import load_array, texts
from icis_cli.errors import DescriptorError, FeatureError, first_line


@dataclass(frozen=True)
class Features:
    """Inputs of a head with their labels.

    Attributes:
        values: (N, D), float16, float32 or float64, finite in float32.
        labels: (N,) class names, or descriptor row numbers.
        path: where they were read from.

    """

    values: NDArray[Any]
    labels: Sequence[str] | IntArray
    path: Path


@dataclass(frozen=True)
class LabelMap:
    """How labels turn into head rows.

    Attributes:
        names: K+U class names in head-row order.
        descriptor_rows: K+U descriptor row numbers, or None where those are not known or are of
            several files, so that a number says nothing.

    """

    names: tuple[str, ...]
    descriptor_rows: tuple[int, ...] | None

    def head_rows(self, labels: Sequence[str] | IntArray, path: Path) -> IntArray:
        """Return the head row (N,) of each label.

        Raises:
            FeatureError: a label is no class of the head.

        """
        known: dict[Any, int]
        if isinstance(labels, np.ndarray):
            if self.descriptor_rows is None:
                raise FeatureError(
                    path,
                    "labels are numbers, but nothing tells which descriptor row each class has "
                    "(they may come from several files)",
                    "label samples by class name",
                )
            known = {number: row for row, number in enumerate(self.descriptor_rows)}
            wanted: list[Any] = labels.tolist()
        else:
            known = {name: row for row, name in enumerate(self.names)}
            wanted = list(labels)
        missing = sorted({label for label in wanted if label not in known})
        if missing:
            near = difflib.get_close_matches(str(missing[0]), self.names, n=1)
            raise FeatureError(
                path,
                f"{len(missing)} labels are no class of this checkpoint, first {missing[0]!r}"
                + (f" (did you mean {near[0]!r}?)" if near else ""),
                "labels are class names, or row numbers of the descriptor file given to fit",
            )
        return np.array([known[label] for label in wanted], dtype=np.int64)


def read_features(path: Path | str) -> Features:
    """Read ``features`` and ``labels`` from an ``.npz``.

    Raises:
        FeatureError: missing, not such a file, of the wrong shape, or not finite in float32.

    """
    path = Path(path)
    if not path.is_file():
        raise FeatureError(path, "no such file", "check the path given to --features")
    try:
        archive = load_array(path)
    except DescriptorError as error:
        raise FeatureError(path, error.problem, error.hint) from None
    if isinstance(archive, np.ndarray):
        raise FeatureError(path, "is a .npy, expected an .npz with 'features' and 'labels'")
    with archive:
        missing = [name for name in ("features", "labels") if name not in archive.files]
        if missing:
            found = ", ".join(archive.files) or "nothing"
            raise FeatureError(path, f"expected arrays 'features' and 'labels', found {found}")
        try:
            values, labels = archive["features"], archive["labels"]
        except Exception as error:  # a damaged archive can raise anything
            raise FeatureError(path, f"cannot be read ({first_line(error)})") from None
    if values.ndim != 2 or values.dtype.kind != "f" or not values.size:
        raise FeatureError(
            path, f"'features' is {values.shape} {values.dtype}, expected floats (samples, D)"
        )
    if labels.shape != values.shape[:1] or labels.dtype.kind not in "iuUS":
        raise FeatureError(
            path,
            f"'labels' is {labels.shape} {labels.dtype}, expected {values.shape[:1]} names or "
            "whole numbers",
        )
    _require_float32(path, values)
    if labels.dtype.kind in "US":
        return Features(values, texts(labels), path)
    return Features(values, labels.astype(np.int64), path)


def _require_float32(path: Path, values: NDArray[Any]) -> None:
    """Refuse values that are not finite, or would not be in float32."""
    if not np.isfinite(values).all():
        raise FeatureError(path, "'features' holds NaN or infinite values")
    largest = max(float(values.max()), -float(values.min()))
    if largest > float(np.finfo(np.float32).max):
        raise FeatureError(
            path,
            f"'features' holds {largest:g} (or its negative), expected numbers that fit float32",
            "compute these features anew",
        )

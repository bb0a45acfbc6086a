"""Features to evaluate on: an ``.npz`` with ``features`` and ``labels``, or a file for each."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from icis_cli.arrays import IntArray
from icis_cli.descriptors.names import simplified
from icis_cli.descriptors.numpy_files import texts
from icis_cli.descriptors.registry import read_lines
from icis_cli.errors import DescriptorError, FeatureError
from icis_cli.evaluation.feature_values import require_float32
from icis_cli.numpy_arrays import is_archive, read_array, read_members

#: Digits of a label that is a number; more do not fit 64 bits.
_DIGITS = 18


@dataclass(frozen=True)
class Features:
    """Inputs of a head with their labels.

    Attributes:
        values: (N, D), float16, float32 or float64; a read-only map of the file where it can be.
        labels: (N,) class names, or descriptor row numbers.
        path: where they were read from.

    """

    values: NDArray[Any]
    labels: Sequence[str] | IntArray
    path: Path

    def require_float32(self) -> None:
        """Refuse values that are not finite in float32, by a pass over all of them.

        An evaluation notices such values by itself; this is for whom that is too late.

        Raises:
            FeatureError: names the first such sample.

        """
        require_float32(self.values, self.path)


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

        Texts that are whole numbers count as numbers, unless one of them is a class name. Names
        may differ in case, separators and numbering, where that leaves one class.

        Raises:
            FeatureError: a label is no class of the head.

        """
        if isinstance(labels, np.ndarray):
            return self._of_numbers(labels, path)
        known = {name: row for row, name in enumerate(self.names)}
        distinct = set(labels)
        if distinct.isdisjoint(known) and all(map(_is_number, distinct)):
            return self._of_numbers(np.array([int(label) for label in labels], np.int64), path)
        known |= self._spelt_otherwise(distinct - known.keys())
        self._require_known(distinct, known, path)
        return np.fromiter(map(known.__getitem__, labels), np.int64, len(labels))

    def _spelt_otherwise(self, labels: set[str]) -> dict[str, int]:
        """Return the head rows of labels that are no class letter for letter, as far as clear."""
        loose: dict[str, list[int]] = defaultdict(list)
        for row, name in enumerate(self.names) if labels else ():
            loose[simplified(name)].append(row)
        found = {label: loose.get(simplified(label), []) for label in labels}
        return {label: rows[0] for label, rows in found.items() if len(rows) == 1}

    def _of_numbers(self, labels: IntArray, path: Path) -> IntArray:
        if self.descriptor_rows is None:
            raise FeatureError(
                path,
                "labels are numbers, but nothing tells which descriptor row each class has "
                "(they may come from several files)",
                "label samples by class name",
            )
        known = {number: row for row, number in enumerate(self.descriptor_rows)}
        distinct, place = np.unique(labels, return_inverse=True)
        numbers = distinct.tolist()
        self._require_known(set(numbers), known, path)
        return np.array([known[number] for number in numbers], np.int64)[place]

    def _require_known(self, distinct: set[Any], known: dict[Any, int], path: Path) -> None:
        missing = sorted(distinct - known.keys())
        if missing:
            near = difflib.get_close_matches(str(missing[0]), self.names, n=1)
            raise FeatureError(
                path,
                f"{len(missing)} labels are no class of this checkpoint, first {missing[0]!r}"
                + (f" (did you mean {near[0]!r}?)" if near else ""),
                "labels are class names, or row numbers of the descriptor file given to fit",
            )


def _is_number(label: str) -> bool:
    return label.isascii() and label.isdecimal() and len(label) <= _DIGITS


def read_features(path: Path | str, labels: Path | str | None = None) -> Features:
    """Read features (N, D) and labels (N,).

    Features are mapped into memory, not read, where the file is a ``.npy``, or an ``.npz`` that
    is not compressed. Whether their values are finite is not looked at here: see
    :meth:`Features.require_float32`.

    Args:
        path: an ``.npz`` with ``features`` and ``labels``, or a ``.npy`` with features alone.
        labels: a ``.npy`` of names or whole numbers, or a text file with one a line; they take
            the place of those in an ``.npz``. Needed for a ``.npy``.

    Raises:
        FeatureError: a file is missing, not such a file, damaged, or of the wrong shape.

    """
    path = Path(path)
    _require_file(path, "--features")
    if labels is not None:
        labels = Path(labels)
        _require_file(labels, "--labels")
        values = (
            read_members(path, ("features",), FeatureError)[0]
            if is_archive(path, FeatureError)
            else read_array(path, FeatureError)
        )
        _require_matrix(values, path)
        return Features(values, _labels_of_file(labels, len(values), path), path)
    if not is_archive(path, FeatureError):
        values = read_array(path, FeatureError)  # or it is no such file at all
        raise FeatureError(
            path,
            f"is one array {values.shape} without labels, expected an .npz with 'features' and "
            "'labels'",
            "give the labels of a .npy in a file of their own: --labels FILE",
        )
    values, stored = read_members(path, ("features", "labels"), FeatureError)
    _require_matrix(values, path)
    return Features(values, _checked_labels(stored, len(values), "'labels' is", path), path)


def _require_file(path: Path, option: str) -> None:
    if not path.is_file():
        problem = "is no regular file" if path.exists() else "no such file"
        raise FeatureError(path, problem, f"check the path given to {option}")


def _require_matrix(values: NDArray[Any], path: Path) -> None:
    if values.ndim == 2 and not len(values):
        raise FeatureError(path, "'features' holds no sample")
    if values.ndim != 2 or values.dtype.kind != "f" or not values.size:
        raise FeatureError(
            path, f"'features' is {values.shape} {values.dtype}, expected floats (samples, D)"
        )


def _labels_of_file(labels: Path, samples: int, path: Path) -> Sequence[str] | IntArray:
    """Read the labels of the samples in ``path`` from a ``.npy`` or a text file, by its content."""
    with labels.open("rb") as stream:
        is_numpy = stream.read(6) == npy.MAGIC_PREFIX
    if is_numpy:
        return _checked_labels(read_array(labels, FeatureError), samples, "is", labels)
    try:
        lines = read_lines(labels)
    except DescriptorError as error:
        raise FeatureError(labels, error.problem, error.hint) from None
    if len(lines) != samples:
        raise FeatureError(
            labels,
            f"holds {len(lines)} labels, expected {samples}, one for each sample of {path}",
            "one a line, in the order of the samples",
        )
    return lines


def _checked_labels(
    labels: NDArray[Any], samples: int, found: str, path: Path
) -> Sequence[str] | IntArray:
    if labels.shape != (samples,) or labels.dtype.kind not in "iuUS":
        raise FeatureError(
            path,
            f"{found} {labels.shape} {labels.dtype}, expected {(samples,)} names or whole numbers",
        )
    return texts(labels) if labels.dtype.kind in "US" else labels.astype(np.int64)

"""One data set of the Proposed Split: features, descriptors and who is in which split.

Xian et al., "Zero-Shot Learning - A Comprehensive Evaluation of the Good, the Bad and the Ugly"
(TPAMI 2019). MATLAB counts from 1 in the files; everything here counts from 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.descriptors.base import Descriptors, check_names, checked
from icis_cli.errors import DescriptorError, FeatureError
from icis_cli.matlab import load_arrays, texts
from icis_cli.protocol.folders import SPLITS, find_features
from icis_cli.protocol.values import described, whole_numbers

_SPLIT_NAMES = ("trainval_loc", "test_seen_loc", "test_unseen_loc")


@dataclass(frozen=True)
class Xlsa17:
    """A data set with N samples of C classes, described by d numbers each.

    Attributes:
        name: the folder's name, e.g. ``"CUB"``.
        features_path: the file with features.
        features: (N, D) float32, finite: inputs of the final layer.
        labels: (N,) row of ``descriptors`` of each sample.
        descriptors: (C, d) float32, as the file has them (columns of ``att``).
        class_names: C names; ``class_<row>`` where the file has none that can be used.
        trainval: sample numbers to train the base head on.
        test_seen, test_unseen: sample numbers to test on; the three have no sample in common.
        seen_classes: (K,) rows of ``descriptors`` that ``trainval`` has, ascending; K >= 2.
        unseen_classes: (U,) those that ``test_unseen`` has, ascending; none of them is seen.
        notes: what a person should know, e.g. that class names are missing.

    """

    name: str
    features_path: Path
    features: FloatArray
    labels: IntArray
    descriptors: FloatArray
    class_names: tuple[str, ...]
    trainval: IntArray
    test_seen: IntArray
    test_unseen: IntArray
    seen_classes: IntArray
    unseen_classes: IntArray
    notes: tuple[str, ...] = ()

    @property
    def head_classes(self) -> IntArray:
        """(K+U,) rows of ``descriptors`` in head-row order: seen classes, then unseen ones."""
        return np.concatenate([self.seen_classes, self.unseen_classes])

    def head_rows(self, samples: IntArray) -> IntArray:
        """Return the head row (n,) of each of the samples (n,), which must be in a split."""
        row_of = np.full(len(self.descriptors), -1, dtype=np.int64)
        row_of[self.head_classes] = np.arange(len(self.head_classes))
        rows: IntArray = row_of[self.labels[samples]]
        return rows


def read_xlsa17(folder: Path | str, features: Path | str | None = None) -> Xlsa17:
    """Read and check one data set.

    Args:
        folder: of the data set, with ``att_splits.mat``.
        features: a MATLAB file with ``features`` (D, N) and ``labels`` (N, 1); None for
            ``res101.mat`` in the folder, or the one other such file there.

    Raises:
        FeatureError: a file is missing or damaged; arrays are missing or of another
            shape; NaN; labels or sample numbers out of range; splits that overlap; an unseen
            class among those to train on, or a seen class to test on that is not.
        DescriptorError: ``att`` is no matrix of finite numbers that tell classes apart.

    """
    folder = Path(folder)
    splits_path = folder / SPLITS
    if not splits_path.is_file():
        raise FeatureError(splits_path, "no such file", "every xlsa17 data set has one")
    features_path = find_features(folder) if features is None else Path(features)
    content = load_arrays(splits_path, ("att", "allclasses_names", *_SPLIT_NAMES), FeatureError)
    descriptors, notes = _descriptors(splits_path, content)
    values, labels = _samples(features_path, len(descriptors.values))
    splits = [_split(splits_path, name, content, len(labels)) for name in _SPLIT_NAMES]
    _require_disjoint(splits_path, splits)
    trainval, test_seen, test_unseen = splits
    class_names = tuple(descriptors.class_name(row) for row in range(len(descriptors.values)))
    seen, unseen = np.unique(labels[trainval]), np.unique(labels[test_unseen])
    _require_zero_shot(splits_path, class_names, seen, unseen, np.unique(labels[test_seen]))
    idle = len(class_names) - len(seen) - len(unseen)
    if idle:
        notes += (f"{splits_path}: {idle} of {len(class_names)} classes are in no split",)
    return Xlsa17(
        folder.resolve().name, features_path, values, labels, descriptors.values, class_names,
        trainval, test_seen, test_unseen, seen, unseen, notes,
    )  # fmt: skip


def _descriptors(path: Path, content: dict[str, Any]) -> tuple[Descriptors, tuple[str, ...]]:
    """Turn ``att`` (d, C) into rows; names that cannot be used are left out, with a note."""
    if "att" not in content:
        found = ", ".join(content) or "nothing"
        raise DescriptorError(path, f"expected 'att' (attributes, classes), found {found}")
    att, cells = content["att"], content.get("allclasses_names")
    if not isinstance(att, np.ndarray) or att.ndim != 2:
        raise DescriptorError(path, f"'att' is {described(att)}, expected (attributes, classes)")
    names = None if cells is None else texts(cells)
    if names is not None and len(names) == att.shape[0] != att.shape[1]:
        raise DescriptorError(
            path,
            f"'att' is {att.shape} and there are {len(names)} class names, expected one column per "
            "class",
            "transpose 'att'",
        )
    problem = "there are none"
    if cells is not None:
        problem = "not every one is a text"
    if names is not None:
        try:
            check_names(path, names, att.shape[1])
        except DescriptorError as error:
            names, problem = None, error.problem
    found_rows = checked(path, att.T, names)
    if names is None:
        note = f"{path}: 'allclasses_names' is not used ({problem}): classes get numbers as names"
        return found_rows, (*found_rows.warnings, note)
    return found_rows, found_rows.warnings


def _samples(path: Path, classes: int) -> tuple[FloatArray, IntArray]:
    """Read features as (N, D) and labels from 0; the file's copy is dropped on the way."""
    content = load_arrays(path, ("features", "labels"), FeatureError)
    missing = [name for name in ("features", "labels") if name not in content]
    if missing:
        raise FeatureError(path, f"expected 'features' and 'labels', {' and '.join(missing)} not")
    labels = whole_numbers(path, "labels", content["labels"])
    stored = content.pop("features")
    if not isinstance(stored, np.ndarray) or stored.ndim != 2 or stored.dtype.kind not in "fiu":
        raise FeatureError(
            path, f"'features' is {described(stored)}, expected numbers (D, samples)"
        )
    if stored.shape[1] != len(labels) or stored.shape[0] == 0:
        turned = stored.shape[0] == len(labels)
        raise FeatureError(
            path,
            f"'features' is {stored.shape}, expected (D, {len(labels)}), one column per label",
            "transpose 'features'" if turned else "",
        )
    if labels.min() < 1 or labels.max() > classes:
        raise FeatureError(
            path,
            f"'labels' are {labels.min()} to {labels.max()}, expected 1 to {classes} (columns of "
            "'att', counted from 1)",
            "add 1 to every label" if labels.min() == 0 and labels.max() < classes else "",
        )
    with np.errstate(over="ignore", invalid="ignore"):  # a float64 beyond float32 becomes infinite
        features = np.ascontiguousarray(stored.T, dtype=np.float32)
    del stored
    odd = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(odd):
        raise FeatureError(
            path,
            f"'features' of sample {odd[0] + 1} (and of {len(odd) - 1} more) hold NaN or infinite "
            "values, expected finite float32 numbers",
            "compute these features anew, or take the sample out of the file and the splits",
        )
    return features, labels - 1


def _split(path: Path, name: str, content: dict[str, Any], samples: int) -> IntArray:
    """Return one split's sample numbers from 0, in the file's order."""
    if name not in content:
        found = ", ".join(key for key in content if key.endswith("_loc")) or "none"
        raise FeatureError(path, f"expected a split {name!r}, found {found}")
    numbers = whole_numbers(path, name, content[name])
    if numbers.min() < 1 or numbers.max() > samples:
        raise FeatureError(
            path,
            f"{name!r} has sample numbers {numbers.min()} to {numbers.max()}, expected 1 to "
            f"{samples} (counted from 1)",
            "features and splits must be of the same data set, in the same order",
        )
    ordered = np.sort(numbers)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise FeatureError(path, f"{name!r} has sample {twice[0]} twice, expected once")
    return numbers - 1


def _require_disjoint(path: Path, splits: list[IntArray]) -> None:
    for i, first in enumerate(_SPLIT_NAMES):
        for j in range(i + 1, len(_SPLIT_NAMES)):
            both = np.intersect1d(splits[i], splits[j])
            if len(both):
                raise FeatureError(
                    path,
                    f"{first!r} and {_SPLIT_NAMES[j]!r} have {len(both)} samples in common, first "
                    f"{both[0] + 1}, expected none",
                    "a sample to test on must not be trained on",
                )


def _require_zero_shot(
    path: Path, names: tuple[str, ...], seen: IntArray, unseen: IntArray, tested: IntArray
) -> None:
    """Check that unseen classes are not trained on, and that classes tested as seen are."""
    trained_on = np.intersect1d(seen, unseen)
    if len(trained_on):
        raise FeatureError(
            path,
            f"{len(trained_on)} classes are both in 'trainval_loc' and in 'test_unseen_loc', "
            f"first {names[trained_on[0]]!r}, expected none",
            "use the Proposed Split, and features and splits of the same data set",
        )
    unknown = np.setdiff1d(tested, seen)
    if len(unknown):
        raise FeatureError(
            path,
            f"{len(unknown)} classes of 'test_seen_loc' are not in 'trainval_loc', first "
            f"{names[unknown[0]]!r}, expected all",
            "use the Proposed Split, and features and splits of the same data set",
        )
    if len(seen) < 2:
        raise FeatureError(path, "'trainval_loc' has one class, expected at least 2")

"""Results of a comparison: runs, one row per method, mean and deviation over seeds."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from icis_cli.validation.heldout import HeldOutFigures

#: All figures of a run, in the order in which they are shown.
FIGURES = (
    "zsl_top1",
    "unseen",
    "seen",
    "harmonic",
    "ausuc",
    "best_harmonic",
    "raw_harmonic",
    "gamma",
    "held_out_cosine",
    "held_out_retrieval",
    "held_out_norm_ratio",
    "fit_seconds",
    "held_out_seconds",
)


@dataclass(frozen=True)
class Accuracy:
    """Per-class mean top-1 accuracies in 0..1; NaN where there is no sample to tell.

    Attributes:
        zsl_top1: T1, unseen samples, the answer sought among unseen classes only.
        unseen, seen, harmonic: u, s and H, the answer sought among all classes, calibrated.
        ausuc: area under the seen-unseen curve.
        best_harmonic: the highest H over all offsets, which only labelled samples tell.
        raw_harmonic: H without calibration.

    """

    zsl_top1: float
    unseen: float
    seen: float
    harmonic: float
    ausuc: float
    best_harmonic: float
    raw_harmonic: float


@dataclass(frozen=True)
class Run:
    """One method with one seed.

    Attributes:
        method: a method's name, ``"auto"`` or ``"conse"``.
        chosen: name of the method that ``"auto"`` took, else None.
        members: of the ensemble.
        seed: of every random choice.
        accuracy: None without samples.
        held_out: None where no seen class was held out.
        gamma: the offset of the calibration; None where there are no rows to add it to.
        fit_seconds: training alone; 0 where nothing is trained.
        held_out_seconds: refits without the held-out classes, and choosing by them.
        warnings: of the calibration.

    """

    method: str
    chosen: str | None
    members: int
    seed: int
    accuracy: Accuracy | None
    held_out: HeldOutFigures | None
    gamma: float | None
    fit_seconds: float
    held_out_seconds: float
    warnings: tuple[str, ...] = ()

    def figures(self) -> dict[str, float | None]:
        """Return the value of each of ``FIGURES``, None where there is none."""
        values: dict[str, float | None] = dict.fromkeys(FIGURES)
        if self.accuracy is not None:
            values.update(vars(self.accuracy))
        if self.held_out is not None:
            values["held_out_cosine"] = self.held_out.cosine
            values["held_out_retrieval"] = self.held_out.retrieval
            values["held_out_norm_ratio"] = self.held_out.norm_ratio
        values["gamma"] = self.gamma
        values["fit_seconds"] = self.fit_seconds
        values["held_out_seconds"] = self.held_out_seconds
        return {
            key: float(value) if value is not None and math.isfinite(value) else None
            for key, value in values.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return {
            "seed": self.seed,
            "chosen": self.chosen,
            "members": self.members,
            **self.figures(),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class ComparisonRow:
    """All runs of one method, at least one."""

    method: str
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that were run; one alone where they do not matter."""
        return tuple(run.seed for run in self.runs)

    @property
    def chosen(self) -> tuple[str, ...]:
        """What ``"auto"`` chose, each once, sorted; empty for any other method."""
        return tuple(sorted({run.chosen for run in self.runs if run.chosen is not None}))

    def mean(self) -> dict[str, float | None]:
        """Return the mean of each figure over the runs that have it."""
        return {
            key: statistics.fmean(values) if values else None
            for key, values in self._values().items()
        }

    def std(self) -> dict[str, float | None]:
        """Return the sample standard deviation of each figure; None with fewer than two runs."""
        return {
            key: statistics.stdev(values) if len(values) > 1 else None
            for key, values in self._values().items()
        }

    def _values(self) -> dict[str, list[float]]:
        figures = [run.figures() for run in self.runs]
        return {key: [f[key] for f in figures if f[key] is not None] for key in FIGURES}  # type: ignore[misc]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready values, fractions in 0..1."""
        return {
            "method": self.method,
            "chosen": list(self.chosen),
            "seeds": list(self.seeds),
            "mean": self.mean(),
            "std": self.std(),
            "runs": [run.to_json() for run in self.runs],
        }


@dataclass(frozen=True)
class Comparison:
    """What came of several methods on one problem, or on one problem per seed.

    Attributes:
        rows: one per method, in the order in which they were asked for.
        seen_classes, unseen_classes: K and U.
        samples: N that were answered; 0 without any.

    """

    rows: tuple[ComparisonRow, ...]
    seen_classes: int
    unseen_classes: int
    samples: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of all runs, each once, with the method that it is about."""
        told = {
            f"{row.method}: {text}": None
            for row in self.rows
            for run in row.runs
            for text in run.warnings
        }
        return tuple(told)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return {
            "seen_classes": self.seen_classes,
            "unseen_classes": self.unseen_classes,
            "samples": self.samples,
            "methods": [row.to_json() for row in self.rows],
        }


def merged(parts: Iterable[Comparison]) -> Comparison:
    """Join comparisons of the same methods, e.g. one per seed of the base classifier.

    Raises:
        ValueError: no comparison, or of other methods.

    """
    parts = tuple(parts)
    if not parts or any(
        [row.method for row in part.rows] != [row.method for row in parts[0].rows] for part in parts
    ):
        raise ValueError("comparisons of different methods cannot be merged")
    rows = tuple(
        ComparisonRow(same[0].method, tuple(run for row in same for run in row.runs))
        for same in zip(*(part.rows for part in parts), strict=True)
    )
    first = parts[0]
    return Comparison(rows, first.seen_classes, first.unseen_classes, first.samples)


def csv_of(comparisons: Mapping[str, Comparison]) -> bytes:
    """Return one line per run as CSV (UTF-8), after a line of column names.

    Args:
        comparisons: by the name of the data set; the key ``""`` leaves that column out.

    """
    named = "" not in comparisons
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("method", "chosen", "members", "seed", *FIGURES)
    writer.writerow((*(["data_set"] if named else []), *columns))
    for name, comparison in comparisons.items():
        for run in (run for row in comparison.rows for run in row.runs):
            cells = (run.method, run.chosen, run.members, run.seed, *run.figures().values())
            writer.writerow((*([name] if named else []), *cells))
    return text.getvalue().encode()

#!/usr/bin/env python3
"""Add classes to a classifier, and keep what was done as a run of MLflow.

    python log_run.py --weights resnet50.pt --attrs animals.csv --features test.npz

Parameters, the loss of every epoch, the figures of held-out classes and of samples, and the record
of the new checkpoint go to MLflow; the number of the run is printed. Where they go is told by
``--tracking-uri`` or ``MLFLOW_TRACKING_URI``, by default the folder ``mlruns``. With
``--min-harmonic``, a run that misses it is marked as failed, and the exit code is 3.

Needs the extra: pip install 'icis-cli[mlflow]'.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import icis_cli as icis
import mlflow
from icis_cli.errors import QualityGateError


@dataclass(frozen=True)
class Figures:
    """What was found, by name, without what is not known.

    Attributes:
        losses: mean loss of every epoch.
        values: all other figures.

    """

    losses: tuple[float, ...]
    values: Mapping[str, float]


def add_classes(
    weights: Path, attrs: Path, features: Path | None, seed: int, new: Path, *, force: bool
) -> tuple[Mapping[str, str | int | float], Figures]:
    """Write ``new``: the checkpoint with rows for the classes that only ``attrs`` knows.

    Args:
        weights: the trained classifier.
        attrs: one descriptor per class.
        features: labelled samples of known and new classes; None to do without.
        seed: of every random choice.
        new: the checkpoint to write.
        force: replace ``new``.

    Returns:
        What was chosen, and what was found.

    Raises:
        IcisError: bad data, or ``new`` exists (without ``force``).

    """
    checkpoint = icis.open_checkpoint(weights)
    head = icis.find_head(checkpoint)
    classes = icis.align(
        head.rows, icis.read_descriptors(attrs), head_names=checkpoint.labels.class_names
    )
    injector = icis.fit(checkpoint, head, classes, seed=seed)
    expansion = icis.expand(checkpoint, injector)
    expansion.write(new, force=force)
    icis.verify(checkpoint, new).require()

    chosen = {
        "method": injector.method,
        **{name: value for name, value in injector.settings.items() if value is not None},
        "seed": seed,
        "weights": weights.name,
        "weights_sha256": checkpoint.sha256(),
        "attrs_sha256": injector.descriptors[0][1],
        "seen_classes": len(classes.seen),
        "new_classes": len(classes.unseen),
    }
    values = {"offset": expansion.calibration.gamma}
    if injector.held is not None:
        held_out = icis.judge(head.rows, injector.held)
        values |= {
            "held_out_cosine": held_out.cosine,
            "held_out_retrieval": held_out.retrieval,
            "held_out_norm_ratio": held_out.norm_ratio,
        }
    if features is not None:
        known = icis.known_head(icis.open_checkpoint(new))
        found = icis.evaluate_features(known, icis.read_features(features))
        values |= {
            "zsl_top1": found.zsl_top1,
            "gzsl_seen": found.seen,
            "gzsl_unseen": found.unseen,
            "gzsl_harmonic": found.harmonic,
            "gzsl_ausuc": found.ausuc,
        }
    # Not a number: samples of one side alone have no harmonic mean.
    kept = {name: value for name, value in values.items() if math.isfinite(value)}
    return chosen, Figures(injector.losses, kept)


def require(figures: Figures, least: float | None) -> None:
    """Refuse a result whose harmonic mean is below ``least``; None refuses nothing.

    Raises:
        QualityGateError: it is, or it is not known.

    """
    harmonic = figures.values.get("gzsl_harmonic", 0.0)
    if least is not None and harmonic < least:
        message = f"quality gate missed: harmonic is {harmonic:.4f}, expected at least {least}"
        raise QualityGateError(message)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    summary = "Add classes to a classifier; log the run to MLflow."
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--weights", type=Path, required=True, help="the trained classifier")
    parser.add_argument("--attrs", type=Path, required=True, help="one descriptor per class")
    parser.add_argument("--features", type=Path, help="labelled samples, .npz")
    parser.add_argument("--out", type=Path, help="default: NAME.injected.SUFFIX")
    parser.add_argument("--force", action="store_true", help="replace it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--min-harmonic", type=float, help="least harmonic mean, 0 to 1")
    parser.add_argument("--experiment", default="add classes")
    parser.add_argument(
        "--tracking-uri", default=os.environ.get("MLFLOW_TRACKING_URI") or Path("mlruns").absolute()
    )
    given = parser.parse_args(arguments)
    if given.min_harmonic is not None and given.features is None:
        parser.error("--min-harmonic needs --features")
    given.out = given.out or Path(f"{given.weights.stem}.injected{given.weights.suffix}")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, which means what that of ``icis`` means."""
    given = parsed(arguments)
    # MLflow 3 wants to be told that a store of plain files is meant; it matters to no other.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(given.tracking_uri)
    mlflow.set_experiment(given.experiment)
    try:
        with mlflow.start_run(run_name=given.out.name) as run:  # failed where an error ends it
            print(run.info.run_id)
            chosen, figures = add_classes(
                given.weights, given.attrs, given.features, given.seed, given.out, force=given.force
            )
            mlflow.log_params(dict(chosen))
            for epoch, loss in enumerate(figures.losses, start=1):
                mlflow.log_metric("loss", loss, step=epoch)
            mlflow.log_metrics(dict(figures.values))
            mlflow.log_artifact(f"{given.out}.icis.json")
            require(figures, given.min_harmonic)
    except icis.IcisError as error:
        print(
            f"error: {error.message}" + (f" - {error.hint}" if error.hint else ""), file=sys.stderr
        )
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

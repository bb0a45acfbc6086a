"""From predicted rows to the rows that are appended: calibrated, and with how sure each one is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.injection.calibration import NONE, Calibration, calibrate
from icis_cli.lazy import LazyMatrix, Matrix, blocks
from icis_cli.methods.base import SeenPairs
from icis_cli.methods.ridge import Ridge
from icis_cli.validation.certainty import Certainty, assess
from icis_cli.validation.heldout import HeldOut, affordable_folds, hold_out, sample

#: ``"auto"``: found from weights; ``"none"``: rows as predicted; a number: this offset alone.
Wanted = Literal["auto", "none"] | float

_STAND_IN = (
    "the injector has no held-out rows (--cv 0): those of ridge stand in for them, so the offset "
    "and how sure each row is are rougher"
)


@dataclass(frozen=True)
class Tuned:
    """New rows, ready to be appended.

    Attributes:
        rows: (U, P) float32.
        biases: (U,) their last column where the head has biases, else None.
        calibration: what was done to them; ``gamma`` is what an offset should be, also where the
            rows have no bias to add it to.
        certainty: how sure each row is; None where no seen class could be held out.
        notes: what a person may want to know.

    """

    rows: Matrix
    biases: FloatArray | None
    calibration: Calibration
    certainty: Certainty | None
    notes: tuple[str, ...] = ()


def tune(
    pairs: SeenPairs,
    predicted: Matrix,
    held: HeldOut | None,
    width: int,
    wanted: Wanted = "auto",
    accuracy: float | None = None,
    *,
    described: Matrix | None = None,
) -> Tuned:
    """Calibrate predicted rows and say how sure they are.

    Args:
        pairs: seen classes as the method got them, and the descriptors (U, d) of the new ones.
        predicted: (U, P) rows of the new classes.
        held: held-out predictions of the same method. Without them those of a ridge in closed form
            take their place, brought to the length of the predicted rows.
        width: D; where P is larger, the last column is the bias.
        wanted: the calibration.
        accuracy: of the classifier on its own classes, 0..1, where it is known.
        described: (U, d) descriptors of the new classes where ``pairs`` lacks them, because they
            are too many.

    """
    notes: tuple[str, ...] = ()
    if held is None:
        held = _stand_in(pairs, predicted)
        notes = () if held is None else (_STAND_IN,)
    calibration = _calibration(pairs.rows, predicted, held, width, wanted, accuracy)
    middle = pairs.rows.mean(axis=0)
    biases = np.empty(len(predicted), dtype=np.float32) if predicted.shape[1] > width else None

    def keep_biases(part: slice, block: FloatArray) -> None:
        if biases is not None:
            biases[part] = calibration.apply(block, middle, width)[:, width]

    certainty = None
    if held is not None:
        new = pairs.unseen if described is None else described
        certainty = assess(
            pairs.rows, pairs.descriptors, held, predicted, new, width, watch=keep_biases
        )
    else:
        for part, block in blocks(predicted):
            keep_biases(part, block)
    rows = _calibrated(calibration, predicted, middle, width)
    return Tuned(rows, biases, calibration, certainty, notes)


def _calibrated(
    calibration: Calibration, predicted: Matrix, middle: FloatArray, width: int
) -> Matrix:
    """Return the rows as they are appended; those that are made when needed stay so."""
    if not isinstance(predicted, LazyMatrix):
        return calibration.apply(predicted, middle, width)

    def make(rows: slice | IntArray) -> FloatArray:
        return calibration.apply(predicted[rows], middle, width)

    return replace(predicted, make=make)


def _stand_in(pairs: SeenPairs, predicted: Matrix) -> HeldOut | None:
    folds = affordable_folds(len(pairs.rows))
    if not folds:
        return None
    held = hold_out(Ridge(), pairs, folds)
    middle = pairs.rows.mean(axis=0)
    some = predicted[sample(len(predicted))]
    own = float(np.linalg.norm(some - middle, axis=1).mean())
    theirs = float(np.linalg.norm(held.rows - middle, axis=1).mean())
    ratio = np.float32(own / theirs if theirs > 0 else 1)
    return replace(held, rows=middle + (held.rows - middle) * ratio)


def _calibration(
    seen: FloatArray,
    predicted: Matrix,
    held: HeldOut | None,
    width: int,
    wanted: Wanted,
    accuracy: float | None,
) -> Calibration:
    if wanted == "none" or wanted == 0:
        return NONE
    if wanted != "auto":
        return Calibration("fixed", float(wanted))
    if held is None:
        few = f"with {len(seen)} seen classes no offset can be found: none is added"
        return Calibration("auto", 0.0, warnings=(few,))
    return calibrate(seen, predicted, held, width, accuracy=accuracy)

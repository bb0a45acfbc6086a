"""What choosing by held-out classes gains, what evening gains, and how certainty ranks classes.

    python -m benchmarks.choices DATA [--only WORD ...]

The cases are those of ``benchmarks/calibration.py``; the method is ridge, whose settings cost
nothing to try. Prints AUSUC in %: of the default setting, without evening, of the setting with the
best held-out score, of the one that is taken (better by three standard errors), and of the best
one in hindsight; and Spearman's correlation between certainty and true T1 accuracy of new classes.
"""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.calibration import Case, cub, evaluated, imagenet
from icis_cli.injection.tuning import tune
from icis_cli.methods.base import SeenPairs
from icis_cli.methods.ridge import Ridge
from icis_cli.validation.heldout import hold_out
from icis_cli.validation.selection import CLEARLY, select_method


def line(case: Case) -> list[float]:
    """Return the figures of one case, in %; the correlation last."""
    pairs = SeenPairs(case.seen, case.rows, case.unseen)
    width = case.rows.shape[1] - 1
    ridges = list(Ridge().candidates())
    selection = select_method(ridges, pairs, width, clearly=CLEARLY)
    top = int(np.argmax([candidate.score for candidate in selection.candidates]))
    areas = []
    for ridge in ridges:
        new = ridge.fit(pairs, seed=0).predictor.predict(case.unseen)
        tuned = tune(pairs, new, hold_out(ridge, pairs), width)
        result = evaluated(case, tuned.rows[:])
        areas.append(result.ausuc)
        if ridge == ridges[0]:
            plain = evaluated(case, new).ausuc
            own = [c for c in result.classes if c.kind == "unseen"]
            if tuned.certainty is None:
                raise ValueError("no class was held out")
            standing = tuned.certainty.standing[[int(c.name) - len(case.rows) for c in own]]
            rank = float(spearmanr(standing, [c.own_top1 for c in own]).statistic)
    shown = (areas[0], plain, areas[top], areas[selection.chosen], max(areas))
    return [*(100 * area for area in shown), rank]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    print("| ridge | default | not evened | best score | taken | best in hindsight | certainty |")
    print("| --- |" + " ---: |" * 6)
    lines = []
    for case in chain(cub(options.data / "cub-vgg"), imagenet(options.data / "imagenet-lite0")):
        if all(word in case.name for word in options.only):
            lines.append(line(case))
            *areas, rank = lines[-1]
            cells = [*(f"{area:.1f}" for area in areas), f"{rank:.2f}"]
            print(f"| {case.name} | " + " | ".join(cells) + " |", flush=True)
    *means, rank = np.mean(lines, axis=0)
    print("| **mean** | " + " | ".join(f"{m:.1f}" for m in means) + f" | {rank:.2f} |")


if __name__ == "__main__":
    main()

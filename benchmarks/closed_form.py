"""Ridge at ImageNet size: its settings chosen by held-out classes, its fit, its predictions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.children import icis
from benchmarks.material import make_problem, pairs
from benchmarks.measure import Line, Setting, costs, interleaved, seconds, timed
from icis_cli.methods.base import SeenPairs
from icis_cli.methods.ridge import Ridge
from icis_cli.validation.heldout import hold_out, judge
from icis_cli.validation.selection import select_method

_SEEN, _UNSEEN, _D, _WIDTH = 1000, 2000, 300, 1280


def section(setting: Setting) -> Iterator[Line]:
    """Measure fit with selection, and predictions against one product of the same size."""
    descriptors, rows = pairs(_SEEN, _UNSEEN, _D, _WIDTH)
    problem = SeenPairs(descriptors[:_SEEN], rows, descriptors[_SEEN:])
    candidates = list(Ridge().candidates())

    def choose_and_fit() -> None:
        chosen = select_method(candidates, problem, _WIDTH).chosen
        candidates[chosen].fit(problem, seed=0)

    def fit_and_judge() -> None:
        judge(rows, hold_out(Ridge(), problem))
        Ridge().fit(problem, seed=0)

    choose_and_fit()
    yield seconds(
        f"ridge: choice among {len(candidates)} settings and fit, K = {_SEEN}, D = {_WIDTH}",
        tuple(timed(choose_and_fit) for _ in range(setting.runs)),
        1.0,
    )
    yield seconds(
        f"ridge: fit with its own held-out classes judged, K = {_SEEN}, D = {_WIDTH}",
        tuple(timed(fit_and_judge) for _ in range(setting.runs)),
        1.0,
    )
    (fitting,) = interleaved(setting.runs, lambda: Ridge().fit(problem, seed=0))
    yield seconds(f"ridge: fit alone, K = {_SEEN}", fitting, None)
    predictor = Ridge().fit(problem, seed=0).predictor
    weights = np.random.default_rng(0).standard_normal((_UNSEEN, _SEEN), dtype=np.float32)
    wide_weights, wide_rows = weights.astype(np.float64), rows.astype(np.float64)
    own, product, wide = interleaved(
        setting.runs,
        lambda: np.asarray(predictor.predict(problem.unseen)),
        lambda: weights @ rows,
        lambda: wide_weights @ wide_rows,
    )
    what = f"ridge: {_UNSEEN} rows predicted"
    shape = f"({_UNSEEN}, {_SEEN}) by ({_SEEN}, {_WIDTH + 1})"
    yield costs(what, f"one BLAS product {shape}, float32", own, product, None)
    yield costs(what, f"one BLAS product {shape}, float64, as ridge predicts", own, wide, None)
    folder = setting.work / "closed_form"
    files = make_problem(folder, 0, seen=_SEEN, unseen=200, d=_D, width=_WIDTH)
    done = [
        icis(
            *("fit", "--weights", files.weights, "--attrs", files.descriptors, "--force"),
            *("--classes", files.names, "--method", "ridge", "--select"),
            *("--out", folder / "i.safetensors"),
        )
        for _ in range(setting.runs)
    ]
    yield seconds(
        "the whole of icis fit --method ridge --select of that size",
        tuple(one.seconds for one in done),
        None,
        max(one.peak for one in done),
    )

"""Several methods and seeds on one problem, each as fit and inject would treat it.

No figure on samples chooses anything: they are computed last, of rows that are finished.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.comparison.problem import Problem
from icis_cli.comparison.result import Accuracy, Comparison, ComparisonRow, Run
from icis_cli.errors import HeadError, TrainingError
from icis_cli.evaluation.result import Evaluation
from icis_cli.injection.choosing import choose_method, folds_for
from icis_cli.injection.tuning import Wanted, tune
from icis_cli.methods.base import Method
from icis_cli.methods.ensemble import fit_ensemble
from icis_cli.methods.registry import METHODS
from icis_cli.runtime import choose_device, import_torch
from icis_cli.validation.heldout import HeldOut, judge
from icis_cli.validation.selection import AUTO, AUTO_MEMBERS
from icis_cli.workers import ALONE, Workers

#: A method, or what is none: the choice by held-out classes, and an inference rule.
Contender = Method | Literal["auto", "conse"]

#: Told before each run of this process: how many are done, how many there are, and what comes next.
CompareWatch = Callable[[int, int, str], None]


def name_of(contender: Contender) -> str:
    """Return the name under which a contender is shown."""
    return contender if isinstance(contender, str) else contender.name


def default_contenders(problem: Problem, folds: int | None = None) -> tuple[Contender, ...]:
    """Return all methods, ``"auto"`` where one can choose, and ``"conse"`` where samples are."""
    methods: list[Contender] = [kind() for kind in METHODS.values()]
    if problem.selectable and folds != 0:
        methods.insert(0, "auto")
    if problem.samples is not None:
        methods.append("conse")
    return tuple(methods)


@dataclass(frozen=True)
class Terms:
    """What is the same for all methods.

    Attributes:
        calibration: ``"auto"``, ``"none"`` or an offset.
        accuracy: of the classifier on its own classes, 0..1, where it is known.
        members: of the ensembles of methods that are trained by chance; None for 1, and for
            ``"auto"`` as many as fit takes.
        folds: in which seen classes are held out; 0 for none, None for as many as are cheap.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.

    """

    calibration: Wanted = "auto"
    accuracy: float | None = None
    members: int | None = None
    folds: int | None = None
    device: str = "cpu"


_TERMS = Terms()


def compare(
    problem: Problem,
    contenders: Sequence[Contender] | None = None,
    seeds: Sequence[int] = (0,),
    terms: Terms = _TERMS,
    *,
    workers: Workers = ALONE,
    watch: CompareWatch | None = None,
) -> Comparison:
    """Fit, calibrate and evaluate several methods.

    Args:
        problem: head, classes and samples.
        contenders: None for all that make sense.
        seeds: at least one; methods whose result does not depend on it are run with the first.
        terms: the same for all.
        workers: processes that share the runs; all get the same comparison.
        watch: told about each run.

    Raises:
        HeadError: an offset for a head without biases.
        TrainingError: ``"auto"`` where seen classes cannot be held out, a predicted row that is
            not finite, or as in ``Method.fit``.
        FeatureError: samples so large that a logit is not finite.
        ValueError: no contender, no seed, or ``"conse"`` without samples.

    """
    if contenders is None:
        contenders = default_contenders(problem, terms.folds)
    if not contenders or not seeds:
        raise ValueError("nothing to compare")
    if "conse" in contenders and problem.samples is None:
        raise ValueError("ConSE needs samples")
    if not isinstance(terms.calibration, str) and terms.calibration and not problem.has_bias:
        raise HeadError(
            "the head has no bias, which an offset needs",
            "pass --calibration none, or auto, which leaves the rows as they are",
        )
    plan = [(c, tuple(seeds) if _seeded(c) else (seeds[0],)) for c in contenders]
    device = "cpu"
    if any(_seeded(contender) for contender in contenders):
        import_torch()  # not to count as training
        device = choose_device(terms.device)
    mine = workers.deal([(contender, seed) for contender, own in plan for seed in own])
    found: list[Run] = []
    for contender, seed in mine:
        if watch is not None:
            watch(len(found), len(mine), f"{name_of(contender)}, seed {seed}")
        found.append(_run(problem, contender, seed, terms, device))
    runs = iter(workers.gather_dealt(found))
    rows = [
        ComparisonRow(name_of(contender), tuple(itertools.islice(runs, len(own))))
        for contender, own in plan
    ]
    samples = 0 if problem.samples is None else len(problem.samples.labels)
    return Comparison(tuple(rows), len(problem.pairs.rows), len(problem.pairs.unseen), samples)


def _seeded(contender: Contender) -> bool:
    if isinstance(contender, str):
        return contender == "auto"
    return contender.seeded


def _run(problem: Problem, contender: Contender, seed: int, terms: Terms, device: str) -> Run:
    if contender == "conse":
        found = problem.evaluate_conse()
        figures = _accuracy(found, found.harmonic)
        return Run("conse", None, 1, seed, figures, None, None, 0.0, 0.0)
    pairs = problem.pairs
    start = time.perf_counter()
    method, held = _held(problem, contender, seed, terms, device)
    held_out_seconds = time.perf_counter() - start
    members = _members(contender, terms) if method.seeded else 1
    start = time.perf_counter()
    fitted = fit_ensemble(method, pairs, members, seed=seed, device=device)
    fit_seconds = time.perf_counter() - start
    predicted = _finite(fitted.predictor.predict(pairs.unseen), method)
    tuned = tune(pairs, predicted, held, problem.width, terms.calibration, terms.accuracy)
    accuracy: Accuracy | None = None
    if problem.samples is not None:
        found = problem.evaluate(_finite(tuned.rows[:], method))
        raw = found if tuned.rows is predicted else problem.evaluate(predicted)
        accuracy = _accuracy(found, raw.harmonic)
    return Run(
        method=name_of(contender),
        chosen=method.name if contender == "auto" else None,
        members=members,
        seed=seed,
        accuracy=accuracy,
        held_out=None if held is None else judge(pairs.rows, held),
        gamma=tuned.calibration.gamma,
        fit_seconds=fit_seconds,
        held_out_seconds=held_out_seconds,
        warnings=tuned.calibration.warnings,
    )


def _members(contender: Contender, terms: Terms) -> int:
    return terms.members or (AUTO_MEMBERS if contender == "auto" else 1)


def _held(
    problem: Problem,
    contender: Contender,
    seed: int,
    terms: Terms,
    device: str,
) -> tuple[Method, HeldOut | None]:
    """Return the method, chosen where that is asked for, with its held-out rows."""
    methods = AUTO if isinstance(contender, str) else (contender,)
    count = len(problem.pairs.rows)
    folds = folds_for(methods, count, terms.folds)
    if len(methods) > 1 and not folds:
        raise TrainingError(
            "auto cannot choose a method without holding seen classes out "
            f"({count} classes, {folds} folds)",
            "pass --cv 5, or name the methods, without auto",
        )
    method, held, _ = choose_method(
        methods,
        problem.pairs,
        problem.width,
        folds,
        members=_members(contender, terms),
        seed=seed,
        device=device,
    )
    return method, held


def _finite(rows: FloatArray, method: Method) -> FloatArray:
    if not np.isfinite(rows).all():
        raise TrainingError(
            f"--method {method.name} predicts a row that is not finite",
            "look for descriptors of another size than the rest, or leave the method out",
        )
    return rows


def _accuracy(found: Evaluation, raw_harmonic: float) -> Accuracy:
    return Accuracy(
        zsl_top1=found.zsl_top1,
        unseen=found.unseen,
        seen=found.seen,
        harmonic=found.harmonic,
        ausuc=found.ausuc,
        best_harmonic=found.best_harmonic,
        raw_harmonic=raw_harmonic,
    )

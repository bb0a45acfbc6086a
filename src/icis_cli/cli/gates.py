"""Quality gates of ``icis eval``: the least accuracy that a pipeline accepts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icis_cli.errors import QualityGateError, UsageError

if TYPE_CHECKING:
    from icis_cli.evaluation.result import Evaluation

_GATES = "Quality gates (exit code 3 when missed)"

MinHarmonic = Annotated[
    float | None,
    typer.Option(
        "--min-harmonic",
        metavar="X",
        help="Least harmonic mean H of seen and new classes, 0 to 1.",
        rich_help_panel=_GATES,
    ),
]
MinZsl = Annotated[
    float | None,
    typer.Option(
        "--min-zsl",
        metavar="X",
        help="Least accuracy on new classes among themselves (T1), 0 to 1.",
        rich_help_panel=_GATES,
    ),
]


def check(option: str, value: float | None, reference: Path | None) -> None:
    """Refuse a gate that cannot be.

    Raises:
        UsageError: it is no fraction, or there are no samples.

    """
    if value is None:
        return
    if not 0 <= value <= 1:
        raise UsageError(f"{option} {value}: expected a fraction from 0 to 1")
    if reference is not None:
        raise UsageError("the quality gates need samples: --features or --images")


def gates_of(
    evaluation: Evaluation, min_harmonic: float | None, min_zsl: float | None
) -> list[dict[str, Any]]:
    """Return each gate that is asked for, and whether the evaluation passes it."""
    wanted = (
        ("harmonic", evaluation.harmonic, min_harmonic),
        ("zsl_top1", evaluation.zsl_top1, min_zsl),
    )
    return [
        {
            "metric": metric,
            "minimum": minimum,
            "value": value if math.isfinite(value) else None,
            "passed": math.isfinite(value) and value >= minimum,
        }
        for metric, value, minimum in wanted
        if minimum is not None
    ]


def require_passed(gates: list[dict[str, Any]]) -> None:
    """Refuse a result that misses a gate.

    Raises:
        QualityGateError: it does.

    """
    from icis_cli.report.tables import fraction

    missed = ", ".join(
        f"{gate['metric']} is {fraction(gate['value'])}, expected at least {gate['minimum']}"
        for gate in gates
        if not gate["passed"]
    )
    if missed:
        raise QualityGateError(f"quality gate missed: {missed}")

"""Add classes to a trained image classifier without a single image.

    checkpoint = open_checkpoint("resnet50.pt")
    head = find_head(checkpoint)
    classes = align(head.rows, read_descriptors("attributes.csv"))
    injector = fit(checkpoint, head, classes)
    expand(checkpoint, injector).write("resnet50.injected.pt")

The names in ``__all__`` are the public API. They load on first use, so that importing the package
costs nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # importing typing would take longer than all the rest here
if TYPE_CHECKING:
    from typing import Any

    from icis_cli.checkpoint.base import Checkpoint
    from icis_cli.checkpoint.head import Head, find_head
    from icis_cli.checkpoint.inspection import Inspection, inspect_checkpoint
    from icis_cli.checkpoint.registry import open_checkpoint
    from icis_cli.comparison.benchmark import Benchmark, benchmark
    from icis_cli.comparison.compare import Terms, compare
    from icis_cli.comparison.problem import Problem, problem_of
    from icis_cli.comparison.result import Comparison
    from icis_cli.descriptors.alignment import AlignedClasses, align
    from icis_cli.descriptors.base import Descriptors
    from icis_cli.descriptors.registry import read_descriptors, read_lines, read_views
    from icis_cli.descriptors.views import ViewSpace, join_views
    from icis_cli.encoders.registry import describe_names
    from icis_cli.errors import IcisError
    from icis_cli.evaluation.evaluate import evaluate_features
    from icis_cli.evaluation.features import Features, read_features
    from icis_cli.evaluation.images import evaluate_images, find_images
    from icis_cli.evaluation.known import KnownHead, known_head
    from icis_cli.evaluation.preprocessing import PreprocessingOptions
    from icis_cli.evaluation.result import Evaluation
    from icis_cli.evaluation.rows import RowComparison, compare_rows
    from icis_cli.html.data import Report
    from icis_cli.html.examples import find_examples
    from icis_cli.html.gathering import planned_report, report_of
    from icis_cli.html.page import write_html
    from icis_cli.injection.calibration import Calibration, calibrate
    from icis_cli.injection.expansion import Expansion
    from icis_cli.injection.fitting import fit
    from icis_cli.injection.further import describe_further
    from icis_cli.injection.injector import Injector
    from icis_cli.injection.planning import expand, remove
    from icis_cli.injection.tuning import tune
    from icis_cli.methods.controls import Mean, Nearest
    from icis_cli.methods.costa import Costa
    from icis_cli.methods.icis import Icis, Mlp
    from icis_cli.methods.recipes import DEFAULT, PAPER, Recipe
    from icis_cli.methods.ridge import Ridge
    from icis_cli.methods.smo import Smo
    from icis_cli.methods.subreg import SubReg
    from icis_cli.methods.wavg import Wavg
    from icis_cli.methods.wdae import Wdae
    from icis_cli.protocol.xlsa17 import Xlsa17, read_xlsa17
    from icis_cli.validation.certainty import Certainty
    from icis_cli.validation.heldout import HeldOut, HeldOutFigures, hold_out, judge
    from icis_cli.validation.selection import Selection, select_method, select_views
    from icis_cli.verification.result import Verification
    from icis_cli.verification.verify import verify

_HOMES = {
    "checkpoint.base": ("Checkpoint",),
    "checkpoint.head": ("Head", "find_head"),
    "checkpoint.inspection": ("Inspection", "inspect_checkpoint"),
    "checkpoint.registry": ("open_checkpoint",),
    "comparison.benchmark": ("Benchmark", "benchmark"),
    "comparison.compare": ("Terms", "compare"),
    "comparison.problem": ("Problem", "problem_of"),
    "comparison.result": ("Comparison",),
    "descriptors.alignment": ("AlignedClasses", "align"),
    "descriptors.base": ("Descriptors",),
    "descriptors.registry": ("read_descriptors", "read_lines", "read_views"),
    "descriptors.views": ("ViewSpace", "join_views"),
    "encoders.registry": ("describe_names",),
    "errors": ("IcisError",),
    "evaluation.evaluate": ("evaluate_features",),
    "evaluation.features": ("Features", "read_features"),
    "evaluation.images": ("evaluate_images", "find_images"),
    "evaluation.known": ("KnownHead", "known_head"),
    "evaluation.preprocessing": ("PreprocessingOptions",),
    "evaluation.result": ("Evaluation",),
    "evaluation.rows": ("RowComparison", "compare_rows"),
    "html.data": ("Report",),
    "html.examples": ("find_examples",),
    "html.gathering": ("planned_report", "report_of"),
    "html.page": ("write_html",),
    "injection.calibration": ("Calibration", "calibrate"),
    "injection.expansion": ("Expansion",),
    "injection.fitting": ("fit",),
    "injection.further": ("describe_further",),
    "injection.injector": ("Injector",),
    "injection.planning": ("expand", "remove"),
    "injection.tuning": ("tune",),
    "methods.controls": ("Mean", "Nearest"),
    "methods.costa": ("Costa",),
    "methods.icis": ("Icis", "Mlp"),
    "methods.recipes": ("DEFAULT", "PAPER", "Recipe"),
    "methods.ridge": ("Ridge",),
    "methods.smo": ("Smo",),
    "methods.subreg": ("SubReg",),
    "methods.wavg": ("Wavg",),
    "methods.wdae": ("Wdae",),
    "protocol.xlsa17": ("Xlsa17", "read_xlsa17"),
    "validation.certainty": ("Certainty",),
    "validation.heldout": ("HeldOut", "HeldOutFigures", "hold_out", "judge"),
    "validation.selection": ("Selection", "select_method", "select_views"),
    "verification.result": ("Verification",),
    "verification.verify": ("verify",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DEFAULT",
    "PAPER",
    "AlignedClasses",
    "Benchmark",
    "Calibration",
    "Certainty",
    "Checkpoint",
    "Comparison",
    "Costa",
    "Descriptors",
    "Evaluation",
    "Expansion",
    "Features",
    "Head",
    "HeldOut",
    "HeldOutFigures",
    "Icis",
    "IcisError",
    "Injector",
    "Inspection",
    "KnownHead",
    "Mean",
    "Mlp",
    "Nearest",
    "PreprocessingOptions",
    "Problem",
    "Recipe",
    "Report",
    "Ridge",
    "RowComparison",
    "Selection",
    "Smo",
    "SubReg",
    "Terms",
    "Verification",
    "ViewSpace",
    "Wavg",
    "Wdae",
    "Xlsa17",
    "align",
    "benchmark",
    "calibrate",
    "compare",
    "compare_rows",
    "describe_further",
    "describe_names",
    "evaluate_features",
    "evaluate_images",
    "expand",
    "find_examples",
    "find_head",
    "find_images",
    "fit",
    "hold_out",
    "inspect_checkpoint",
    "join_views",
    "judge",
    "known_head",
    "open_checkpoint",
    "planned_report",
    "problem_of",
    "read_descriptors",
    "read_features",
    "read_lines",
    "read_views",
    "read_xlsa17",
    "remove",
    "report_of",
    "select_method",
    "select_views",
    "tune",
    "verify",
    "write_html",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use (PEP 562)."""
    if name in _HOME_OF:
        import importlib

        return getattr(importlib.import_module(f"icis_cli.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

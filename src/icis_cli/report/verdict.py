"""The verdict on new rows: one of three steps with its reasons, in words for everybody.

``icis fit``, ``icis inject``, the HTML report and the model card all tell this one. It reads what
was found elsewhere: held-out classes, how well the order of classes fits, estimates, samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from icis_cli.arrays import FloatArray
from icis_cli.checkpoint.head import Head
from icis_cli.descriptors.plausibility import view_doubts
from icis_cli.injection.calibration import Calibration, Expected
from icis_cli.validation.heldout import HeldOutFigures, judge

if TYPE_CHECKING:
    from icis_cli.evaluation.result import Evaluation
    from icis_cli.injection.injector import Injector

#: How good rows are: worth a try, doubtful, or no better than guessing.
Step = Literal["promising", "weak", "guess"]

#: Below so many known classes, or columns, there is too little to learn from, or to judge by.
FEW_CLASSES, FEW_COLUMNS = 24, 5
#: Shares of right answers below this are hardly any; a larger share lost is more than half.
_HARDLY, _HALF = 0.1, 0.5

_UNTESTED = {
    "promising": "Untested, but promising: no picture was looked at. Try it on labelled pictures.",
    "weak": "Untested and doubtful: no picture was looked at. Measure before you rely on it.",
    "guess": "Do not use: the new rows are hardly better than guessing.",
}
_MEASURED = {
    "promising": "Measured: the new classes are recognised.",
    "weak": "Measured, and weak: read the figures before you rely on it.",
    "guess": "Do not use: measured, the new classes are hardly better told apart than by guessing.",
}
_ADVICE = (
    "either the classes are in the wrong order: list those of the classifier in its own order, one "
    "a line, and run icis fit again with --seen FILE; or the descriptions do not tell them apart: "
    "add columns that do"
)
_ORDER = (
    "classes with similar descriptions do not have similar rows: their order may be wrong, or the "
    "descriptions do not tell them apart"
)


@dataclass(frozen=True)
class Verdict:
    """How good new rows are.

    Attributes:
        step: one of three.
        headline: what it means, a sentence.
        reasons: for it, in plain words; the weightiest first.
        advice: what to do about it; empty where there is nothing to mend.
        warnings: what to say in every mode; empty unless something is probably wrong.

    """

    step: Step
    headline: str
    reasons: tuple[str, ...]
    advice: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def doubt(self) -> str | None:
        """What to tell people where rows are weak: one line; None where they are not."""
        return f"doubtful: {'; '.join(self.reasons)}" if self.step == "weak" else None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "step": self.step,
            "headline": self.headline,
            "reasons": list(self.reasons),
            "advice": self.advice,
        }


def step_of(found: float, chance: float) -> Step:
    """Return how far a share of right answers is above the share by chance, both 0..1.

    Twice chance is the least, four times is good. Where that is near 1, or above, a quarter and a
    half of the way from chance to 1 will do.
    """
    left = 1 - chance
    if found >= min(4 * chance, chance + left / 2) and found > chance:
        return "promising"
    return "weak" if found >= min(2 * chance, chance + left / 4) and found > chance else "guess"


def held_out_step(figures: HeldOutFigures | None) -> Step | None:
    """Return what held-out classes say; None where there are none, or one in a fold."""
    if figures is None or figures.candidates < 2:
        return None
    return step_of(figures.retrieval, 1 / figures.candidates)


def recognised(figures: HeldOutFigures) -> str:
    """Return how many held-out classes have the nearest row, and how many by guessing."""
    count = round(figures.candidates * figures.folds)
    return (
        f"{round(figures.retrieval * count)} of {count} hidden classes recognised among "
        f"{figures.candidates:.0f} (guessing: {figures.folds})"
    )


def verdict_of(
    classes: int,
    figures: HeldOutFigures | None,
    doubts: Sequence[str] = (),
    expected: Expectation | None = None,
) -> Verdict:
    """Judge rows before any image was looked at.

    Args:
        classes: K, that there were to learn from.
        figures: of held-out classes, or None.
        doubts: about the order of classes, from ``of_all_views``.
        expected: accuracies that stand-ins for images promise, or None.

    """
    step, reasons = held_out_step(figures), []
    if figures is not None and step is not None:
        reasons.append(recognised(figures))
    elif classes < 3:
        reasons.append(f"no class could be hidden for a test: not possible with {classes} classes")
    else:
        reasons.append("no class was hidden for a test, so nothing tells how good the rows are")
    warnings = (_ORDER,) if doubts and step is None else ()  # a good test outweighs a doubt
    if doubts:
        reasons.append(_ORDER)
        step = _worse(step, "weak")
    if classes < FEW_CLASSES:
        reasons.append(f"only {classes} known classes to learn from, and to test with")
        step = _worse(step, "weak")
    for reason in () if expected is None else expected.reasons():
        reasons.append(reason)
        step = _worse(step, "weak")
    step = step or "weak"
    if step != "guess":
        return Verdict(step, _UNTESTED[step], tuple(reasons), warnings=warnings)
    told = f"the new rows are hardly better than guessing, do not use them: {reasons[0]}; {_ADVICE}"
    return Verdict(step, _UNTESTED[step], tuple(reasons), _ADVICE, (told,))


def fitted_verdict(
    injector: Injector, rows: FloatArray, expected: Expectation | None = None
) -> Verdict:
    """Judge what an injector predicts.

    Args:
        injector: fitted on the seen classes.
        rows: (K, P) of the head that it was fitted on; rows added since do not count.
        expected: accuracies that stand-ins for images promise, or None.

    """
    rows = rows[: len(injector.seen_names)]
    figures = None if injector.held is None else judge(rows, injector.held)
    doubts = order_doubts(injector.seen_descriptors, injector.views.widths, rows)
    return verdict_of(len(rows), figures, doubts, expected)


def order_doubts(
    descriptors: FloatArray, widths: Sequence[int], rows: FloatArray
) -> tuple[str, ...]:
    """Return doubts about the order of classes; none where one of several views speaks for it.

    Args:
        descriptors: (K, sum of ``widths``) of the seen classes.
        widths: columns of each view.
        rows: (K, P) of the head.

    """
    return of_all_views(view_doubts(descriptors, widths, rows))


def of_all_views(doubts: Sequence[str | None]) -> tuple[str, ...]:
    """Return the doubts of each view where all have one: one that fits speaks for the order."""
    told = tuple(doubt for doubt in doubts if doubt is not None)
    return told if len(told) == len(doubts) else ()


def few_warnings(classes: int, width: int, new: int) -> tuple[str, ...]:
    """Warn where there is little to learn from: K classes, described by d columns, for U new."""
    found = []
    if classes < FEW_CLASSES:
        found.append(
            f"only {classes} known classes to learn from, for {new} new ones: below {FEW_CLASSES} "
            "the new rows are often little more than guesses"
        )
    if width < FEW_COLUMNS:
        found.append(
            f"only {width} columns describe the classes: few classes can be told apart by so few"
        )
    return tuple(found)


@dataclass(frozen=True)
class Expectation:
    """Accuracies (0..1) to expect of the new checkpoint, and without its offset."""

    now: Expected
    without: Expected

    def reasons(self) -> tuple[str, ...]:
        """Return what speaks against the new checkpoint."""
        return _against(self.now.unseen, self.now.seen, self.without.seen)

    def sentence(self) -> str:
        """Return it as a sentence without its full stop."""
        new, old = 100 * self.now.unseen, 100 * self.now.seen
        text = (
            f"Estimate without images: about {new:.0f} of 100 pictures of new classes and "
            f"{old:.0f} of 100 of old ones are answered rightly"
        )
        if self.now == self.without:
            return text
        before = (100 * self.without.unseen, 100 * self.without.seen)
        return f"{text} (without the offset: {before[0]:.0f} and {before[1]:.0f})"


def expectation(calibration: Calibration, head: Head) -> Expectation | None:
    """Return what a calibration lets expect; without biases the offset does not count.

    None unless the offset was found.
    """
    if calibration.before is None or calibration.after is None:
        return None
    after = calibration.before if head.bias is None else calibration.after
    return Expectation(after, calibration.before)


def measured_verdict(evaluation: Evaluation, new: int) -> Verdict:
    """Judge by labelled samples.

    Args:
        evaluation: of the new checkpoint.
        new: U, its new classes.

    """
    found, reasons = evaluation, []
    step: Step | None = None
    if math.isfinite(found.unseen):
        reasons.append(
            f"{100 * found.unseen:.0f} of 100 samples of new classes are answered rightly, and "
            f"{100 * found.zsl_top1:.0f} where only the {new} new classes could be answered "
            f"(guessing: {100 / new:.0f})"
        )
        step = step_of(found.zsl_top1, 1 / new) if new > 1 else "promising"
    else:
        reasons.append("there were no samples of new classes")
    if math.isfinite(found.seen):
        reasons.append(
            f"{100 * found.seen:.0f} of 100 samples of old classes are answered rightly; by the "
            f"old checkpoint {100 * found.seen_alone:.0f}: lost are {100 * found.lost:.0f}"
        )
    else:
        reasons.append("there were no samples of old classes")
    against = _against(found.unseen, found.seen, found.seen_alone)
    missing = not (math.isfinite(found.unseen) and math.isfinite(found.seen))
    if against or missing:
        step = _worse(step, "weak")
    step = step or "weak"
    return Verdict(step, _MEASURED[step], (*reasons, *against), _ADVICE if step == "guess" else "")


def _against(unseen: float, seen: float, before: float) -> tuple[str, ...]:
    """Return what speaks against a checkpoint; NaN says nothing."""
    found = []
    if unseen < _HARDLY:
        found.append("fewer than 1 in 10 pictures of new classes would be answered rightly")
    if seen < _HALF * before:
        found.append("the old classes would lose more than half of their right answers")
    return tuple(found)


def _worse(step: Step | None, other: Step) -> Step:
    order: tuple[Step, ...] = ("guess", "weak", "promising")
    return other if step is None else min(step, other, key=order.index)

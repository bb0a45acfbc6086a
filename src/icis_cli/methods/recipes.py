"""Recipes: how the two encoder-decoders are trained.

``PAPER`` is the one of Christensen et al., "Image-free Classifier Injection for Zero-Shot
Classification" (ICCV 2023), section 4.1 and the supplement. ``DEFAULT`` trains the same networks
better; its values were chosen by holding out seen classes, see ``docs/accuracy.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from icis_cli.methods.base import Setting

Term = Literal["a-a", "w-w", "w-a", "a-w"]

#: The four reconstructions, "from-to": a a descriptor, w a row.
TERMS: tuple[Term, ...] = ("a-a", "w-w", "w-a", "a-w")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how the networks are trained.

    Attributes:
        name: for people.
        hidden: width h of both encoders.
        inputs: how descriptors go in, one of ``spaces.INPUTS``.
        rows: ``"as-given"`` (K, P), or ``"span"``: in rotated coordinates of their span.
        init: ``"normal"``: weights N(0, 0.02), biases 0; ``"zero-decoders"``: the same, but both
            decoders start at zero.
        loss: ``"cosine"``: ``1 - cos``; ``"squared"``: squared distance.
        terms: which of the four reconstructions are trained.
        unseen: which unseen descriptors take part in ``"a-a"``: ``"used"``: all; ``"sampled"``: as
            in ``few_unseen``, so that a large catalogue does not make training long;
            ``"ignored"``: none.
        lr: Adam's step size.
        decay: ``"constant"``, or ``"linear"`` to zero over all steps.
        weight_decay: decoupled (AdamW).
        batch: classes per step.
        epochs: passes over all classes, at most.
        min_steps: more epochs than ``epochs`` where those are fewer steps than this: how long
            training must be hardly depends on the number of classes.
        stop_slope: stop after 5 epochs in a row whose loss falls by less than this per epoch,
            measured between the last 10 epochs and the 10 before; None: train all epochs.

    """

    name: str
    hidden: int
    inputs: Literal["as-given", "unit"]
    rows: Literal["as-given", "span"]
    init: Literal["normal", "zero-decoders"]
    loss: Literal["cosine", "squared"]
    terms: tuple[Term, ...]
    unseen: Literal["used", "sampled", "ignored"]
    lr: float
    decay: Literal["constant", "linear"]
    weight_decay: float
    batch: int
    epochs: int
    min_steps: int
    stop_slope: float | None

    def settings(self) -> Mapping[str, Setting]:
        """Return all values in JSON-ready form."""
        return {**asdict(self), "terms": " ".join(self.terms)}


PAPER = Recipe(
    name="paper",
    hidden=2048,
    inputs="as-given",
    rows="as-given",
    init="normal",
    loss="cosine",
    terms=TERMS,
    unseen="used",
    lr=1e-5,
    decay="constant",
    weight_decay=0.0,
    batch=16,
    epochs=1000,
    min_steps=0,
    stop_slope=2e-3,
)

DEFAULT = Recipe(
    name="default",
    hidden=1024,
    inputs="unit",
    rows="span",
    init="zero-decoders",
    loss="squared",
    terms=TERMS,
    unseen="sampled",
    lr=2e-3,
    decay="linear",
    weight_decay=0.0,
    batch=16,
    epochs=1,
    min_steps=500,
    stop_slope=None,
)

RECIPES: dict[str, Recipe] = {"default": DEFAULT, "paper": PAPER}

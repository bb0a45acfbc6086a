"""What an HTML report shows, as plain data; ``gathering`` finds it and ``page`` writes it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from icis_cli.evaluation.result import Evaluation
from icis_cli.injection.record import Record
from icis_cli.report.verdict import Expectation, Verdict
from icis_cli.validation.heldout import HeldOutFigures

#: Whether the new rows are in the checkpoint, or only planned.
Stage = Literal["planned", "written"]


@dataclass(frozen=True)
class Subject:
    """The checkpoint that a report is about.

    Attributes:
        name: of its file, without the folder.
        sha256: of the file.
        head: state-dict key of the head.
        seen, new: how many rows were trained, and how many injected.
        width: D, the inputs of the head.
        dtype: of the stored rows.
        bias: whether the head has biases.
        stage: whether the new rows are in the file, or would be added to it.

    """

    name: str
    sha256: str
    head: str
    seen: int
    new: int
    width: int
    dtype: str
    bias: bool
    stage: Stage


@dataclass(frozen=True)
class Source:
    """What the injector says about itself.

    Attributes:
        sha256: of its file.
        method: name of the method.
        width: d, the numbers that describe a class.
        losses: mean loss of each epoch, over the members of an ensemble; empty for a closed form.
        stopped: why training ended.
        held_out: how near predicted rows of seen classes came to the true ones, or None.

    """

    sha256: str
    method: str
    width: int
    losses: tuple[float, ...]
    stopped: str
    held_out: HeldOutFigures | None


@dataclass(frozen=True)
class Point:
    """A row on the map: class name, ``"seen"`` or ``"new"``, and where it is."""

    name: str
    kind: str
    x: float
    y: float


@dataclass(frozen=True)
class Likeness:
    """A new row and the seen rows most like it: their names and cosines, the nearest first."""

    name: str
    nearest: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ClassLine:
    """A line of the table of classes; None where nothing is known.

    Attributes:
        row: of the head, counted from 0.
        name: class name.
        kind: ``"seen"`` or ``"new"``.
        standing: share of held-out seen classes whose rows looked less sure, 0..1.
        cosine: expected cosine of the row with the true one.
        unlike: whether nothing that the classifier knows is like it.
        twin: the seen class that is described exactly like it.
        like: the seen class that is most like it, by its description where that is at hand, else
            by its row.
        before, after: length of its weights before and after calibration.
        samples: that were answered.
        top1, own_top1: share of them answered rightly among all classes, and among new (or seen)
            ones alone.

    """

    row: int
    name: str
    kind: str
    standing: float | None
    cosine: float | None
    unlike: bool
    twin: str | None
    like: str | None
    before: float | None
    after: float
    samples: int
    top1: float | None
    own_top1: float | None


@dataclass(frozen=True)
class Picture:
    """A small image: the name of its file, and the bytes of a JPEG."""

    name: str
    jpeg: bytes


@dataclass(frozen=True)
class Example:
    """Images of class ``true`` that were answered ``answer``; at least one."""

    true: str
    answer: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Report:
    """All that an HTML report shows; :func:`~icis_cli.html.page.write_html` writes it.

    Attributes:
        subject: the checkpoint.
        verdict: how good the new rows are.
        expected: accuracies to expect of new and seen classes, or None where they were measured,
            or are not known.
        record: what the checkpoint says about its injections, or None.
        source: the injector, or None.
        evaluation: on labelled samples, or None.
        points: the map: some seen and new rows.
        seen_lengths: lengths of the weights of some seen rows.
        likeness: the least sure new rows with the seen rows most like them.
        classes: new classes, the least sure first, then seen ones that have samples.
        left_out: classes that are too many for the table.
        examples: images of confusions, where images were given.

    """

    subject: Subject
    verdict: Verdict
    expected: Expectation | None
    record: Record | None
    source: Source | None
    evaluation: Evaluation | None
    points: tuple[Point, ...]
    seen_lengths: tuple[float, ...]
    likeness: tuple[Likeness, ...]
    classes: tuple[ClassLine, ...]
    left_out: int
    examples: tuple[Example, ...] = ()

    @property
    def new_classes(self) -> tuple[ClassLine, ...]:
        """The new ones among the classes of the table."""
        return tuple(line for line in self.classes if line.kind == "new")

    @property
    def command(self) -> str:
        """The command that makes a report on this checkpoint."""
        return f"icis report {shlex.quote(self.subject.name)}"

    @property
    def missing(self) -> tuple[tuple[str, str], ...]:
        """What is not there for want of data, each with the command that would add it."""
        injector = f"{self.command} --injector FILE, the file that these rows were made with"
        found = []
        if self.source is None:
            found += [
                ("how near predicted rows come to true ones", injector),
                ("the training curve", injector),
                ("lengths before calibration, and the cosine to expect of each class", injector),
            ]
        else:
            if not self.source.losses:
                found.append(("the training curve", "icis fit --method icis: others do not train"))
            if self.source.held_out is None:
                found.append(("how near predicted rows come to true ones", "icis fit --cv 5"))
        if self.record is None:
            found.append(("what was injected how", f"{self.subject.name}.icis.json beside it"))
        if self.evaluation is None:
            samples = {
                "planned": "icis inject, then icis eval --report",
                "written": f"{self.command} --features F.npz, or --images DIR",
            }
            found.append(("accuracy, its curve and confusions", samples[self.subject.stage]))
        return tuple(found)

"""The sections of an HTML report: what each shows, in words for people who are no researchers.

Those that are tables to sort are in ``tables``.

A section without data is None; the page tells what would add it. Texts from files are escaped by
``shown``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from icis_cli.evaluation.result import Evaluation
from icis_cli.html.data import Report
from icis_cli.html.figures import (
    accuracy_curve,
    length_histograms,
    loss_curve,
    row_map,
    shown,
)
from icis_cli.html.parts import pairs_of, percent, section
from icis_cli.injection.record import Round
from icis_cli.report.injections import USUAL_COSINE
from icis_cli.report.tables import further
from icis_cli.report.verdict import Step, held_out_step, recognised

#: Names and injections that are shown, and parts of a text: files may hold any number of them.
_MOST_NAMES, _MOST_ROUNDS, _MOST_PARTS = 500, 20, 50
_KINDS = (("seen", "seen class"), ("new", "new class"))
_STEPS: dict[Step, str] = {
    "promising": "That is clearly better than guessing.",
    "weak": "That is better than guessing, but weak: expect many mistakes among the new classes.",
    "guess": "That is hardly better than guessing: the classes are in the wrong order, or the "
    "descriptions do not tell them apart.",
}
_WENT_IN = {
    "written": "The classifier, and the classes that were added to it from descriptions, without "
    "images.",
    "planned": "The classifier, and the classes that icis inject adds to it from descriptions, "
    "without images, unless it gets other options. Nothing has been added yet.",
}


def went_in(report: Report) -> str:
    """Return what the checkpoint is, what was added to it, and the names of the new classes."""
    subject, source = report.subject, report.source
    bias = "with a bias for each class" if subject.bias else "without biases"
    pairs = [
        (
            "final layer",
            (
                f"<code>{shown(subject.head)}</code>: one row of {subject.width:,} "
                f"weights ({shown(subject.dtype)}) per class, {bias}"
            ),
        ),
    ]
    if source is not None:
        pairs.append(("descriptions", f"{source.width:,} numbers for each class"))
    for number, part in _rounds(report):
        pairs.append((f"injection {number}", _round(part)))
    names = [line.name for line in sorted(report.new_classes, key=lambda one: one.row)]
    items = "".join(f"<li>{shown(name)}</li>" for name in names[:_MOST_NAMES])
    more = subject.new - min(len(names), _MOST_NAMES)
    rest = f'<p class="quiet">and {more:,} more</p>' if more else ""
    is_open = " open" if len(names) <= 24 else ""
    return section(
        "What went in",
        _WENT_IN[subject.stage],
        pairs_of(pairs),
        f"<details{is_open}><summary>Names of the new classes</summary>"
        f'<ul class="names">{items}</ul>{rest}</details>',
    )


def _rounds(report: Report) -> list[tuple[int, Round]]:
    """Return the injections with their numbers, the last ones of very many."""
    rounds = report.record.rounds if report.record is not None else ()
    return list(enumerate(rounds, 1))[-_MOST_ROUNDS:]


def _round(part: Round) -> str:
    kinds = {"auto": "found without images", "fixed": "as asked for", "none": "no calibration"}
    how = kinds.get(part.calibration_kind, shown(part.calibration_kind))
    return (
        f"{part.classes:,} classes by {shown(part.method)}, offset {part.calibration:+.3g} ({how})"
    )


def held_out(report: Report) -> str | None:
    """Return how well rows of classes could be predicted whose true rows are known."""
    figures = None if report.source is None else report.source.held_out
    if figures is None:
        return None
    step = held_out_step(figures)
    verdict = "" if step is None else _STEPS[step]
    chance = 1 / figures.candidates
    return section(
        "How good predicted rows are",
        "Some classes that the classifier does know were hidden from icis, and their rows "
        "predicted from their descriptions. Good: the true row is nearest far more often than by "
        "chance. Bad: about as often.",
        pairs_of(
            [
                (
                    "true row is nearest",
                    (
                        f"{recognised(figures)}: {percent(figures.retrieval)}, by chance "
                        f"{percent(chance)}. {verdict}"
                    ),
                ),
                (
                    "cosine",
                    (f"{figures.cosine:.2f} on average with the true row; {USUAL_COSINE}"),
                ),
                (
                    "length",
                    (
                        f"{figures.norm_ratio:.2f} of the true one; predicted rows are shorter, "
                        "which calibration makes up for"
                    ),
                ),
            ]
        ),
    )


def training(report: Report) -> str | None:
    """Return the training curve."""
    source = report.source
    if source is None or not source.losses:
        return None
    return section(
        "Training",
        "How wrong the method was in each pass over the classes. Good: the line falls and becomes "
        "flat. Bad: it goes up and down, or still falls steeply at its end.",
        loss_curve(source.losses),
        f'<p class="quiet">{shown(source.stopped)}</p>',
    )


def accuracy(report: Report) -> str | None:
    """Return the figures of the evaluation and its curve."""
    found = report.evaluation
    if found is None:
        return None
    known = math.isfinite(found.harmonic)
    figure = [
        accuracy_curve(found),
        (
            '<p><span class="key new">this checkpoint</span>'
            '<span class="key best">best balance with another offset</span></p>'
        ),
    ]
    return section(
        "Accuracy",
        f"How often {found.samples:,} labelled samples were answered rightly, as the mean over "
        "classes. New and seen classes compete: an offset that favours new ones costs accuracy "
        "on seen ones. Good: the line reaches far to the upper right, and the diamond lies near "
        "the ring. Bad: the diamond lies on an edge, so that one side is hardly ever answered.",
        *(figure if known else ()),
        _figures(found),
    )


def _figures(found: Evaluation) -> str:
    best = ""
    if math.isfinite(found.best_harmonic):
        best = f" ({percent(found.best_harmonic)} if the offset were {further(found.best_gamma)})"
    pairs = [
        (
            "new classes",
            (
                f"{percent(found.unseen)} right among all classes (u); "
                f"{percent(found.zsl_top1)} if only new classes could be answered (T1)"
            ),
        ),
        (
            "seen classes",
            (
                f"{percent(found.seen)} right among all classes (s); {percent(found.seen_alone)} "
                f"among seen classes only, as the old checkpoint: {_lost(found)}"
            ),
        ),
        ("balance", f"{percent(found.harmonic)}{best}: the harmonic mean H of both"),
        ("area", f"{percent(found.ausuc)} under the line (AUSUC), whatever the offset"),
    ]
    return pairs_of(pairs)


def _lost(found: Evaluation) -> str:
    """Return how many points the seen classes lost."""
    return f"{100 * found.lost:.1f} points lost" if math.isfinite(found.lost) else "unknown"


def placed(report: Report) -> str:
    """Return the map of rows."""
    return section(
        "Map of the classes",
        "Each mark is the row of a class; similar rows lie together. Good: diamonds spread among "
        "the dots, each near classes that are like it. Bad: diamonds in one heap, which the "
        "classifier will mix up. Two dimensions show only part of the picture. Point at a mark, or "
        "tap it, for its name.",
        row_map(report.points),
        '<p class="told" aria-live="polite"></p>',
        "<p>" + "".join(f'<span class="key {k}">{words}</span>' for k, words in _KINDS) + "</p>",
    )


def lengths(report: Report) -> str:
    """Return the lengths of rows, before and after calibration."""
    new = report.new_classes
    before = [line.before for line in new if line.before is not None]
    groups: list[tuple[str, str, Sequence[float]]] = [("seen", "seen", report.seen_lengths)]
    if before:
        groups.append(("new, as predicted", "raw", before))
    after = {"planned": "new, as they would be injected", "written": "new, as injected"}
    groups.append((after[report.subject.stage], "new", [line.after for line in new]))
    return section(
        "Lengths of rows",
        "A short row answers faintly and loses to longer ones, unless an offset helps it. Good: "
        "the new rows are about equally long among themselves; that they are shorter than seen "
        "ones is usual. Bad: a few are very long, and will be answered far too often.",
        length_histograms(groups),
    )


def provenance(report: Report) -> str:
    """Return which files and versions this comes from."""
    pairs = [("this checkpoint", _digest(report.subject.name, report.subject.sha256))]
    record = report.record
    if record is not None:
        pairs.append(("before any injection", _digest("", record.original_sha256)))
    for number, part in _rounds(report):
        settings = ", ".join(f"{key} {value}" for key, value in sorted(_settings(report, part)))
        libraries = ", ".join(f"{key} {value}" for key, value in sorted(part.libraries.items()))
        pairs += [
            (f"injection {number}", f"{shown(part.method)}, seed {shown(part.seed)}"),
            *([("settings", _long(settings))] if settings else []),
            ("made from", _digest("", part.weights_sha256)),
            *([("injector", _digest("", part.injector_sha256))] if part.injector_sha256 else []),
            *(("descriptions", _digest(*one)) for one in part.descriptors[:_MOST_PARTS]),
            ("software", _long(f"icis {part.version}" + (f", {libraries}" if libraries else ""))),
        ]
    return section(
        "Where it comes from",
        "Files, by their sha256, and versions: with the same ones the result is the same.",
        pairs_of(pairs),
    )


def _settings(report: Report, part: Round) -> Iterator[tuple[str, object]]:
    """Yield the settings; of epochs, those that there were, where the training is known."""
    source = report.source
    own = source is not None and source.losses and source.sha256 == part.injector_sha256
    for key, value in part.settings.items():
        yield key, len(source.losses) if source and own and key == "epochs" else value


def _digest(name: str, digest: str) -> str:
    return (f"{shown(name)} " if name else "") + f"<code>{shown(digest)}</code>"


def _long(text: str) -> str:
    """Return a text that may be longer than a name, in parts that are no longer."""
    parts = text.split(", ")
    return ", ".join([*map(shown, parts[:_MOST_PARTS]), *(["…"] if parts[_MOST_PARTS:] else [])])

"""The top of an HTML report: the verdict in a box, and the figures that people look for first."""

from __future__ import annotations

from icis_cli.html.data import Report
from icis_cli.html.figures import shown
from icis_cli.html.parts import percent, sentence
from icis_cli.report.verdict import held_out_step


def verdict(report: Report) -> str:
    """Return the box that says whether the new rows are worth a try, why, and what to do next."""
    found = report.verdict
    doubtful = found.step == "guess"
    estimate = report.expected.sentence() if report.expected and not doubtful else ""
    items = "".join(f"<li>{sentence(reason)}</li>" for reason in found.reasons)
    twins = [(one.name, one.twin) for one in report.new_classes if one.twin is not None]
    if twins:
        some = ", ".join(f"{shown(name)} like {shown(twin)}" for name, twin in twins[:3])
        rest = f" and {len(twins) - 3:,} more" if twins[3:] else ""
        items += (
            "<li>Described exactly like a known class, whose pictures it will take: "
            f"{some}{rest}. A column that tells them apart would mend it.</li>"
        )
    parts = [
        f"<p><strong>{shown(found.headline)}</strong></p>",
        *([f"<p>{sentence(estimate)}</p>"] if estimate else []),
        f"<ul>{items}</ul>",
        *([f"<p>{sentence(found.advice)}</p>"] if found.advice else []),
        *([] if doubtful or report.evaluation is not None else [f"<p>Next: {_next(report)}</p>"]),
    ]
    return f'<div class="verdict {found.step}" role="note">\n' + "\n".join(parts) + "\n</div>"


def _next(report: Report) -> str:
    if report.subject.stage == "planned":
        return "<code>icis inject</code>, then measure with labelled pictures"
    return (
        f"measure with labelled pictures, <code>{shown(report.command)} --images DIR</code>, or "
        'with features, <code class="whole">--features F.npz</code>'
    )


def cards(report: Report) -> str:
    """Return the figures that people look for first."""
    subject, evaluation = report.subject, report.evaluation
    found = [(f"{subject.new:,}", "new classes"), (f"{subject.seen:,}", "known classes")]
    figures = None if report.source is None else report.source.held_out
    if evaluation is not None:
        found += [
            (percent(evaluation.unseen), "of new classes' samples right"),
            (percent(evaluation.seen), "of known classes' samples right"),
            (percent(evaluation.seen_alone), "of these before: the old checkpoint"),
        ]
    elif figures is not None and held_out_step(figures) is not None:
        count = round(figures.candidates * figures.folds)
        found.append(
            (
                f"{round(figures.retrieval * count):,} of {count:,}",
                (
                    f"hidden classes recognised among {figures.candidates:.0f} (guessing: "
                    f"{figures.folds})"
                ),
            )
        )
    inside = "".join(f"<div><b>{value}</b><span>{words}</span></div>" for value, words in found)
    return f'<div class="cards">{inside}</div>'

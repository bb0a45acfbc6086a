"""Tables of an HTML report: likeness of classes, all classes to sort and search, confusions."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from icis_cli.html.data import ClassLine, Example, Picture, Report
from icis_cli.html.figures import shown
from icis_cli.html.parts import SWIPE, name_of, number, section
from icis_cli.report.injections import USUAL_COSINE

_SURER = (
    " Surer than: so many % of the known classes, when held out, had rows that looked less sure. "
    "Good: above 50 %. Bad: near 0 %. Empty for a class that is described like a known one."
)


def likeness(report: Report) -> str:
    """Return the heat map of new rows and the seen rows most like them."""
    widest = max(len(line.nearest) for line in report.likeness)
    head = "".join(f"<th>{place}</th>" for place in range(1, widest + 1))
    lines = []
    for line in report.likeness:
        cells = "".join(
            f'<td class="h{min(9, max(0, int(10 * cosine)))}">{name_of(name)}'
            f"<small>{cosine:.2f}</small></td>"
            for name, cosine in line.nearest
        )
        lines.append(f"<tr><th>{name_of(line.name)}</th>{cells}</tr>")
    some = len(report.likeness)
    which = f"the {some} least sure of them" if some < report.subject.new else "all of them"
    return section(
        "What new classes look like to the classifier",
        f"The seen classes whose rows are most like those of the new classes ({which}); the "
        "stronger the colour, the more alike (1: the same). Good: relatives in meaning. Bad: "
        "unrelated classes, or the same ones in every line.",
        SWIPE,
        f'<div class="wide" tabindex="0"><table class="heat"><thead><tr><th>new class</th>{head}'
        f"</tr></thead><tbody>{''.join(lines)}</tbody></table></div>",
    )


def classes(report: Report) -> str:
    """Return the table of classes, to sort and to search."""
    lines = report.classes
    has_results = report.evaluation is not None
    surer = report.verdict.step != "guess"  # else it means nothing
    heads = ["class"]
    if has_results:
        heads += ["right", "right on its side", "samples"]
    heads += ["kind", "row", *(["surer than"] if surer else []), "cosine to expect", "most like"]
    heads += ["length before", "length"]
    body = "\n".join(_line(line, has_results=has_results, surer=surer) for line in lines)
    left = f" {report.left_out:,} more classes are left out." if report.left_out else ""
    unlike = [line.name for line in lines if line.unlike]
    told = ""
    if unlike:
        some = ", ".join(shown(name) for name in unlike[:20])
        told = (
            '<p class="warning">Nothing that the classifier knows is like these, their rows are '
            f"little more than a guess: {some}{', …' if len(unlike) > 20 else ''}.</p>"
        )
    alike = "row" if report.source is None else "description (or row, where that is not known)"
    results = (
        " Right: share of its samples answered rightly among all classes; on its side: if only new "
        "(or only seen) classes could be answered."
        if has_results
        else ""
    )
    return section(
        "Classes",
        f"How far to trust the row of each class.{_SURER if surer else ''} Cosine to expect: with "
        f"the true row; {USUAL_COSINE}. Most like: the seen class with the most similar {alike}."
        f"{results}{left} Press the head of a column to sort by it.",
        told,
        '<div class="search" hidden><label>Search <input type="search" autocomplete="off"></label>'
        '<output class="quiet"></output></div>',
        SWIPE,
        '<div class="wide" tabindex="0"><table class="sortable" id="classes"><thead><tr>'
        + "".join(f"<th>{head}</th>" for head in heads)
        + f"</tr></thead><tbody>\n{body}\n</tbody></table></div>",
    )


def _line(line: ClassLine, *, has_results: bool, surer: bool) -> str:
    cells = [f"<th>{name_of(line.name)}</th>"]
    if has_results:
        cells += [
            number(line.top1, ".1%"),
            number(line.own_top1, ".1%"),
            number(line.samples, "d"),
        ]
    cells += [
        f'<td class="kind-{line.kind}">{line.kind}</td>',
        number(line.row, "d"),
        *([number(line.standing if line.twin is None else None, ".0%")] if surer else []),
        number(line.cosine, ".2f"),
        f"<td>{'' if line.like is None else name_of(line.like)}</td>",
        number(line.before, ".3g"),
        number(line.after, ".3g"),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def confusions(report: Report) -> str | None:
    """Return the most frequent wrong answers."""
    found = () if report.evaluation is None else report.evaluation.confusions
    if not found:
        return None
    lines = "".join(
        f"<tr><th>{name_of(one.true)}</th><td>{name_of(one.answer)}</td>{number(one.count, 'd')}"
        f"{number(one.share, '.1%')}</tr>"
        for one in found
    )
    return section(
        "Worst confusions",
        "The most frequent wrong answers. Usual: classes that people mix up, too. Bad: one class "
        "that takes the samples of many others.",
        '<div class="wide" tabindex="0"><table class="sortable"><thead><tr><th>class</th>'
        "<th>answered</th><th>times</th><th>share of its samples</th></tr></thead>"
        f"<tbody>{lines}</tbody></table></div>",
        *([] if not report.examples else [_gallery(report.examples)]),
    )


def _gallery(examples: Sequence[Example]) -> str:
    """Return images of confusions, in the page itself."""
    figures = "".join(
        f"<figure><div>{''.join(map(_image, one.pictures))}</div><figcaption>"
        f"{name_of(one.true)}<br>answered {name_of(one.answer)}</figcaption></figure>"
        for one in examples
    )
    return f'<h3>Some of these images</h3><div class="gallery">{figures}</div>'


def _image(picture: Picture) -> str:
    data, name = base64.b64encode(picture.jpeg).decode(), shown(picture.name)
    return f'<img src="data:image/jpeg;base64,{data}" alt="{name}" title="{name}">'

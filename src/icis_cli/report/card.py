"""The model card of a new checkpoint: what was added, how good it may be, how to load it.

In the form of Hugging Face's hub: YAML between two lines of dashes, then Markdown. Names come from
strangers; they are quoted or escaped, so that they are shown as they are and mean nothing else.
Nothing is measured here, and there is no time stamp: same input, same bytes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from icis_cli import __version__
from icis_cli.errors import printable
from icis_cli.injection.expansion import Expansion
from icis_cli.injection.record import Round, side_file
from icis_cli.report.injections import USUAL_COSINE, calibration_line, unlike_warning
from icis_cli.report.loading import library_of, loading_lines
from icis_cli.report.outlook import Outlook, twin_warning

#: So many new classes are listed; the record beside the checkpoint has all of them.
_MOST = 100

#: What means something in Markdown or HTML; a backslash before it takes that away.
_SPECIAL = re.compile(r"[\\`*_\[\]<>|~$&@]|:(?=//)|(?<=www)\.")


def card_file(out: Path) -> Path:
    """Return where the model card of the checkpoint ``NEW`` lies: ``NEW.md``."""
    return Path(f"{out}.md")


def model_card(
    expansion: Expansion, outlook: Outlook, out: Path, network: str | None = None
) -> str:
    """Return the model card of a checkpoint.

    Args:
        expansion: what was added to which checkpoint.
        outlook: what is to be expected of it.
        out: the new checkpoint; its name alone is in the card.
        network: library and name, e.g. ``"torchvision/resnet50"``; None where it is not known.

    Raises:
        ValueError: ``expansion`` takes rows off.

    """
    if expansion.record is None:
        raise ValueError("a removal adds nothing that a card could tell of")
    parts = (
        _front_matter(expansion, out, network),
        _title(expansion, out),
        _added(expansion, expansion.record.rounds[-1]),
        _classes(expansion, outlook, out),
        _quality(expansion, outlook),
        _limits(expansion, outlook),
        _loading(expansion, out, network),
    )
    return "\n\n".join(parts) + "\n"


def _front_matter(expansion: Expansion, out: Path, network: str | None) -> str:
    library = library_of(expansion, out, network)
    lines = [
        f"model_name: {_quoted(out.name)}",
        *([] if library is None else [f"library_name: {library}"]),
        "pipeline_tag: image-classification",
        "tags:",
        "- image-classification",
        "- zero-shot-learning",
        "- icis",
    ]
    return "\n".join(["---", *lines, "---"])


def _title(expansion: Expansion, out: Path) -> str:
    count = len(expansion.class_names)
    before = len(expansion.head.weight)
    source = _code(expansion.checkpoint.path.name)
    return (
        f"# {_plain(out.name)}\n\n"
        f"The image classifier {source} with {count - before} new classes: {before} became "
        f"{count}. They were added from descriptions alone, without an image of them, by "
        f"icis {__version__}."
    )


def _added(expansion: Expansion, last: Round) -> str:
    files = ", ".join(_code(name) for name, _ in last.descriptors) or "none on record"
    before = len(expansion.head.weight)
    lines = [
        "## What was added",
        "",
        (
            f"- Where: rows {before} to {len(expansion.class_names) - 1} of the final layer "
            f"{_code(expansion.head.key)}. The rows before them are unchanged, bit for bit, and so "
            "is every other tensor that is there."
        ),
        f"- From what: descriptions in {files}.",
        f"- How: method {_code(last.method)}, seed {last.seed}.",
        f"- {_plain(_capital(calibration_line(expansion)))}.",
    ]
    record = expansion.record
    if record is not None and record.auxiliary:
        lines.append(
            "- Heads that take part in training alone got neutral rows: "
            f"{', '.join(map(_code, record.auxiliary))}."
        )
    if record is not None and record.dropped:
        lines.append(f"- Left out: {', '.join(map(_code, record.dropped))}.")
    if record is not None and len(record.rounds) > 1:
        lines.append(
            f"- Of the {before} classes before, {before - record.seen} were added in the same "
            "way earlier."
        )
    return "\n".join(lines)


def _classes(expansion: Expansion, outlook: Outlook, out: Path) -> str:
    """Return a table of the new classes, with how sure each row is where that is known."""
    certainty, names = expansion.certainty, expansion.class_names
    before = len(expansion.head.weight)
    shown = range(min(len(names) - before, _MOST))
    if certainty is None:
        lines = ["| row | class |", "| ---: | --- |"]
        lines += [f"| {before + n} | {_plain(names[before + n])} |" for n in shown]
    else:
        lines = [
            "| row | class | surer than | expected cosine | described like |",
            "| ---: | --- | ---: | ---: | --- |",
        ]
        lines += [
            f"| {before + n} | {_plain(names[before + n])} | {_surer(expansion, outlook, n)} "
            f"| {certainty.cosine[n]:.2f} | {_plain(names[certainty.nearest[n]])} |"
            for n in shown
        ]
        lines += [
            "",
            (
                "Surer than so many of the known classes when held out; cosine of the row with the "
                f"true one that is to be expected: {USUAL_COSINE}."
            ),
        ]
    left = len(names) - before - len(shown)
    more = f"\n\n{left} more are listed in {_code(side_file(out).name)}." if left else ""
    return "\n".join(lines) + more


def _surer(expansion: Expansion, outlook: Outlook, n: int) -> str:
    if expansion.certainty is None or outlook.twins[n] is not None or not outlook.tells_surer:
        return "-"
    return f"{100 * expansion.certainty.standing[n]:.0f} %"


def _quality(expansion: Expansion, outlook: Outlook) -> str:
    verdict, certainty = outlook.verdict, expansion.certainty
    lines = ["## What to expect", "", f"**{verdict.headline}**", ""]
    if outlook.sentence is not None:
        lines.append(f"- {outlook.sentence}. It is rough: made from the weights alone.")
    lines += [f"- {_plain(_capital(reason))}." for reason in verdict.reasons]
    if verdict.advice:
        lines.append(f"- What to do: {_plain(verdict.advice)}.")
    if certainty is not None:
        middle = float(np.median(certainty.cosine))
        lines.append(
            "- Known classes were held out, and their rows predicted like those of the new ones: "
            f"by that, half of the new rows have a cosine above {middle:.2f} with the true ones."
        )
    lines.append(
        "- No image was looked at. Measure with labelled ones before you rely on it: `icis eval`."
    )
    return "\n".join(lines)


def _limits(expansion: Expansion, outlook: Outlook) -> str:
    new = expansion.class_names[len(expansion.head.weight) :]
    doubts = (*twin_warning(new, outlook.twins), *unlike_warning(expansion))
    told = (*doubts, *expansion.calibration.warnings, *expansion.warnings)
    each = dict.fromkeys(told)
    return "\n".join(
        [
            "## Limits",
            "",
            (
                "- Predicted rows are weaker than trained ones: expect more mistakes among the new "
                "classes, and some old ones taken for new."
            ),
            (
                "- The answers are no better than the descriptions: classes that these do not tell "
                "apart are confused."
            ),
            (
                "- All limits, biases and the licence of the classifier that it was made from hold "
                "for it, too."
            ),
            *(f"- {_plain(_capital(text))}." for text in each),
        ]
    )


def _loading(expansion: Expansion, out: Path, network: str | None) -> str:
    # Names of classes may be written in any script, whatever the system's own encoding is.
    text = f"Path({side_file(out).name!r}).read_text(encoding='utf-8')"
    lines = loading_lines(expansion, out, network)
    return "\n".join(
        [
            "## How to load it",
            "",
            "In the folder of this file:",
            "",
            "```python",
            *lines,
            "```",
            "",
            (
                "Images are prepared as for the classifier that it was made from. The names of its "
                "classes, in the order of its answers:"
            ),
            "",
            "```python",
            "import json",
            "from pathlib import Path",
            f"names = json.loads({text})['class_names']",
            "```",
        ]
    )


def _quoted(text: str) -> str:
    """Return a text as YAML takes it, whatever is in it: what JSON quotes, YAML does, too."""
    return json.dumps(printable(text), ensure_ascii=False)


def _plain(text: str) -> str:
    """Return a text in one line of Markdown that means nothing but itself."""
    return _SPECIAL.sub(r"\\\g<0>", printable(text)).replace(r"\<", "&lt;")


def _code(name: str) -> str:
    """Return a name as code, where it can be."""
    return _plain(name) if "`" in name else f"`{printable(name)}`"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

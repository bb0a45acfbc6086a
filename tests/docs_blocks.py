"""Code blocks of README.md and docs/: where they are, and what their fences say of them.

A block of ``sh``, ``console`` or ``python`` is run (:mod:`tests.docs_running`), unless a comment
right before it says why not::

    <!-- not run: needs the network -->

A block of data whose fence has a title (``csv title="animals.csv"``) becomes the file of this name.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Languages of blocks that are run.
RUN = ("sh", "console", "python")

#: Languages of blocks that only show something.
SHOWN = ("csv", "json", "text", "yaml")

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>.*)$")
_REASON = re.compile(r"^ *<!-- not run: (?P<reason>.+) -->$")
_TITLE = re.compile(r'\btitle="(?P<title>[^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: the file it is in.
        first, last: 0-based numbers of its first line and of the line after its last.
        indent: how far it is indented, within a list.
        language: as its fence says; empty where it does not.
        title: the file that it is, if the fence has one.
        code: its lines.
        reason: why it is not run, if so.

    """

    page: Path
    first: int
    last: int
    indent: str
    language: str
    title: str | None
    code: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.first + 1}"


def pages() -> list[Path]:
    """Return README.md and all pages of the documentation, in order."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page, in order.

    Raises:
        ValueError: a block has no end, or a reason stands before none.

    """
    lines = page.read_text(encoding="utf-8").splitlines()
    found = []
    reason = None
    number = 0
    while number < len(lines):
        told, fence = _REASON.match(lines[number]), _FENCE.match(lines[number])
        if fence is not None:
            end = _end(page, lines, number, fence)
            found.append(_block(page, lines, (number + 1, end), fence, reason))
            number = end
        elif reason is not None and lines[number].strip():
            raise ValueError(f"{page}:{number}: a reason not to run, and no block after it")
        if told is not None:
            reason = told["reason"]
        elif lines[number].strip():
            reason = None
        number += 1
    return found


def _end(page: Path, lines: list[str], start: int, fence: re.Match[str]) -> int:
    for number in range(start + 1, len(lines)):
        if lines[number].strip() == fence["fence"]:
            return number
    raise ValueError(f"{page}:{start + 1}: the block has no end")


def _block(
    page: Path, lines: list[str], span: tuple[int, int], fence: re.Match[str], reason: str | None
) -> Block:
    first, last = span
    language, _, rest = fence["info"].strip().partition(" ")
    title = _TITLE.search(rest)
    return Block(
        page=page,
        first=first,
        last=last,
        indent=fence["indent"],
        language=language,
        title=None if title is None else title["title"],
        code=textwrap.dedent("\n".join(lines[first:last])),
        reason=reason,
    )


def commands_of(block: Block) -> list[str]:
    """Return the command lines of a ``sh`` or ``console`` block, continued lines joined."""
    lines = block.code.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def outputs_of(block: Block) -> list[tuple[str, list[str]]]:
    """Return the commands of a ``console`` block, each with the lines shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.code.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found

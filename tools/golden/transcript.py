"""The files of the golden record, written to be read in reviews.

``golden/*.txt``, a file per subject, each in a folder of its own with the files of ``material``:

    # what comes next is about
    % cp model.pt copy.pt
    $ icis inspect copy.pt
    exit 0
    out| checkpoint   copy.pt (torch, 3.3 kB)
    wrote NAME: what is in it

A line after ``%`` prepares something and must succeed; one after ``$`` is recorded. To add a case,
write its line and run ``make golden-update``, which writes what follows it.

``golden/exact.txt`` has size and sha256 of every file that was written, below a list of what they
depend on: where processor and libraries are others, they say nothing and are not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """A command line, and what came of it.

    Attributes:
        comments: lines before it.
        command: for bash.
        recorded: whether its record is kept; else it prepares something.
        record: lines.

    """

    comments: tuple[str, ...]
    command: str
    recorded: bool
    record: tuple[str, ...] = ()


def read_transcript(text: str) -> list[Step]:
    """Read a file; a record goes on to the next line that starts with ``#``, ``$`` or ``%``."""
    steps: list[Step] = []
    comments: list[str] = []
    record: list[str] = []
    for line in [*text.splitlines(), "#"]:
        if steps and record and line.startswith(("#", "$ ", "% ")):
            while record and not record[-1]:
                del record[-1]
            steps[-1] = replace(steps[-1], record=tuple(record))
            record = []
        if line.startswith(("$ ", "% ")):
            steps.append(Step(tuple(comments), line[2:], line.startswith("$")))
            comments = []
        elif line.startswith("#"):
            comments.append(line)
        elif steps and not comments:
            record.append(line)
    return steps


def write_transcript(steps: Iterable[Step]) -> str:
    """Return the text of a file."""
    parts = []
    for step in steps:
        prompt = "$ " if step.recorded else "% "
        parts.append("\n".join([*step.comments, prompt + step.command, *step.record]))
    return "\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class Exact:
    """Bytes of a file that a command wrote.

    Attributes:
        group: the name of the file of the record.
        command: what wrote it.
        name: its own name.
        size, sha256: of its content.

    """

    group: str
    command: str
    name: str
    size: int
    sha256: str


def write_exact(fingerprint: Sequence[str], files: Iterable[Exact]) -> str:
    """Return the text of ``exact.txt``."""
    lines = ["# Bytes of every file that was written, which depend on:"]
    lines += [f"# {line}" for line in fingerprint]
    group = command = None
    for file in files:
        if file.group != group:
            group, command = file.group, None
            lines += ["", f"[{group}]"]
        if file.command != command:
            command = file.command
            lines.append(f"$ {command}")
        lines.append(f"    {file.sha256} {file.size:7} {file.name}")
    return "\n".join(lines) + "\n"


def read_exact(path: Path) -> tuple[list[str], list[Exact]]:
    """Return the fingerprint and the files of ``exact.txt``; nothing where there is none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    fingerprint = [line[2:] for line in lines if line.startswith("# ")][1:]
    group = command = ""
    files = []
    for line in lines:
        if line.startswith("["):
            group = line[1:-1]
        elif line.startswith("$ "):
            command = line[2:]
        elif line.startswith("    "):
            sha256, size, name = line.split(maxsplit=2)
            files.append(Exact(group, command, name, int(size), sha256))
    return fingerprint, files

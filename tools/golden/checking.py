"""Compares what commands did with the record, and writes it anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tools.golden.comparing import difference, reconciled
from tools.golden.transcript import (
    Exact,
    Step,
    read_exact,
    read_transcript,
    write_exact,
    write_transcript,
)

#: The file of the record that has sizes and hashes.
EXACT = "exact.txt"


@dataclass(frozen=True)
class Outcome:
    """What a group did.

    Attributes:
        name: of its file, without suffix.
        steps: with their new records.
        files: what they wrote.

    """

    name: str
    steps: Sequence[Step]
    files: Sequence[Exact]


@dataclass(frozen=True)
class Difference:
    """A case that differs: its group, its command line, and a diff."""

    group: str
    command: str
    lines: Sequence[str]


class Record:
    """The files of the golden record.

    Attributes:
        folder: where they are.
        fingerprint, files: what ``exact.txt`` has.

    """

    def __init__(self, folder: Path) -> None:
        """Read ``exact.txt``."""
        self.folder = folder
        self.fingerprint, self.files = read_exact(folder / EXACT)

    @property
    def groups(self) -> list[str]:
        """Names of all groups."""
        return sorted(path.stem for path in self.folder.glob("*.txt") if path.name != EXACT)

    def steps(self, group: str) -> list[Step]:
        """Return the steps of a group as they are recorded."""
        return read_transcript((self.folder / f"{group}.txt").read_text(encoding="utf-8"))

    def compare(self, outcomes: Iterable[Outcome], fingerprint: Sequence[str]) -> list[Difference]:
        """Return what differs; bytes count only where the fingerprint is the recorded one."""
        found = []
        for outcome in outcomes:
            old_steps = self.steps(outcome.name)
            for old, new in zip(old_steps, outcome.steps, strict=True):
                record = reconciled(old.record, new.record)
                if record != old.record:
                    name = f"golden/{outcome.name}.txt"
                    lines = difference(name, new.command, old.record, record)
                    found.append(Difference(outcome.name, new.command, lines))
            found += self._lost(outcome)
            if fingerprint == self.fingerprint:
                told = {one.command for one in found if one.group == outcome.name}
                found += self._other_bytes(outcome, told)
        return found

    def _lost(self, outcome: Outcome) -> list[Difference]:
        """Return commands that wrote files when ``exact.txt`` was made, and are no cases now."""
        commands = {step.command for step in outcome.steps}
        lost = {file.command for file in self.files if file.group == outcome.name} - commands
        return [
            Difference(outcome.name, command, [f"--- golden/{outcome.name}.txt: lost: $ {command}"])
            for command in sorted(lost)
        ]

    def _other_bytes(self, outcome: Outcome, told: set[str]) -> list[Difference]:
        """Return files whose bytes differ, though nothing that is shown of them does."""
        before, found = _keyed(self.files), []
        for key, file in _keyed(outcome.files).items():
            was = before.get(key)
            if file.command not in told and was != file:
                lines = [
                    f"--- golden/{EXACT}: $ {file.command}",
                    f"{file.name}: other bytes, but nothing that golden/{file.group}.txt shows of",
                    "them differs: last digits of computed numbers, padding, or white space",
                    f"-{was.sha256} {was.size} bytes" if was else "-nothing recorded",
                    f"+{file.sha256} {file.size} bytes",
                ]
                found.append(Difference(file.group, file.command, lines))
        return found

    def update(self, outcomes: Sequence[Outcome], fingerprint: Sequence[str]) -> None:
        """Write what was found; what agrees with the record stays as it is written there."""
        for outcome in outcomes:
            pairs = zip(self.steps(outcome.name), outcome.steps, strict=True)
            steps = [replace(new, record=reconciled(old.record, new.record)) for old, new in pairs]
            path = self.folder / f"{outcome.name}.txt"
            path.write_text(write_transcript(steps), encoding="utf-8")
        run = {outcome.name for outcome in outcomes}
        kept = [file for file in self.files if file.group not in run and file.group in self.groups]
        if kept and fingerprint != self.fingerprint:
            return  # hashes of two machines must not be mixed: those of this one have no place
        new = [file for outcome in outcomes for file in outcome.files]
        files = sorted(kept + new, key=lambda file: file.group)
        text = write_exact(fingerprint, files)
        (self.folder / EXACT).write_text(text, encoding="utf-8")


def _keyed(files: Iterable[Exact]) -> Mapping[tuple[str, str, str, int], Exact]:
    """Return files by what wrote them, the first time, the second time, ..."""
    count: Counter[tuple[str, str, str]] = Counter()
    found = {}
    for file in files:
        key = (file.group, file.command, file.name)
        count[key] += 1
        found[(*key, count[key])] = file
    return found

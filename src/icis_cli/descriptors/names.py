"""Matching class names from two sources: exactly, else up to case, separators and numbering."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from icis_cli.errors import AlignmentError

#: Before a name: ``001.``, ``12)``, ``3 - ``, ``01_``. Not the beginning of "14-spot ladybird".
NUMBERING = re.compile(r"^(\d+\s*[.)]|\d+\s+[_-]|(0\d*|\d{3,})[_-])\s*(?=\D)")
_APOSTROPHES = str.maketrans("\u2019\u2018\u02bc", "'''")
_SEPARATORS = re.compile(r"[\s_+\-]+")


@dataclass(frozen=True)
class Match:
    """Where each wanted name was found.

    Attributes:
        rows: position in the available names, one per wanted name.
        inexact: (wanted, found) pairs that are not letter for letter the same.

    """

    rows: tuple[int, ...]
    inexact: tuple[tuple[str, str], ...]

    def notes(self) -> list[str]:
        """Return a line about the inexact matches, where there are any."""
        if not self.inexact:
            return []
        shown = ", ".join(f"{wanted!r} = {found!r}" for wanted, found in self.inexact)
        return [f"{len(self.inexact)} names were matched though not spelt alike: {shown}"]


def simplified(name: str) -> str:
    """Return ``name`` without case, numbering (``001.``), kind of separator and of letters.

    Letters with marks may be one character or two, apostrophes straight or curved.
    """
    plain = unicodedata.normalize("NFKC", name).translate(_APOSTROPHES)
    return _SEPARATORS.sub(" ", NUMBERING.sub("", plain.strip())).strip().casefold()


def is_text(name: str) -> bool:
    """Tell whether a name can be written to a file: JSON may hold half of a character."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def known_rows(names: Sequence[str], known: Sequence[str]) -> dict[int, str]:
    """Return which positions of ``names`` are of ``known`` classes, and what those are called.

    A class that is there letter for letter has no other position: "01.door" and "02.door" are two.
    Nor has one that could be at several: none of them is taken for it.
    """
    exact, spelt = set(names), set(known)
    loose = {simplified(name): name for name in known if name not in exact}
    others = [(row, simplified(name)) for row, name in enumerate(names) if name not in spelt]
    times = Counter(plain for _, plain in others)
    found = {row: name for row, name in enumerate(names) if name in spelt}
    return found | {row: loose[s] for row, s in others if s in loose and times[s] == 1}


def match_names(
    wanted: Sequence[str], available: Sequence[str], where: str, way_out: str = ""
) -> Match:
    """Find each of ``wanted`` among ``available``.

    Args:
        wanted: names to find, each once.
        available: names to search, each once.
        where: what ``available`` is, for messages, e.g. ``"attrs.csv"``.
        way_out: what else can be done about names that are not there, with the options of the
            command that asks, e.g. ``"list the head's classes with --seen"``.

    Raises:
        AlignmentError: a name is found nowhere, is ambiguous, or two names match one.

    """
    exact = {name: row for row, name in enumerate(available)}
    loose: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(available):
        loose[simplified(name)].append(row)
    rows: list[int] = []
    inexact: list[tuple[str, str]] = []
    missing: list[str] = []
    taken: dict[int, str] = {}
    for name in wanted:
        found = [exact[name]] if name in exact else loose.get(simplified(name), [])
        if len(found) > 1:
            choices = ", ".join(repr(available[row]) for row in found[:4])
            raise AlignmentError(f"class {name!r} matches several names in {where}: {choices}")
        if not found:
            missing.append(name)
            continue
        row = found[0]
        if row in taken:
            raise AlignmentError(
                f"classes {taken[row]!r} and {name!r} both match {available[row]!r} in {where}",
                "every class must occur once",
            )
        taken[row] = name
        rows.append(row)
        if available[row] != name:
            inexact.append((name, available[row]))
    if missing:
        hint = f"{_SPELLING}; or {way_out}" if way_out else _SPELLING
        raise AlignmentError(_not_found(missing, len(wanted), available, where), hint)
    return Match(tuple(rows), tuple(inexact))


#: Which option helps is the caller's to say: commands have different ones.
_SPELLING = "names may differ in case, '_', '-', '+' and a leading '001.', in nothing else"


def _not_found(missing: list[str], count: int, available: Sequence[str], where: str) -> str:
    near = difflib.get_close_matches(missing[0], available, n=1, cutoff=0.6)
    suggestion = f" (did you mean {near[0]!r}?)" if near else ""
    return (
        f"{len(missing)} of {count} class names are not in {where}, first {missing[0]!r}"
        f"{suggestion}; names there are like {', '.join(repr(n) for n in available[:3])}"
    )

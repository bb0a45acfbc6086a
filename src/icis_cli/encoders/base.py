"""What class names are to the encoders, and what an encoder makes of them.

An encoder turns names into descriptors. What it needs to do so again, for classes that come later,
is an :class:`Encoding`, which an injector keeps.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

from icis_cli.arrays import FloatArray
from icis_cli.descriptors.names import NUMBERING

_SEPARATORS = re.compile(r"[\s_+]+")
_CODE = re.compile(r"[a-z]?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class NamedClass:
    """A class as a names file tells of it.

    Attributes:
        name: what the class is called everywhere else, e.g. ``001.Black_footed_Albatross``.
        synonyms: other names.
        texts: sentences that describe it.

    """

    name: str
    synonyms: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def terms(self) -> tuple[str, ...]:
        """The name and its synonyms as a person would write them: ``Black footed Albatross``."""
        return tuple(spoken(term) for term in (self.name, *self.synonyms))


def spoken(name: str) -> str:
    """Return a name without numbering (``001.``), its words separated by single spaces."""
    return _SEPARATORS.sub(" ", NUMBERING.sub("", name.strip())).strip() or name


def codes_warning(path: Path, classes: Sequence[NamedClass]) -> tuple[str, ...]:
    """Warn where most classes have nothing but a code like ``n01440764`` for a name."""
    coded = [c.name for c in classes if not c.texts and all(map(_CODE.fullmatch, c.terms))]
    if 2 * len(coded) <= len(classes):
        return ()
    text = (
        f"{path}: {len(coded)} of {len(classes)} classes have codes for names, first {coded[0]!r}: "
        "an encoder reads words; add them after '|', or as texts"
    )
    return (text,)


@dataclass(frozen=True)
class Encoding:
    """Which encoder made descriptors of names, and how; enough to do it again.

    Attributes:
        kind: of encoder, e.g. ``"sentence-transformers"``.
        name: of a published model; with ``path``, the architecture where the file does not tell.
        path: of a local file or folder; ``""`` for a published model.
        prompts: sentences with ``{}`` for the name; empty where the kind has none, or, before it
            was used, for those that are usual.
        digest: of the encoder's files, so that another one is noticed; ``""`` where it may change.
        columns: names of the columns, where they depend on the classes that were encoded first.

    """

    kind: str
    name: str = ""
    path: str = ""
    prompts: tuple[str, ...] = ()
    digest: str = ""
    columns: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What to call the encoder, without folders."""
        if not self.path:
            return f"{self.kind}/{self.name}"
        file = Path(self.path).name
        return f"{self.name}@{file}" if self.name else file

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return self.path or f"{self.kind}/{self.name}"

    def settings(self, folder: Path) -> dict[str, Any]:
        """Return JSON-ready values for a file in ``folder``: the path is relative to it."""
        path = os.path.relpath(Path(self.path).resolve(), folder) if self.path else ""
        return {
            **vars(self),
            "path": path,
            "prompts": list(self.prompts),
            "columns": list(self.columns),
        }

    @classmethod
    def restore(cls, settings: Mapping[str, Any], folder: Path) -> Self:
        """Make an encoding of what :meth:`settings` gave.

        Raises:
            KeyError, TypeError, ValueError: something is missing or wrong.

        """
        found = cls(
            settings["kind"],
            settings["name"],
            settings["path"],
            tuple(settings["prompts"]),
            settings["digest"],
            tuple(settings["columns"]),
        )
        texts = (found.kind, found.name, found.path, found.digest, *found.prompts, *found.columns)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("an encoding is not made of texts")
        return replace(found, path=str(folder / found.path)) if found.path else found


@dataclass(frozen=True)
class Encoded:
    """What an encoder made of classes.

    Attributes:
        values: (C, d) one row per class.
        encoding: how, with nothing left open.
        notes: what a person may want to check.
        warnings: what is probably wrong.

    """

    values: FloatArray
    encoding: Encoding
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Encoder(Protocol):
    """An encoder, ready to be used."""

    def encode(self, classes: Sequence[NamedClass], path: Path) -> Encoded:
        """Describe classes; ``path`` is the file that names them, for messages.

        Raises:
            DescriptorError: a class says nothing to this encoder, or a file of it is damaged.

        """

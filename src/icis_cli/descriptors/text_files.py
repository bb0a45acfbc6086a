"""How text is stored in files that people save: in UTF-8, or in UTF-16 where the file says so."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from icis_cli.errors import DescriptorError

#: How a file in UTF-16 begins; Excel calls it "Unicode Text".
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def encoding_of(path: Path) -> str:
    """Return the encoding to open a file with; either leaves out the mark that it begins with."""
    with path.open("rb") as stream:
        return encoding_in(stream.read(2))


def encoding_in(content: bytes) -> str:
    """Return the encoding to decode the content of a file with; the first 2 bytes tell."""
    return "utf-16" if content.startswith(_UTF_16) else "utf-8-sig"


def open_text(path: Path) -> TextIO:
    """Open a text file with its line ends as they are.

    Reading raises :class:`UnicodeError` where it is no text: see :func:`no_text`.
    """
    return path.open(encoding=encoding_of(path), newline="")


def no_text(path: Path, error: UnicodeError, expected: str = "text table") -> DescriptorError:
    """Return the error about a file that cannot be decoded; ``expected``: what it should be."""
    known = isinstance(error, UnicodeDecodeError) and error.encoding.startswith("utf-8")
    why = "it is not UTF-8" if known else "it begins as UTF-16, and is not"
    hint = "save it in UTF-8"
    if known and expected == "text table":
        hint = "in Excel: Save as > CSV UTF-8"
    return DescriptorError(path, f"is no readable {expected}: {why}", hint)

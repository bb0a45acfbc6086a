"""Every error that icis raises on purpose, and the exit code of each.

    IcisError                    1  bad data, I/O or training failure
    ├── FileError                1  one file is missing, unreadable, or not what was expected
    │   ├── CheckpointError      1  a checkpoint cannot be read or rewritten
    │   ├── DescriptorError      1  a descriptor or class-name file is wrong
    │   ├── InjectorError        1  an injector file is wrong or belongs to another checkpoint
    │   ├── FeatureError         1  features, labels or images to evaluate on are wrong
    │   ├── OutputError          1  an output exists already or cannot be written
    │   └── VerificationError    1  a checkpoint is not another one plus rows
    ├── HeadError                1  the final linear layer is not there, or not unique
    ├── AlignmentError           1  descriptor rows and head rows cannot be matched
    ├── TrainingError            1  training cannot start or did not converge
    ├── InstallationError        1  an installed package is missing or broken
    ├── UsageError               2  options that contradict each other
    └── QualityGateError         3  a result is below what --min-... asked for

A message is one line: which file or option, what was expected, what was found.
``hint`` is the way out. Neither ever holds a terminal control character.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


def printable(text: object) -> str:
    """Return ``text`` as one line without control characters (they may come from a file)."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(text))


#: A message is not longer: names in files may be.
_LONGEST = 1600


def _short(text: str) -> str:
    """Return a text without its middle, if it is too long for a message."""
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"


def first_line(error: Exception) -> str:
    """Return the start of what another package's error says, or its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


class IcisError(Exception):
    """Base of all errors of this package.

    Attributes:
        message: one line that says what is wrong.
        hint: one line that says what to do, or ``""``.

    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = _short(printable(message))
        self.hint = _short(printable(hint))
        super().__init__(self.message)


class FileError(IcisError):
    """One file is the cause; the message starts with its path."""

    def __init__(self, path: Path | str, problem: str, hint: str = "") -> None:
        self.path = Path(path)
        self.problem = problem
        super().__init__(f"{path}: {problem}", hint)


class CheckpointError(FileError):
    """A checkpoint cannot be read or rewritten."""


class DescriptorError(FileError):
    """A descriptor or class-name file is wrong."""


class InjectorError(FileError):
    """An injector file is wrong, or belongs to another checkpoint."""


class FeatureError(FileError):
    """Features, labels or images to evaluate on are wrong."""


class OutputError(FileError):
    """An output exists already or cannot be written."""


class VerificationError(FileError):
    """A checkpoint is not another one plus rows."""


class HeadError(IcisError):
    """The final linear layer is not there, or not unique."""


class AlignmentError(IcisError):
    """Descriptor rows and head rows cannot be matched."""


class TrainingError(IcisError):
    """Training cannot start, or it diverged."""


class InstallationError(IcisError):
    """An installed package is missing or broken."""


class UsageError(IcisError):
    """Options that contradict each other."""

    exit_code: ClassVar[int] = 2


class QualityGateError(IcisError):
    """A result is below what ``--min-harmonic`` or ``--min-zsl`` asked for."""

    exit_code: ClassVar[int] = 3

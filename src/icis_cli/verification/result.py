"""What a verification found: one line per check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icis_cli.errors import VerificationError

AGAIN = "make it again with icis inject"
ORDER = "the order is icis verify OLD NEW"
TWO = "name two checkpoints, the one before and the one after icis inject"


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what was looked at, e.g. ``"old rows"``.
        difference: the first one, in one line; None where all is as it must be.
        compared: what was compared, in one line; ``""`` where there is a difference.
        digests: whose sha256 was looked at, and the sha256, for people to copy.

    """

    name: str
    difference: str | None
    compared: str = ""
    digests: tuple[tuple[str, str], ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all is as it must be."""
        return self.difference is None

    @property
    def found(self) -> str:
        """The difference, else what was compared."""
        return self.compared if self.difference is None else self.difference


@dataclass(frozen=True)
class Verification:
    """Whether one checkpoint is another one plus rows.

    Attributes:
        old, new: the two checkpoints.
        head: key of the head; None where the new one has no readable record.
        rows_before, rows_after: of the head, as far as they are known; else 0.
        checks: in the order in which they were made. Later ones are left out where an earlier one
            leaves nothing to compare.
        hint: the way out where a check is not passed.

    """

    old: Path
    new: Path
    head: str | None
    rows_before: int
    rows_after: int
    checks: tuple[Check, ...]
    hint: str = AGAIN

    @property
    def passed(self) -> bool:
        """Whether all is as it must be."""
        return all(check.passed for check in self.checks)

    @property
    def difference(self) -> str | None:
        """The first difference; None where there is none."""
        return next((c.difference for c in self.checks if c.difference is not None), None)

    def require(self) -> None:
        """Refuse a checkpoint that is not the other one plus rows.

        Raises:
            VerificationError: with the first difference.

        """
        if self.difference is not None:
            raise VerificationError(
                self.new,
                f"is not {self.old} plus new rows: {self.difference}",
                self.hint,
            )

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return {
            "old": str(self.old),
            "new": str(self.new),
            "passed": self.passed,
            "difference": self.difference,
            "head": self.head,
            "rows_before": self.rows_before,
            "rows_after": self.rows_after,
            "checks": [
                {"name": check.name, "passed": check.passed, "found": check.found}
                for check in self.checks
            ],
        }

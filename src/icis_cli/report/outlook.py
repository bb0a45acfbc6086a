"""What is to be expected of new rows that are about to be written: said by text, JSON and card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from icis_cli.arrays import FloatArray
from icis_cli.descriptors.base import Descriptors
from icis_cli.injection.expansion import Expansion
from icis_cli.injection.injector import Injector
from icis_cli.injection.targets import in_fitted_columns
from icis_cli.lazy import row_keys, rows_at
from icis_cli.report.verdict import Expectation, Verdict, expectation, fitted_verdict
from icis_cli.words import listed

#: Classes that a warning names.
_MOST = 5


@dataclass(frozen=True)
class Outlook:
    """What is to be expected of U new rows.

    Attributes:
        verdict: on all of them.
        expected: accuracies to expect, or None.
        twins: U names: the known class that is described exactly like each, or None.

    """

    verdict: Verdict
    expected: Expectation | None
    twins: tuple[str | None, ...]

    @property
    def tells_surer(self) -> bool:
        """Whether it means anything that a row looks surer than others."""
        return self.verdict.step != "guess"

    @property
    def sentence(self) -> str | None:
        """What to expect in one sentence; None where nothing is known, or it would be a guess."""
        if self.expected is None or self.verdict.step == "guess":
            return None
        return self.expected.sentence()

    @property
    def lines(self) -> tuple[str, ...]:
        """What to tell people last: what is weak, and what to expect."""
        last = None if self.sentence is None else f"{self.sentence}."
        return tuple(text for text in (self.verdict.doubt, last) if text is not None)


def outlook_of(
    expansion: Expansion, injector: Injector, table: Descriptors | None = None
) -> Outlook:
    """Say what is to be expected of the rows that an expansion adds.

    Args:
        expansion: from ``expand``.
        injector: that it was made with.
        table: descriptors that it was made with; None for those of the injector.

    Raises:
        ValueError: ``expansion`` takes rows off.

    """
    if expansion.record is None:
        raise ValueError("a removal adds nothing that could be judged")
    expected = expectation(expansion.calibration, expansion.head)
    rows = expansion.record.rounds[-1].descriptor_rows
    if table is None:
        place = {number: at for at, number in enumerate(injector.unseen_rows)}
        described = rows_at(injector.unseen_descriptors, [place[row] for row in rows])
    else:
        described = rows_at(in_fitted_columns(injector, table).values, rows)
    return Outlook(
        fitted_verdict(injector, expansion.head.rows, expected),
        expected,
        twins_of(injector.seen_descriptors, injector.seen_names, described),
    )


def twins_of(
    seen: FloatArray, names: Sequence[str], described: FloatArray
) -> tuple[str | None, ...]:
    """Return the known class that is described exactly like each of M new ones, or None.

    Args:
        seen: (K, d) descriptors of the known classes.
        names: of the known classes.
        described: (M, d) descriptors of the new classes.

    """
    known: dict[bytes, str] = {}
    for key, name in zip(row_keys(seen), names, strict=True):
        known.setdefault(key, name)
    return tuple(map(known.get, row_keys(described)))


def twin_warning(names: Sequence[str], twins: Sequence[str | None]) -> tuple[str, ...]:
    """Return a warning about new classes that are described exactly like known ones.

    Args:
        names: of the new classes.
        twins: of each, from :func:`twins_of`.

    """
    pairs = [(name, twin) for name, twin in zip(names, twins, strict=True) if twin is not None]
    if not pairs:
        return ()
    shown = listed([f"{name} like {twin}" for name, twin in pairs], _MOST)
    text = (
        f"described exactly like a known class: {shown}; the new class will take pictures "
        "of the known one: add a column that tells them apart"
    )
    return (text,)

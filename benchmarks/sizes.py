"""How large the made-up problems are: as asked for, or small to try the benchmarks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes of what is made up; D is the width of the head, d that of the descriptors.

    Attributes:
        big_file: bytes of the large checkpoint.
        middle_file: bytes of checkpoints that are written more than once.
        seen: K of a large catalogue.
        new: M of a great many new classes.
        samples: N of an evaluation; memory is compared with that of 4 N.
        loop_epochs: of the paper's loop per run.

    """

    big_file: int
    middle_file: int
    seen: int
    new: int
    samples: int
    loop_epochs: int


FULL = Sizes(
    big_file=10**10,
    middle_file=400 * 10**6,
    seen=21_841,
    new=1_000_000,
    samples=20_000,
    loop_epochs=3,
)

SMALL = Sizes(
    big_file=2 * 10**8,
    middle_file=40 * 10**6,
    seen=2_000,
    new=20_000,
    samples=4_000,
    loop_epochs=1,
)

SIZES: dict[str, Sizes] = {"full": FULL, "small": SMALL}

"""What docs/security.md says of the tests is so."""

from __future__ import annotations

import re
from pathlib import Path

from tests.attacks.checkpoints import CHECKPOINTS
from tests.attacks.descriptors import DESCRIPTORS, IMAGES
from tests.attacks.test_descriptors import LISTS
from tests.attacks.test_faults import KILLS, MANY, SIZES, STOPS
from tests.attacks.test_fuzz import CASES, NAMES, SLOW
from tests.attacks.test_round_trips import FEW, FOUND
from tests.attacks.test_round_trips import MANY as MANY_DRAWN

DOCS = Path(__file__).parents[2] / "docs" / "security.md"


def test_the_counts_in_the_documentation():
    rows = re.findall(r"^\| (.+?) \| (\d+) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    told = {name.removesuffix(" (*slow*)"): int(count) for name, count in rows}
    counts = {
        **{group: len(cases) for group, cases in (CHECKPOINTS | DESCRIPTORS).items()},
        "hostile lists": 3 * len(LISTS),
        "hostile images": len(IMAGES),
        f"damaged files in {len(NAMES)} readers, fixed seed": sum(
            SLOW.get(name, CASES) for name in NAMES
        ),
        "rows added and taken off: random shapes, dtypes, names": FEW + len(FOUND),
        "more of them": MANY_DRAWN,
        "SIGKILL at a random moment of fit and inject": 2 * KILLS,
        "Ctrl-C, SIGTERM, SIGHUP at a random moment of both, by each way to start": 2 * 3 * STOPS,
        "a disk that is full after 0 to 61,000 KiB": len(SIZES),
        "200 expansions in one process, then 8 commands at once": MANY + 8,
    }
    assert {name: told.get(name) for name in counts} == counts

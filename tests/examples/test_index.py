"""Every example is in the index."""

from __future__ import annotations

import re

from tests.examples.running import EXAMPLES


def test_the_index_tells_of_every_example_and_of_no_other():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    told = {link.split("/")[0] for link in re.findall(r"\]\(([^)#:]+)\)", text) if link[0] != "."}
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert told == folders - {"__pycache__"}
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (EXAMPLES / link).exists(), link

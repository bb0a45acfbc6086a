"""The commands that attacks are tried on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.zygote import Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Runs commands quickly and measures them."""
    with Zygote() as started:
        yield started

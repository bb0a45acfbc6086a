"""The commands that attacks are tried on."""

from __future__ import annotations

from collections import Counter

import pytest
from tools.forkserver import ForkServer

from tests.conftest import fork_server


@pytest.fixture
def server() -> ForkServer:
    """Runs commands quickly and measures them."""
    return fork_server()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many cases of each kind were tried and ended as they must."""
    tried: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        if report.when == "call" and "tests/attacks/" in report.nodeid:
            name = report.nodeid.partition("::")[2].partition("[")[0].removeprefix("test_")
            tried[name.replace("_", " ")] += dict(report.user_properties).get("cases", 1)
    terminalreporter.section("attacks and faults: cases that ended as they must")
    for name, count in tried.items():
        terminalreporter.write_line(f"{count:6}  {name}")

"""Lets a process send itself a signal at a known point; found first with this folder in PYTHONPATH.

``ICIS_TEST_SIGNALS`` is ``NUMBER TIMES EVENT WORD``: so many signals at the first audit event of
this name with ``WORD`` in its first argument; if EVENT is ``call``, before the first call of the
function ``WORD``.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

number, times, wanted, word = os.environ.pop("ICIS_TEST_SIGNALS").split(" ", 3)
left = int(times)


def send() -> None:
    global left
    while left:
        left -= 1
        os.kill(os.getpid(), int(number))


def hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == wanted and left and word in str(arguments[0]):
        send()


if wanted == "call":
    module, _, name = word.partition(".")
    home = {"os": os, "time": time}[module]
    function = getattr(home, name)

    def late(*arguments: Any) -> Any:
        """Do what the function does, after the signals."""
        send()
        return function(*arguments)

    setattr(home, name, late)
else:
    sys.addaudithook(hook)

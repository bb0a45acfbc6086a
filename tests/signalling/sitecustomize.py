"""Lets a process send itself a signal at a known point; found first with this folder in PYTHONPATH.

``ICIS_TEST_SIGNALS`` is ``NUMBER TIMES EVENT WORD``: so many signals at the first audit event of
this name with ``WORD`` in its first argument, or, if EVENT is ``end``, when the process wants to
end.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

number, times, wanted, word = os.environ.pop("ICIS_TEST_SIGNALS").split(" ", 3)
left = int(times)
leave = os._exit


def send() -> None:
    global left
    while left:
        left -= 1
        os.kill(os.getpid(), int(number))


def hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == wanted and left and word in str(arguments[0]):
        send()


def leave_late(code: int) -> NoReturn:
    send()
    leave(code)


if wanted == "end":
    os._exit = leave_late
else:
    sys.addaudithook(hook)

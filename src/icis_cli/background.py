"""Work that goes on beside other work and is asked for later."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def in_background(work: Callable[[], T]) -> Future[T]:
    """Start ``work`` in a thread; ``result()`` waits for it, and raises what it raised.

    The thread is dropped with the process: an interrupt does not wait for it.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # raised where the result is asked for
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future

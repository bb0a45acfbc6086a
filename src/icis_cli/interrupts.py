"""Signals that stop a command, at whatever moment they come, and what they must not cut in two.

A command that is stopped ends with ``INTERRUPTED``. Before it has begun there is nothing to clean
up: the process ends at once. Later the signal becomes a KeyboardInterrupt, so that what is half
done is taken away again; a second one does not disturb that. Files are put in place, and the result
is printed, whole or not at all; once that is done the exit code is decided, and signals change
nothing.

To programs that use the API nothing of this happens: without :func:`handle` signals do what they
did.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # from typing, which takes longer than all of the above
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import NoReturn, TextIO

#: The exit code of a command that a signal stopped.
INTERRUPTED = 130

#: What stops a command: Ctrl-C, kill, and a terminal that is closed.
_ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

#: Seconds after which an interrupt comes again that could not be raised where it came.
_AGAIN = 0.01


class _State:
    """How far the command of this process is, and what has come."""

    #: The signal that is to end it, as soon as that may be.
    signal: signal.Signals | None = None
    #: There may be something to clean up.
    begun = False
    #: How many blocks of :func:`uninterrupted` it is in.
    whole = 0
    #: It is in a block of :func:`printing`.
    printing = False
    #: Its exit code can change no more.
    decided = False
    #: It has been told on stderr that it was interrupted.
    told = False


_state = _State()


def handle() -> None:
    """Let signals stop this process as a command; call it before anything that takes time."""
    for number in _ENDING:
        # nohup, and shells for what runs in the background, have some of them ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    sys.unraisablehook = _raised_where_nothing_can_be


def begin() -> None:
    """Say that a command begins, perhaps as a step of another one: its exit code is open.

    Raises:
        KeyboardInterrupt: a signal came after the step before was done.

    """
    _state.begun = True
    _state.decided = _state.told = False
    _raise_if_stopped()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals wait until the block, which is short, has ended.

    Raises:
        KeyboardInterrupt: where one came, before or in the block.

    """
    _raise_if_stopped()
    _state.whole += 1
    try:
        yield
    finally:
        _state.whole -= 1
    if not _state.whole:
        _raise_if_stopped()


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Let signals end the process at once in this block: a library waits where Python hears none.

    Only the main thread may call it.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def listen() -> None:
        while number := os.read(reading, 1):
            if number[0] in _ENDING:
                leave(tell())
        os.close(reading)

    earlier = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _thread.start_new_thread(listen, ())
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier)
        os.close(writing)


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Print in this block, and flush, what the command ends with; then its exit code is decided.

    Signals cut it only where nobody takes what is printed.

    Raises:
        KeyboardInterrupt: where a signal came, whatever error it has become: Python 3.11 makes a
            RuntimeError of one that comes while a class is made.

    """
    if _is_stopped():
        raise KeyboardInterrupt
    _state.printing = True
    try:
        yield
        _state.decided = True
    finally:
        _state.printing = False


def tell() -> int:
    """Tell once on stderr that the command was interrupted; return its exit code."""
    _state.decided = True
    if not _state.told:
        _state.told = True
        with contextlib.suppress(Exception):  # there may be no stderr
            if _takes(sys.stderr):
                print("icis: interrupted", file=sys.stderr, flush=True)
    return INTERRUPTED


def wait(seconds: float) -> None:
    """Wait for a signal, at most so long."""
    end = time.monotonic() + seconds
    while _state.signal is None and time.monotonic() < end:
        time.sleep(_AGAIN)


def leave(code: int) -> NoReturn:
    """End the process now; stdout has been flushed where it is to have anything.

    Python's own way out lets signals, and libraries that are unloaded, change the exit code; and
    after an interrupt that went through ``exec``, as ``python -m`` does, it dies of SIGINT.
    """
    _state.decided = True
    with contextlib.suppress(Exception):  # whatever state a library is in
        if "multiprocessing" in sys.modules:
            # Those that read images would keep the streams open for seconds.
            for child in sys.modules["multiprocessing"].active_children():
                child.terminate()
    with contextlib.suppress(Exception):
        if _takes(sys.stderr):
            sys.stderr.flush()
    os._exit(code)


def _stop(number: int, _frame: FrameType | None) -> None:
    """Do what a signal asks for, now or later."""
    if _is_unwinding():  # a second one must not stop the cleaning up
        return
    _state.signal = signal.Signals(number)
    if _state.decided or _state.whole:
        return
    if not _state.begun:
        leave(tell())
    if not _state.printing or not (_takes(sys.stdout) and _takes(sys.stderr)):
        raise KeyboardInterrupt


def _is_stopped() -> bool:
    """Tell whether a signal came before the exit code was decided."""
    return _state.signal is not None and not _state.decided


def _raise_if_stopped() -> None:
    """Raise an interrupt that had to wait, or that a library or an error has hidden."""
    if _is_stopped() and not _is_unwinding():
        raise KeyboardInterrupt


def _is_unwinding() -> bool:
    """Tell whether what runs now was called while an interrupt is on its way out."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _takes(stream: TextIO) -> bool:
    """Tell whether something can be written without waiting for who reads it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no file, or no stream at all
        return bool(select.select((), (stream.fileno(),), (), 0)[1])
    return True


def _raised_where_nothing_can_be(unraisable: sys.UnraisableHookArgs, /) -> None:
    """Let an interrupt come again that came while Python tidied up, in ``__del__`` or the like."""
    number = _state.signal
    if unraisable.exc_type is not KeyboardInterrupt or number is None:
        sys.__unraisablehook__(unraisable)
        return

    main = _thread.get_ident()  # no other thread is interrupted

    def again() -> None:
        time.sleep(_AGAIN)
        if hasattr(signal, "pthread_kill"):  # else it would wait for what the main thread waits for
            signal.pthread_kill(main, number)
        else:
            _thread.interrupt_main(number)

    _thread.start_new_thread(again, ())

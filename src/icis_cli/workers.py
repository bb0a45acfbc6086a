"""Workers: processes that share the work of one command, and put its results together again.

Most commands run alone. Under ``torchrun`` several processes run the same command on the same
input; each takes its part of the work, and all get the results of all. Every process makes the
same calls of ``gather`` in the same order. An error of one of them becomes the error of all, so
that none waits for a part that never comes.

What torchrun tells each process is in its environment: ``WORLD_SIZE``, ``RANK``, ``LOCAL_RANK``,
``MASTER_ADDR`` and ``MASTER_PORT``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from icis_cli.errors import IcisError, InstallationError, UsageError, first_line
from icis_cli.interrupts import at_once
from icis_cli.runtime import choose_device, import_torch

T = TypeVar("T")

#: How long a process waits for the others. One that dies is noticed at once, by its closed
#: connection; this is for one that hangs, and must be longer than the longest run of a comparison.
_PATIENCE = timedelta(hours=2)

#: How long processes wait for each other at the start; each imports torch before.
_MEETING = timedelta(minutes=3)


@dataclass(frozen=True)
class Workers:
    """A process among all that share the work; here it is alone.

    Attributes:
        rank: number of this process, 0 for the one that prints.
        count: of processes.

    """

    rank: int = 0
    count: int = 1

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """Return the items that are this process's to do: a run of them, none twice, none left."""
        first = len(items) * self.rank // self.count
        end = len(items) * (self.rank + 1) // self.count
        return items[first:end]

    def gather(self, part: T) -> list[T]:
        """Return the parts of all processes, in the order of their numbers."""
        return [part]

    def deal(self, items: Sequence[T]) -> Sequence[T]:
        """Return every ``count``-th item: where neighbours cost alike, all have as much to do."""
        return items[self.rank :: self.count]

    def gather_dealt(self, hand: Sequence[T]) -> list[T]:
        """Return what all processes made of the items of :meth:`deal`, in the items' order."""
        hands = self.gather(hand)
        return [hands[n % self.count][n // self.count] for n in range(sum(map(len, hands)))]


ALONE = Workers()


def process_count() -> int:
    """Return how many processes share the work; 1 unless torchrun says otherwise.

    Raises:
        UsageError: ``WORLD_SIZE`` is no such number.

    """
    return _told("WORLD_SIZE", default="1") or 1


def is_alone() -> bool:
    """Tell whether no other process shares the work; nothing is checked."""
    return os.environ.get("WORLD_SIZE", "1") in ("", "0", "1")


def is_first() -> bool:
    """Tell whether this process is the one that prints; it is in doubt, too."""
    return is_alone() or os.environ.get("RANK", "0") == "0"


@contextmanager
def joined_workers(device: str = "cpu") -> Iterator[Workers]:
    """Join the processes that torchrun started with this one, if it did, until the block ends.

    Where the block raises in one process, all of them raise: the error of the lowest rank.
    A program that has joined should flush its streams and end by ``os._exit``: threads of gloo can
    outlive the group, and abort a process whose interpreter ends before they do.

    Args:
        device: where the work is done; on CUDA each process gets the GPU of its ``LOCAL_RANK``.

    Raises:
        UsageError: there are more processes than GPUs, or the environment is not torchrun's.
        InstallationError: torch cannot connect processes.
        IcisError: the processes do not find each other, one of them has ended, or as in the block.

    """
    count = process_count()
    if count == 1:
        yield ALONE
        return
    rank = _told("RANK")
    if rank >= count:
        raise UsageError(
            f"environment variable RANK is {rank}, expected less than WORLD_SIZE ({count})",
            "start several processes with torchrun, or unset WORLD_SIZE",
        )
    torch = import_torch()
    if not torch.distributed.is_available():
        raise InstallationError(
            "this torch was built without torch.distributed", "run icis without torchrun"
        )
    try:
        with _stoppable():
            torch.distributed.init_process_group(_backend(torch, device), timeout=_MEETING)
            group = torch.distributed.new_group(timeout=_PATIENCE)
    except (ValueError, RuntimeError) as error:
        raise IcisError(
            f"the {count} processes do not find each other ({first_line(error)})",
            "start them all with torchrun",
        ) from None
    try:
        with _agreed(_Joined(rank, count, group)) as workers:
            _take_gpu(torch, device)
            yield workers
    finally:
        torch.distributed.destroy_process_group()


def _told(name: str, default: str | None = None) -> int:
    """Return a number of the environment."""
    text = os.environ.get(name) or default
    if text is None or not (text.isascii() and text.isdecimal()):
        found = "nothing" if text is None else repr(text)
        raise UsageError(
            f"environment variable {name}: expected a number, as torchrun sets it, found {found}",
            "start several processes with torchrun, or unset WORLD_SIZE",
        )
    return int(text)


def _backend(torch: Any, device: str) -> str:
    """Return what connects the processes; results always pass through gloo, which needs no GPU."""
    with_gpu = device != "cpu" and torch.cuda.is_available()
    return "cpu:gloo,cuda:nccl" if with_gpu and torch.distributed.is_nccl_available() else "gloo"


def _take_gpu(torch: Any, device: str) -> None:
    """Make the GPU of this process the one that ``"cuda"`` means."""
    if choose_device(device) != "cuda":
        return
    own, there = _told("LOCAL_RANK", default="0"), torch.cuda.device_count()
    if own >= there:
        raise UsageError(
            f"more processes than GPUs: process {own} of this machine finds {there} GPU(s)",
            f"pass --nproc-per-node {there} to torchrun, or --device cpu to icis",
        )
    torch.cuda.set_device(own)


@dataclass(frozen=True)
class _Failure:
    """An error on its way to other processes: what it takes to make it again."""

    kind: type[IcisError]
    state: dict[str, Any]

    @classmethod
    def of(cls, error: Exception, rank: int) -> _Failure:
        if not isinstance(error, IcisError):  # others may lack what made it
            error = IcisError(f"process {rank}: {type(error).__name__}: {first_line(error)}")
        return cls(type(error), dict(vars(error)))

    def error(self) -> IcisError:
        # Not by calling the class: each has arguments of its own.
        error = self.kind.__new__(self.kind, self.state["message"])
        vars(error).update(self.state)
        return error


@dataclass(frozen=True)
class _Sent:
    """What one process tells the others: its part, or why there is none."""

    part: Any
    failure: _Failure | None = None


class _KnownToAllError(Exception):
    """The first error of all processes, which each of them has been told."""

    def __init__(self, error: IcisError, rank: int) -> None:
        super().__init__()
        self.error = error
        self.rank = rank


def _stoppable() -> AbstractContextManager[None]:
    """Let signals end the process at once in this block, where they are its business."""
    alone = threading.current_thread() is threading.main_thread()
    return at_once() if alone else nullcontext()


@dataclass(frozen=True)
class _Joined(Workers):
    """One of several processes, in a process ``group`` of torch."""

    group: Any = None

    def gather(self, part: T) -> list[T]:
        return [sent.part for sent in self.exchange(_Sent(part))]

    def exchange(self, own: _Sent) -> list[_Sent]:
        """Give ``own`` to all processes and return what each has sent."""
        all_sent: list[Any] = [None] * self.count
        try:
            # Pickles, but only what processes of this very run send each other.
            import_torch().distributed.all_gather_object(all_sent, own, group=self.group)
        except RuntimeError as error:
            lost = IcisError(
                f"another of the {self.count} processes has ended or hangs ({first_line(error)})",
                "look for what ended it, e.g. too little memory, and run the command again",
            )
            raise _KnownToAllError(lost, -1) from None
        for rank, sent in enumerate(all_sent):
            if sent.failure is not None:
                raise _KnownToAllError(sent.failure.error(), rank)
        return all_sent


@contextmanager
def _agreed(workers: _Joined) -> Iterator[Workers]:
    """Let all processes raise the first error of any, or none."""
    try:
        yield workers
        workers.gather(None)  # what one process alone does, such as writing, can fail, too
    except _KnownToAllError as known:
        raise known.error from None
    except Exception as error:
        try:
            workers.exchange(_Sent(None, _Failure.of(error, workers.rank)))
        except _KnownToAllError as known:
            if 0 <= known.rank != workers.rank:
                raise known.error from None
        raise

"""Passes over a matrix in slices of its rows, on all cores.

A matrix product uses every core; what numpy does with its result uses one. With many cores that
would take longer than the product. numpy lets other threads run while it computes, so threads are
enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

from icis_cli.runtime import core_count

T = TypeVar("T")

#: Numbers of a slice: few enough to stay in the cache of a core from one operation to the next.
_SLICE = 2**18
#: More threads wait for each other rather than for numpy.
_MOST_THREADS = 8


@dataclass(frozen=True)
class Spread:
    """Where slices are worked on; without a pool, one after the other in the calling thread."""

    pool: Executor | None = None

    def over(self, matrix: NDArray[Any], work: Callable[[slice], T]) -> list[T]:
        """Return what ``work`` makes of each run of rows of a matrix, in their order.

        Args:
            matrix: (N, C). The runs depend on its shape alone, so that results do not depend on
                the number of cores.
            work: takes the slice of rows; called for several at the same time.

        """
        rows, columns = matrix.shape
        step = max(1, _SLICE // max(columns, 1))
        runs = [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
        if self.pool is None or len(runs) == 1:
            return [work(run) for run in runs]
        return list(self.pool.map(work, runs))


ONE_THREAD = Spread()


@contextmanager
def spread_over_cores() -> Iterator[Spread]:
    """Provide a :class:`Spread` over the cores of this process until the block ends."""
    cores = core_count()
    if cores == 1:
        yield ONE_THREAD
        return
    with ThreadPoolExecutor(min(cores, _MOST_THREADS)) as pool:
        yield Spread(pool)

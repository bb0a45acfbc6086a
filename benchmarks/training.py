"""Training at CUB size: the paper's loop, the paper recipe as we run it, the default recipe."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from benchmarks.cub import Cub, load, measure
from benchmarks.measure import Bound, Line, Row, Runs, Setting, Skipped, faster, seconds, timed
from benchmarks.paper_loop import train_plainly
from icis_cli.methods.networks import EncoderDecoders
from icis_cli.methods.recipes import PAPER
from icis_cli.methods.training import one_thread, train

#: Positions in what ``cub.measure`` returns.
_AUSUC, _EPOCHS, _SECONDS = 4, -2, -1


def section(setting: Setting) -> Iterator[Line]:
    """Compare the speed of an epoch, then both recipes to their own stop, seed by seed."""
    folder = setting.data / "cub-vgg"
    if not folder.is_dir():
        yield Skipped("fit at CUB size", f"no {folder.name} among the data")
        return
    cub = load(folder)
    loop = yield from _epochs(cub, setting)
    measure(cub, "default", 0)  # the first training pays for imports
    default, paper = [], []
    for seed in range(setting.runs):
        default.append(measure(cub, "default", seed))
        paper.append(measure(cub, "paper", seed))
    taken = tuple(run[_SECONDS] for run in default)
    slow = tuple(run[_SECONDS] for run in paper)
    yield faster("default recipe", "paper recipe, as we run it, to its own stop", taken, slow, None)
    # The losses are the same step by step, so the loop of the paper stops at the same epoch.
    whole = tuple(statistics.median(loop) * run[_EPOCHS] for run in paper)
    yield faster(
        "default recipe",
        "paper's loop: its time per epoch, times the epochs to its own stop",
        taken,
        whole,
        100,
    )
    gain = tuple(a[_AUSUC] - b[_AUSUC] for a, b in zip(default, paper, strict=True))
    yield Row("default recipe, AUSUC", "paper recipe, AUSUC", gain, "points", Bound("least", 0))
    yield seconds("default recipe, training", taken, None)
    yield seconds("paper recipe, training", slow, None)


def _epochs(cub: Cub, setting: Setting) -> Generator[Line, None, Runs]:
    """Compare an epoch of both loops; return seconds per epoch of the paper's."""
    known = torch.from_numpy(np.concatenate([cub.classes.seen, cub.classes.unseen]))
    rows = torch.from_numpy(cub.head.rows)
    epochs = setting.sizes.loop_epochs
    recipe = replace(PAPER, epochs=epochs, stop_slope=None)
    losses: dict[str, tuple[float, ...]] = {}

    def plain(networks: EncoderDecoders, generator: torch.Generator) -> None:
        losses["plain"] = train_plainly(networks, known, rows, epochs, generator).losses

    def ours(networks: EncoderDecoders, generator: torch.Generator) -> None:
        losses["ours"] = train(networks, known, rows, recipe, generator, None).losses

    def start() -> tuple[EncoderDecoders, torch.Generator]:
        generator = torch.Generator().manual_seed(0)
        return EncoderDecoders(known.shape[1], rows.shape[1], recipe, generator), generator

    loop: Runs = ()
    for threads in sorted({1, torch.get_num_threads()}, reverse=True):
        slow, fast = [], []
        for _ in range(setting.runs):
            # To draw the initial weights is no part of training.
            first, second = start(), start()
            with one_thread() if threads == 1 else contextlib.nullcontext():
                slow.append(timed(partial(plain, *first)) / epochs)
                fast.append(timed(partial(ours, *second)) / epochs)
        yield faster(
            f"paper recipe, an epoch, threads: {threads}",
            "paper's loop, an epoch",
            tuple(fast),
            tuple(slow),
            2.5,
        )
        # The paper's loop with the number of threads that suits it best.
        loop = min(loop or tuple(slow), tuple(slow), key=statistics.median)
    apart = [abs(a - b) / b for a, b in zip(losses["ours"], losses["plain"], strict=True)]
    yield Row(
        "paper recipe, loss of an epoch",
        "paper's loop: relative difference",
        tuple(apart),
        "",
        Bound("most", 1e-5),
    )
    return loop

"""What the benchmarks compute from times, and what they learn of the commands they run."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from benchmarks.children import CommandError, python, run
from benchmarks.material import make_problem, pairs, write_shards
from benchmarks.measure import Skipped, costs, faster, interleaved, markdown, megabytes, missed

from icis_cli import find_head, open_checkpoint


def test_ratios_are_of_neighbouring_runs_and_the_bound_is_on_their_median():
    quick = faster("ours", "theirs", (1.0, 2.0, 4.0), (3.0, 4.0, 40.0), 3.5)
    assert quick.values == (3.0, 2.0, 10.0)
    slow = costs("ours", "theirs", (1.0, 2.0, 4.0), (1.0, 1.0, 1.0), 2.0)
    assert slow.values == (1.0, 2.0, 4.0)
    assert missed([quick, slow, Skipped("this", "no data")]) == [quick]
    cells = [cell.strip() for cell in markdown(quick).split("|")[1:-1]]
    assert cells == [
        *("ours", "theirs", "3 x", "2 to 10", ">= 3.5 x: MISSED"),
        *("2", "4", "", "3"),
    ]


def test_actions_take_turns_after_one_run_that_is_not_counted():
    order = []
    times = interleaved(2, lambda: order.append("a"), lambda: order.append("b"))
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert [len(runs) for runs in times] == [2, 2]


def test_the_peak_of_a_command_is_its_own():
    here = np.ones(60_000_000)  # 480 MB in this process are none of the command's
    small = python("pass")
    large = python("x = bytearray(200_000_000)")
    assert here.nbytes / 1e6 > small.peak + 300
    assert 190 < large.peak - small.peak < 230
    assert megabytes("memory", (small.peak,), 1.0).peak == small.peak


def test_another_exit_code_than_expected_is_told_with_the_last_line():
    program = "import sys; print('first'); sys.exit('last')"
    with pytest.raises(CommandError, match="exit code 1, expected 0: last"):
        python(program)
    assert run([sys.executable, "-c", program], code=1).seconds > 0


def test_a_command_that_takes_too_long_is_ended():
    with pytest.raises(CommandError, match=r"over 0\.5 s"):
        run([sys.executable, "-c", "import threading; threading.Event().wait()"], limit_s=0.5)


def test_made_up_checkpoints_hold_the_head(tmp_path):
    problem = make_problem(tmp_path, 70_000_000, seen=20, unseen=5, d=4, width=8)
    _, rows = pairs(20, 5, 4, 8)
    assert problem.weights.stat().st_size > 67_000_000
    np.testing.assert_array_equal(find_head(open_checkpoint(problem.weights)).rows, rows)
    write_shards(tmp_path / "sharded", rows, 0, shards=2)
    np.testing.assert_array_equal(find_head(open_checkpoint(tmp_path / "sharded")).rows, rows)

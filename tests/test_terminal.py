"""What a person sees in a terminal, and what a log gets instead; completion, and near misses."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from icis_cli.cli.output import Output
from tests.conftest import COMMANDS, fork_server, icis, in_bash, run

FIT = ("fit", "--weights", "model.pt", "--attrs", "attrs.csv", "--device", "cpu")
QUICK = (*FIT, "--epochs", "3", "--hidden", "8", "--cv", "0")
EVAL = ("eval", "--weights", "model.injected.pt", "--features", "test.npz")


@pytest.fixture(scope="module")
def here(tmp_path_factory, world):
    """A classifier with descriptors, ``model.injected.pt``, and ``test.npz``."""
    import torch

    folder = tmp_path_factory.mktemp("terminal")
    torch.save(world.state(), folder / "model.pt")
    rows = [
        ",".join([name, *map(str, values)])
        for name, values in zip(world.names, world.descriptors, strict=True)
    ]
    titles = ",".join(["class", *(f"x{n}" for n in range(8))])
    (folder / "attrs.csv").write_text("\n".join([titles, *rows]) + "\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        assert run([*FIT, "--method", "ridge", "-q"]) == 0
        assert run(["inject", "-q"]) == 0
        labels = np.repeat(np.arange(len(world.names)), 4)
        noise = np.random.default_rng(1).standard_normal((len(labels), 24))
        features = (world.rows[labels, :-1] + 0.7 * noise).astype(np.float32)
        np.savez("test.npz", features=features, labels=labels)
    return folder


def in_terminal(
    folder: Path, *arguments: str, columns: int = 80, **environment: str
) -> tuple[int, str]:
    """Run a command in a terminal so wide; return its exit code and all that it was sent."""
    own, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CI", "GITHUB_ACTIONS")
    }
    process = subprocess.Popen(
        [fork_server().programs / "icis", *arguments],
        cwd=folder,
        env={**kept, "TERM": "xterm-256color", "PYTHONUTF8": "1", **environment},
        stdin=other,
        stdout=other,
        stderr=other,
        close_fds=True,
    )
    os.close(other)
    sent = b""
    while True:
        try:
            part = os.read(own, 65536)
        except OSError:  # the last one that writes has closed it
            break
        if not part:
            break
        sent += part
    os.close(own)
    return process.wait(), sent.decode(errors="replace")


def plain(text: str) -> list[str]:
    """Return the lines of what a terminal was sent, without what moves, colours and clears."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").split("\n")


def test_fit_shows_loss_rate_and_time_left_and_then_the_course(here):
    code, sent = in_terminal(here, *FIT, "--epochs", "150", "--cv", "2", "--out", "a.safetensors")
    assert code == 0
    lines = plain(sent)
    bar = r"fit icis .* \d+/150 epochs, \d+(\.\d)?/s loss \d\.\d{4} \d\d:\d\d"
    shown = [line for line in lines if re.fullmatch(bar, line)]
    assert shown
    held = r"hold out .* tried epoch \d+/150, loss \d\.\d{4} \S+"
    shown += (within := [line for line in lines if re.fullmatch(held, line)])
    assert within
    assert max(map(len, shown)) <= 80
    (last,) = (line for line in lines if line.startswith("all 150 epochs done"))
    assert re.fullmatch(r".*; loss \S+ -> \S+ [▁▂▃▄▅▆▇█]{30}", last)


@pytest.mark.parametrize("columns", [80, 120])
def test_eval_draws_the_curve_in_a_terminal(here, columns):
    code, sent = in_terminal(here, *EVAL, columns=columns)
    assert code == 0
    lines = plain(sent)
    assert any("◆ this checkpoint" in line for line in lines)
    assert sum("│" in line for line in lines) == 10
    assert max(map(len, lines)) <= columns


def test_the_curve_is_ascii_where_the_terminal_is(here):
    code, sent = in_terminal(here, *EVAL, PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert code == 0
    assert "# this checkpoint" in sent
    assert sent.isascii()


@pytest.mark.parametrize("option", ["--json", "--quiet"])
def test_there_is_no_curve_where_it_is_not_wanted(here, option):
    code, sent = in_terminal(here, *EVAL, option, "--no-progress")
    assert code == 0
    assert "this checkpoint" not in sent
    assert len(sent.strip().splitlines()) == 1


def test_a_pipe_gets_no_curve_and_a_log_no_control_character(here):
    for environment in ({}, {"GITHUB_ACTIONS": "true", "CI": "true"}):
        done = icis(*EVAL, cwd=here, **environment)
        assert done.code == 0
        assert "this checkpoint" not in done.out
        fitted = icis(*QUICK, "--force", "--out", "b.safetensors", cwd=here, **environment)
        assert fitted.code == 0
        assert "all 3 epochs done" in fitted.err
        for text in (done.out, done.err, fitted.out, fitted.err):
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)


def test_no_color_takes_the_colours_and_no_progress_the_bar(here):
    colour = r"\x1b\[[0-9;]*(3[0-7]|38;[0-9;]+|9[0-7])m"
    _, coloured = in_terminal(here, *EVAL)
    assert re.search(colour, coloured)  # of the progress bar
    _, sent = in_terminal(here, *EVAL, NO_COLOR="1")
    assert not re.search(colour, sent)
    _, still = in_terminal(here, *EVAL, "--no-progress", NO_COLOR="1")
    assert "\x1b[2K" not in still
    assert "\r" not in still.replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("seconds", "rates"),
    [
        ((0, 0.005, 0.01), ["", ", 200/s", ", 200/s"]),
        ((0, 0.25, 0.5), ["", ", 4.0/s", ", 4.0/s"]),
        ((0, 200, 300), ["", ", 200 s each", ", 150 s each"]),
    ],
)
def test_a_bar_says_how_fast_or_how_slow_things_go(seconds, rates, monkeypatch):
    from rich import progress

    clock = [0.0]
    made = progress.Progress

    def clocked(*columns: Any, **options: Any) -> progress.Progress:
        return made(*columns, get_time=lambda: clock[0], disable=True, **options)

    monkeypatch.setattr(progress, "Progress", clocked)
    with Output("compare", "human", progress=True).bar("compare", "runs") as bar:
        assert bar is not None
        told = []
        for done, clock[0] in enumerate(seconds, 1):
            bar.show(done, 10)
            told.append(bar.progress.tasks[0].fields["rate"])
    assert told == rates


def test_busy_shows_what_is_done_and_leaves_nothing(here, tmp_path):
    out = str(tmp_path / "r.html")
    code, sent = in_terminal(here, "report", "model.injected.pt", "--out", out, columns=120)
    assert code == 0
    assert any(re.fullmatch(r". report 0:00:\d\d", line) for line in plain(sent))
    assert "\x1b[2K" in sent


def test_nothing_is_busy_without_a_terminal(here, tmp_path):
    done = icis("report", "model.injected.pt", "--out", tmp_path / "r.html", cwd=here)
    assert done.code == 0
    assert "report 0:" not in done.err
    assert "\x1b" not in done.err


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (("evla",), "'eval'"),
        (("comapre",), "'compare'"),
        (("fit", "--weigths", "x"), "--weights"),
        (("eval", "--weights", "x", "--min-harmonik", "0.1"), "--min-harmonic"),
    ],
)
def test_a_near_miss_is_told_the_right_word(arguments, near, capsys):
    assert run([*arguments]) == 2
    said = capsys.readouterr()
    assert near in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_panels_and_fits(command, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"Example: icis\s+{command}\b", shown)
    assert "─ What is printed ─" in shown
    assert max(map(len, shown.splitlines())) <= columns


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_name_options_that_there_are(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    assert run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    (example,) = re.findall(r"Example: (icis .*)", shown)
    words = example.split()
    assert words[1] == command
    known = set(re.findall(r"^│ [* ]*(--\S+)", shown, re.MULTILINE))
    assert {word for word in words if word.startswith("--")} <= known


def test_help_lists_all_commands(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    assert run(["--help"]) == 0
    _, listed = capsys.readouterr().out.split("─ Commands ─")
    assert set(re.findall(r"^│ (\w+) ", listed, re.MULTILINE)) == set(COMMANDS)


def completed(line: str, cwd: Path) -> list[str]:
    """Return what bash offers at the end of a line, by the script that icis shows for it."""
    script = f"""
        source <(_ICIS_COMPLETE=source_bash icis)
        COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _icis_completion icis; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = in_bash(script, cwd)
    assert done.stderr == ""
    return done.stdout.split()


needs_bash = pytest.mark.skipif(
    shutil.which("bash") is None or not (Path(sys.executable).parent / "icis").exists(),
    reason="no bash, or icis is not installed as a command",
)


@needs_bash
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("icis ev", ["eval"]),
        ("icis eval --min", ["--min-harmonic", "--min-zsl"]),
        ("icis fit --method r", ["ridge"]),
        ("icis fit --method a", ["auto"]),
        ("icis fit --recipe ''", ["default", "paper"]),
        ("icis compare --method con", ["conse"]),
        ("icis fit --inputs ''", ["as-given", "unit"]),
        ("icis fit --weights mod", []),  # bash goes on with file names
    ],
)
def test_bash_completes(line, offered, tmp_path):
    assert completed(line, tmp_path) == offered


@needs_bash
def test_completion_can_be_shown_and_installed(tmp_path):
    icis_path = Path(sys.executable).parent / "icis"
    for script in (
        f"{icis_path} --show-completion; true",
        f"{icis_path} --install-completion; true",
    ):
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "ompletion" in done.stdout, done.stderr
    assert "complete -o default" in (tmp_path / ".bash_completions" / "icis.sh").read_text()
    assert "icis.sh" in (tmp_path / ".bashrc").read_text()

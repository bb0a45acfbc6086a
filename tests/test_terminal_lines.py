"""Lines broken between words on a terminal, nowhere else; switches; completion of each shell."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from icis_cli.cli.app import app
from icis_cli.cli.main import run
from tests.conftest import icis, in_bash
from tests.test_terminal import in_terminal, plain

COMMANDS = sorted(str(one.name) for one in app.registered_commands)
LIST = ("fit", "--weights", "model.pt", "--attrs", "attrs.csv", "--dry-run")


def lines_from(sent: str, start: str) -> list[str]:
    """Return the lines of a terminal from the one that starts so, without the empty last one."""
    lines = [line for line in plain(sent.replace("\r\n", "\n")) if line]
    first = next(number for number, line in enumerate(lines) if line.startswith(start))
    return lines[first:]


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_an_error_is_broken_between_words(tmp_path, columns):
    wrong = ("fit", "a.pth", "b.csv", "c.csv", "d.csv", "e.csv")
    code, sent = in_terminal(tmp_path, *wrong, columns=columns)
    assert code == 2
    lines = lines_from(sent, "icis: error: ")
    assert len(lines) > 1
    assert max(map(len, lines)) <= columns
    piped = icis(*wrong, cwd=tmp_path)
    assert " ".join(lines) == piped.err.strip()
    assert piped.err.count("\n") == 1


@pytest.mark.parametrize("columns", [80, 120])
def test_notes_and_warnings_are_broken_between_words(folder, columns):
    table = (folder / "attrs.csv").read_text().splitlines()
    (folder / "attrs.csv").write_text("\n".join([table[0], table[-1], *table[1:-1]]) + "\n")
    code, sent = in_terminal(folder, *LIST, columns=columns)
    assert code == 0
    piped = icis(*LIST, cwd=folder).err.splitlines()
    told = [line for line in piped if line.startswith(("note: ", "warning: "))]
    assert len(told) == 2
    lines = lines_from(sent, "note: ")
    assert " ".join(lines).startswith(" ".join(told))
    assert max(map(len, lines)) <= columns


def test_a_path_that_is_longer_than_a_line_stays_whole(tmp_path):
    path = f"{'/'.join(['folder'] * 12)}/model.pt"
    code, sent = in_terminal(tmp_path, "inspect", path, "--no-progress", columns=60)
    assert code == 1
    lines = sent.replace("\r\n", "\n").split("\n")
    assert f"{path}:" in lines  # so it can be copied
    assert max(len(line) for line in lines if path not in line) <= 60


@pytest.mark.parametrize("command", [*COMMANDS, None])
def test_help_shows_no_value_for_a_switch(command, capsys):
    assert run([*([command] if command else []), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "<bool>" not in shown
    assert "BOOLEAN" not in shown
    assert "--help" in shown


@pytest.mark.parametrize(
    ("shell", "mark"),
    [
        ("bash", "complete -o default -F"),
        ("zsh", "#compdef icis"),
        ("fish", "complete --command icis"),
        ("powershell", "Register-ArgumentCompleter"),
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_the_shell_of_completion_can_be_named(shell, mark, joined, tmp_path):
    words = [f"--show-completion={shell}"] if joined else ["--show-completion", shell]
    done = icis(*words, cwd=tmp_path)
    assert done.code == 0
    assert mark in done.out
    assert done.err == ""


def test_completion_is_installed_for_the_shell_that_is_named(tmp_path):
    done = icis("--install-completion", "fish", cwd=tmp_path, HOME=str(tmp_path))
    assert done.code == 0
    written = tmp_path / ".config" / "fish" / "completions" / "icis.fish"
    assert written.read_text().startswith("complete --command icis")
    assert not (tmp_path / ".bashrc").exists()


def test_a_shell_that_nobody_knows_is_refused(tmp_path):
    done = icis("--show-completion", "tcsh", cwd=tmp_path)
    assert done.code == 2
    assert "'tcsh' is not one of" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.skipif(
    shutil.which("bash") is None or not (Path(sys.executable).parent / "icis").exists(),
    reason="no bash, or icis is not installed as a command",
)
def test_what_is_shown_for_bash_works_in_bash(tmp_path):
    script = """
        source <(icis --show-completion bash)
        COMP_WORDS=(icis ver); COMP_CWORD=1
        _icis_completion icis; printf '%s\\n' "${COMPREPLY[@]}"
    """
    assert in_bash(script, tmp_path).stdout.split() == ["verify"]

"""Runs the code blocks of one page, in order, in one folder, and compares what is shown of outputs.

``python -m tests.docs_running PAGE ...`` writes what the commands of ``console`` blocks print now
into the pages.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.conftest import fork_server, run
from tests.docs_blocks import ROOT, RUN, Block, blocks_of, commands_of, outputs_of
from tests.docs_material import copy_material, make_material

#: What the shell must be asked for; all else goes to the command in this process.
_SHELL = re.compile(r"[|&;<>$*?`]")

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")

#: By how much a figure may be off: on another processor training ends a little elsewhere.
_RELATIVE, _ABSOLUTE, _PER_CENT = 0.1, 0.05, 10.0


@dataclass(frozen=True)
class _Ended:
    """How a command ended.

    Attributes:
        code: its exit code.
        printed: what it printed, stderr and stdout as they came, but for stdout into a file.
        files: what it wrote, by name.

    """

    code: int
    printed: str
    files: dict[str, bytes]


#: Fits that took long: several pages begin with the same one, of the same files.
_FITS: dict[tuple[str, ...], _Ended] = {}


class Sandbox:
    """One page's folder, and the Python names that its blocks have made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__docs__"}

    def run(self, block: Block) -> None:
        """Run a block, or write the file that it is.

        Raises:
            AssertionError: a command failed, or printed something else than the page shows.

        """
        if block.title is not None:
            (self.folder / block.title).write_text(block.code + "\n", encoding="utf-8")
        elif block.language == "json":
            json.loads(block.code)
        elif block.reason is not None or block.language not in RUN:
            return
        elif block.language == "python":
            self._python(block)
        elif block.language == "console":
            for line, shown in outputs_of(block):
                difference = compared(shown, self.output(line, str(block)))
                assert difference is None, f"{block}: {line}\n{difference}"
        else:
            for line in commands_of(block):
                self.output(line, str(block))

    def output(self, line: str, where: str) -> list[str]:
        """Run a command line; return what it printed, stderr and stdout as they came."""
        command, _, file = line.partition(" > ")
        words = shlex.split(command, comments=True)
        if words[0] == "icis" and not _SHELL.search(_unquoted(f"{command} {file}")):
            code, text = (self._fit if words[1] == "fit" else self._command)(words[1:], file)
        else:
            code, text = self._shell(line)
        assert code == 0, f"{where}: {line}\nended with {code}:\n{text}"
        return text.splitlines()

    def _fit(self, words: list[str], file: str) -> tuple[int, str]:
        """Run ``icis fit``, or give again what it gave for the same words and files."""
        key = (*words, file, *(self._digest(word) for word in words))
        ended = _FITS.get(key)
        if ended is None or any((self.folder / name).exists() for name in ended.files):
            before = self._names()
            code, text = self._command(words, file)
            made = {name: (self.folder / name).read_bytes() for name in self._names() - before}
            _FITS.setdefault(key, _Ended(code, text, made))
            return code, text
        for name, content in ended.files.items():
            (self.folder / name).write_bytes(content)
        return ended.code, ended.printed

    def _names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir() if path.is_file()}

    def _digest(self, word: str) -> str:
        """Return a sha256 of the file or folder that a word names, of nothing if it names none."""
        path = self.folder / word.rpartition("=")[2]
        found = sha256()
        for one in sorted([path, *path.rglob("*")]):
            if one.is_file():
                found.update(f"{one.relative_to(path)} {one.stat().st_size} ".encode())
                found.update(one.read_bytes())
        return found.hexdigest()

    def _command(self, words: list[str], file: str) -> tuple[int, str]:
        """Run ``icis`` in this process; its stdout goes into a file where one is named."""
        printed, kept = io.StringIO(), io.StringIO()
        to_stdout = contextlib.redirect_stdout(kept if file else printed)
        with self._here(), to_stdout, contextlib.redirect_stderr(printed):
            code = run(words)
        if file:
            (self.folder / file).write_text(kept.getvalue(), encoding="utf-8")
        return code, printed.getvalue()

    def _shell(self, line: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self.folder,
            env={**fork_server().on_path(os.environ), "COLUMNS": "80"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3600,
            check=False,
        )
        return done.returncode, done.stdout

    def _python(self, block: Block) -> None:
        code = compile("\n" * block.first + block.code, str(block.page), "exec")
        with self._here(), contextlib.redirect_stdout(io.StringIO()):
            exec(code, self.names)

    @contextlib.contextmanager
    def _here(self) -> Iterator[None]:
        columns = os.environ.get("COLUMNS")
        os.environ["COLUMNS"] = "80"
        try:
            with contextlib.chdir(self.folder):
                yield
        finally:
            os.environ.pop("COLUMNS")
            if columns is not None:
                os.environ["COLUMNS"] = columns


def _unquoted(line: str) -> str:
    return re.sub(r"'[^']*'|\"[^\"]*\"|#.*", "", line)


def compared(shown: list[str], printed: list[str]) -> str | None:
    """Return how an output differs from what a page shows of it, None if it does not.

    Blank lines and the width of columns do not count, figures may be a little off, and a line
    ``...`` stands for any lines.
    """
    want, got = _lines(shown), _lines(printed)
    if _agree(want, got):
        return None
    return "\n".join(["the page shows:", *want, "it printed:", *got])


def _lines(lines: list[str]) -> list[str]:
    plain = (re.sub(r"\s+", " ", re.sub("─+", "─", line)).strip() for line in lines)
    return [line for line in plain if line]


def _agree(want: list[str], got: list[str]) -> bool:
    if not want:
        return not got
    if want[0] == "...":
        return any(_agree(want[1:], got[start:]) for start in range(len(got) + 1))
    return bool(got) and _same(want[0], got[0]) and _agree(want[1:], got[1:])


def _same(want: str, got: str) -> bool:
    if _NUMBER.sub("0", want) != _NUMBER.sub("0", got):
        return False
    pairs = zip(_NUMBER.finditer(want), _NUMBER.finditer(got), strict=True)
    return all(_near(one[0], other[0], want[one.end() :]) for one, other in pairs)


def _near(want: str, got: str, after: str) -> bool:
    one, other = float(want), float(got)
    if re.match(r"( ± \d+)? %", after):
        return abs(one - other) <= _PER_CENT
    if "." not in want:
        return want == got
    return abs(one - other) <= _RELATIVE * max(abs(one), abs(other)) + _ABSOLUTE


def _refreshed(shown: list[str], printed: list[str]) -> list[str] | None:
    """Return what a page shows with the figures of now, None where more than figures differ."""
    if not shown:
        return None if any(line.strip() for line in printed) else []
    first, rest = shown[0], shown[1:]
    if first == "...":
        ends = (_refreshed(rest, printed[start:]) for start in range(len(printed) + 1))
        found = next((end for end in ends if end is not None), None)
        return None if found is None else [first, *found]
    if first.strip():
        while printed and not printed[0].strip():
            printed = printed[1:]
        if not printed or _masked(first) != _masked(printed[0]):
            return None
        first, printed = printed[0], printed[1:]
    found = _refreshed(rest, printed)
    return None if found is None else [first, *found]


def _masked(line: str) -> str:
    return _NUMBER.sub("0", " ".join(_lines([line])))


def sandbox_of(page: Path, material: Path, folder: Path) -> Sandbox:
    """Return the sandbox of a page: with the material, unless a block of the page makes it."""
    if any("examples/zoo/make.py" in block.code for block in blocks_of(page)):
        folder.mkdir()
    else:
        copy_material(material, folder)
    (folder / "examples").symlink_to(ROOT / "examples")
    return Sandbox(folder)


def rewrite(page: Path, material: Path, folder: Path) -> None:
    """Run a page, and write what its commands print now into its ``console`` blocks."""
    sandbox = sandbox_of(page, material, folder)
    lines = page.read_text(encoding="utf-8").splitlines()
    shift = 0
    for block in blocks_of(page):
        if block.language != "console" or block.reason is not None:
            sandbox.run(block)
            continue
        new = []
        for line, shown in outputs_of(block):
            printed = [one.rstrip() for one in sandbox.output(line, str(block))]
            new += ["", f"$ {line}", *(_refreshed(shown, printed) or printed)]
        text = re.sub("\n{3,}", "\n\n", "\n".join(new).strip()).splitlines()
        indented = [(block.indent + line).rstrip() for line in text]
        lines[block.first + shift : block.last + shift] = indented
        shift += len(indented) - (block.last - block.first)
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "material"
        make_material(made)
        for number, argument in enumerate(sys.argv[1:]):
            rewrite(Path(argument).resolve(), made, Path(name) / str(number))
    fork_server().close()

"""README.md and docs/: every code block runs, every option exists, what is generated is current."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from tools import cli_reference

import icis_cli
from icis_cli.cli.app import app
from tests.docs_blocks import ROOT, RUN, SHOWN, Block, blocks_of, commands_of, pages
from tests.docs_material import make_material
from tests.docs_running import Sandbox, compared, sandbox_of

PAGES = pages()
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
NOT_RUN = [block for block in BLOCKS if block.reason is not None]

RUNNABLE = sorted({one.page for one in BLOCKS if one.language in RUN and one.reason is None})

#: More of them, and the pages would show what nobody has tried.
MOST_NOT_RUN = 20

#: Options of other programs that pages speak of; those of benchmarks/ are looked up there.
OTHERS = {
    "--nproc-per-node", "--write-compatibility", "--strict", "--check", "--require-hashes",
}  # fmt: skip

COMMAND: Any = typer.main.get_command(app)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "material"
    make_material(folder)
    return folder


@pytest.mark.parametrize("page", RUNNABLE, ids=named)
def test_every_block_runs(page, material, tmp_path):
    sandbox = sandbox_of(page, material, tmp_path / "page")
    for block in blocks_of(page):
        sandbox.run(block)


def test_every_block_says_what_it_is():
    wrong = [str(block) for block in BLOCKS if block.language not in (*RUN, *SHOWN)]
    assert wrong == []
    hidden = [str(block) for block in BLOCKS if block.language in SHOWN and "$ icis" in block.code]
    assert hidden == [], "a console block would be run"


def test_few_blocks_are_not_run_and_each_says_why():
    assert 0 < len(NOT_RUN) <= MOST_NOT_RUN
    assert [str(block) for block in NOT_RUN if block.language not in RUN] == []


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_what_is_not_run_could_be(block):
    if block.language == "python":
        ast.parse(block.code)
        return
    for line in commands_of(block):
        check(line, block)


def check(line: str, block: Block) -> None:
    """Assert that a command line is one that its program takes."""
    words = shlex.split(line, comments=True)
    match words:
        case ["/usr/bin/time", "-v", *rest]:
            check(shlex.join(rest), block)
        case ["icis", *rest] | ["torchrun", "--nproc-per-node", _, "-m", "icis_cli", *rest]:
            parse(rest)
        case ["make", *rest]:
            targets = [word for word in rest if "=" not in word]
            assert set(targets) <= makefile_targets(), f"{block}: {line}"
        case ["python" | "python3", "-m", module, *_]:
            assert importlib.util.find_spec(module) is not None, f"{block}: {line}"
        case ["python", script, *_]:
            assert (ROOT / script).is_file(), f"{block}: {line}"
        case ["pip", "install", *_] | ["git", *_] | ["cd", *_] | [".", ".venv/bin/activate"]:
            pass
        case _:
            pytest.fail(f"{block}: nothing is known of {line!r}")


def parse(words: list[str]) -> None:
    """Let the command's own parser read a command line; it raises where it knows an option not."""
    group = COMMAND.make_context("icis", list(words), resilient_parsing=False)
    name, command, rest = COMMAND.resolve_command(group, words)
    command.make_context(name, list(rest), parent=group)


def makefile_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))


def test_a_wrong_option_is_noticed():
    with pytest.raises(Exception, match="No such option"):
        parse(["fit", "--weights", "resnet18.pt", "--attributes", "animals.csv"])


def test_every_option_that_is_named_exists():
    known = {name for one in COMMAND.commands.values() for p in one.params for name in p.opts}
    known |= {name for one in COMMAND.params for name in one.opts} | {"--help"} | OTHERS
    benchmarks = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py")
    )
    for page in PAGES:
        text = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.DOTALL | re.M)
        told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - known
        assert {one for one in told if f'"{one}"' not in benchmarks} == set(), named(page)


LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:)([^)#]*)(#[^)]*)?\)|!\[[^\]]*\]\(([^)]+)\)")


def test_links_within_the_project_lead_somewhere():
    wrong = []
    for page in PAGES:
        for match in LINK.finditer(page.read_text(encoding="utf-8")):
            target = match[1] or match[3] or page.name
            if not (page.parent / target).exists():
                wrong.append(f"{named(page)}: {match[0]}")
    assert wrong == []


def test_the_command_reference_is_current():
    page = cli_reference.PAGE.read_text(encoding="utf-8")
    assert page == cli_reference.reference(), "run make reference"


def test_the_command_reference_has_what_the_parser_takes(monkeypatch):
    declared = {}
    for command in app.registered_commands:
        assert command.callback is not None
        found = cli_reference.parameters(command.callback)
        declared[command.name] = [one.names for one in found]
    for name, taken in COMMAND.commands.items():
        options = [tuple(one.opts) for one in taken.params if one.opts[0].startswith("-")]
        told = [one for one in declared[name] if one[0].startswith("-")]
        assert [one for one in options if "--help" not in one] == told
        assert len(taken.params) - len(options) == len(declared[name]) - len(told)
    monkeypatch.setenv("COLUMNS", "20")
    assert cli_reference.reference() == cli_reference.PAGE.read_text(encoding="utf-8")


def test_the_reference_of_the_api_has_every_public_name():
    text = "".join(path.read_text("utf-8") for path in (ROOT / "docs/reference/api").glob("*.md"))
    listed = re.findall(r"^::: icis_cli\.(\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(icis_cli.__all__), "list each in docs/reference/api"
    index = (ROOT / "docs/reference/api/index.md").read_text(encoding="utf-8")
    assert [name for name in icis_cli.__all__ if f"`{name}`" not in index] == []


def test_an_output_that_differs_is_noticed():
    shown = ["held out 5 folds", "...", "cosine 0.26 ± 0.02", "wrote a.pt: 48 -> 51 rows"]
    printed = ["held out  5 folds", "one", "", "two", "cosine 0.27 ± 0.01", shown[3]]
    assert compared(shown, printed) is None
    for wrong in (
        [*printed, "one line more"],
        printed[:-1],
        [*printed[:-1], "wrote a.pt: 48 -> 52 rows"],
        [line.replace("0.27", "0.47") for line in printed],
        [line.replace("cosine", "sine") for line in printed],
    ):
        assert compared(shown, wrong) is not None


def test_a_block_that_fails_is_noticed(tmp_path):
    page = ROOT / "docs" / "none.md"

    def block(language: str, code: str) -> Block:
        return Block(page, 0, 1, "", language, None, code, None)

    sandbox = Sandbox(tmp_path)
    for language, code in (
        ("sh", "icis inspect missing.pt"),
        ("sh", "ls missing | cat"),
        ("console", "$ icis --version\nicis 0"),
    ):
        with pytest.raises(AssertionError):
            sandbox.run(block(language, code))
    with pytest.raises(ZeroDivisionError):
        sandbox.run(block("python", "1 / 0"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("material", "mkdocstrings"):
        if importlib.util.find_spec(module) is None:
            pytest.skip("mkdocs-material and mkdocstrings are not installed: make docs does it")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=3600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_has_every_page(site):
    built = {path.relative_to(site).with_suffix(".md") for path in site.rglob("*.html")}
    assert {page.relative_to(ROOT / "docs") for page in PAGES[1:]} <= built
    fit = (site / "reference" / "api" / "fitting.html").read_text(encoding="utf-8")
    assert 'id="icis_cli.fit"' in fit
    assert "Raises:" in fit
    assert ":func:" not in re.sub("<details.*?</details>", "", fit, flags=re.DOTALL)


def loaded(site: Path) -> Iterator[str]:
    """Yield the addresses of what the pages load (not of what they link to)."""
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        yield from re.findall(r'<(?:script|img|iframe|source)[^>]* src="?([^" >]+)', text)
        yield from re.findall(r'<link(?![^>]*canonical)[^>]* href="?([^" >]+)', text)


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site):
    found = list(loaded(site))
    assert len(found) > 100
    assert [one for one in found if re.match(r"(https?:)?//", one)] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"url\((?:https?:)?//[^)]*\)|@import[^;]*//[^;]*", styles) == []

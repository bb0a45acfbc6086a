"""Write docs/reference/cli.md: every command of ``icis`` and every option, as the code has them.

It reads the declarations themselves, not the help that a terminal shows, so the page is the same at
any width and with any version of the option parser.

    python -m tools.cli_reference            # writes the page
    python -m tools.cli_reference --check    # exits with 1 where the page is not current
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, ParameterInfo

from icis_cli.cli.app import app

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"

_HEAD = """\
# All commands

Written by `make reference` from the declarations in `src/icis_cli/cli`; a test fails where it is
not current. `icis COMMAND --help` shows the same on a terminal; `icis --version` tells the version.

"""

#: What a value is called where its declaration does not say.
_VALUES: dict[type, str] = {int: "N", float: "X", str: "NAME", Path: "FILE"}


@dataclass(frozen=True)
class Parameter:
    """An option or an argument.

    Attributes:
        names: as they are typed, e.g. ``("--quiet", "-q")``; of an argument its metavar.
        value: what stands for its value; empty for a switch.
        default: as it would be typed; empty where there is none to tell.
        help: what it does.
        panel: the heading it stands under.
        argument: whether it is told by its place.
        required: whether the command needs it.
        repeatable: whether it may be given several times.

    """

    names: tuple[str, ...]
    value: str
    default: str
    help: str
    panel: str
    argument: bool
    required: bool
    repeatable: bool


def reference() -> str:
    """Return the whole page."""
    parts = [_HEAD + _contents(), *map(_section, app.registered_commands)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def parameters(callback: Callable[..., Any]) -> Iterator[Parameter]:
    """Yield what a command takes, in the order of its declaration."""
    hints = get_type_hints(callback, include_extras=True)
    for name, given in inspect.signature(callback).parameters.items():
        kind, *rest = get_args(hints[name])
        info = next(one for one in rest if isinstance(one, ParameterInfo))
        yield _parameter(name, kind, info, given.default)


def _parameter(name: str, kind: Any, info: ParameterInfo, default: Any) -> Parameter:
    required = default is inspect.Parameter.empty
    base, repeatable = _plain(kind)
    value = "" if base is bool else _value(info, base)
    names = (value,) if isinstance(info, ArgumentInfo) else _names(info)
    shown = not required and default is not None and base is not bool
    return Parameter(
        names=names or (f"--{name.replace('_', '-')}",),
        value=value,
        default=str(default) if shown else "",
        help=" ".join((info.help or "").split()),
        panel=getattr(info, "rich_help_panel", None) or "",
        argument=isinstance(info, ArgumentInfo),
        required=required,
        repeatable=repeatable,
    )


def _names(info: ParameterInfo) -> tuple[str, ...]:
    """Return the names of an option; typer keeps the first where a default would else stand."""
    first = (info.default,) if isinstance(info.default, str) else ()
    return (*first, *(info.param_decls or ()))


def _plain(kind: Any) -> tuple[Any, bool]:
    """Return the type of one value, and whether there may be several."""
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is list:
        return get_args(kind)[0], True
    return kind, False


def _value(info: ParameterInfo, kind: Any) -> str:
    if info.metavar:
        name = info.metavar
    elif get_args(kind):  # Literal
        name = "|".join(map(str, get_args(kind)))
    else:
        name = _VALUES[kind]
    lowest, highest = info.min, info.max
    if lowest is None and highest is None:
        return name
    ends = [f"from {lowest}"] if lowest is not None else []
    ends += [f"to {highest}"] if highest is not None else []
    return f"{name} ({' '.join(ends)})"


def _contents() -> str:
    lines = []
    for command in app.registered_commands:
        (first, *_) = _told(command.callback)
        lines.append(f"| [`icis {command.name}`](#icis-{command.name}) | {first} |")
    return "\n".join(["| command | what it does |", "| --- | --- |", *lines])


def _told(callback: Callable[..., Any] | None) -> list[str]:
    """Return the paragraphs of a command's help, each as one line."""
    text = inspect.getdoc(callback) or ""
    return [" ".join(part.split()) for part in text.split("\n\n")]


def _section(command: Any) -> str:
    found = list(parameters(command.callback))
    usage = ["icis", command.name]
    usage += [one.names[0] for one in found if one.argument]
    usage += [f"{one.names[0]} {one.value.split()[0]}" for one in found if _is_needed(one)]
    lines = [f"## icis {command.name}", ""]
    for part in _told(command.callback):
        before, example, line = part.partition("Example: ")
        if before:
            lines += [before.strip(), ""]
        if example:
            lines += [f"Example: `{line}`", ""]
    lines += ["```text", f"{' '.join(usage)} [OPTIONS]", "```", ""]
    panels = dict.fromkeys(one.panel for one in found)
    for panel in sorted(panels, key=bool):  # those without a heading first, else in their order
        if panel:
            lines += [f"**{panel}**", ""]
        lines += ["| option | value | default | what it does |", "| --- | --- | --- | --- |"]
        lines += [_line(one) for one in found if one.panel == panel]
        lines.append("")
    return "\n".join(lines)


def _is_needed(one: Parameter) -> bool:
    return one.required and not one.argument


def _line(one: Parameter) -> str:
    names = ", ".join(f"`{name}`" for name in one.names)
    value = "" if one.argument or not one.value else _code(one.value)
    default = "needed" if one.required else _code(one.default) if one.default else ""
    told = any(words in one.help.casefold() for words in ("several times", "as often"))
    text = one.help + (" May be given several times." if one.repeatable and not told else "")
    return f"| {names} | {value} | {default} | {_escaped(text)} |"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _escaped(text: str) -> str:
    """Return text for a cell of a table: nothing of it is markup."""
    for character in "\\|<*_[":
        text = text.replace(character, f"\\{character}")
    return text


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` say whether it is current."""
    text = reference()
    if "--check" not in arguments:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE} is not what the commands take now: run make reference", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What icis has otherwise than typer does when it parses a command line, and shows help.

Switches have no value to show; words that are no option are told their option; and the shell whose
completion is wanted may be named.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from typer.core import TyperCommand, TyperGroup

from icis_cli.errors import UsageError

#: Words that other programs have as commands; here they are options.
_OPTIONS_ELSEWHERE = ("help", "version")

_COMPLETIONS = ("--install-completion", "--show-completion")
_DO_NOT_ASK = "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"

#: Which options a file of this suffix may be for; the command's first one of these is it.
_FILES_OF = {
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".onnx"), ("--weights",)),
    ".safetensors": ("--injector", "--weights"),
    **dict.fromkeys((".csv", ".tsv", ".mat", ".parquet", ".json"), ("--attrs",)),
    **dict.fromkeys((".npy", ".npz"), ("--attrs", "--features")),
    ".txt": ("--seen", "--names"),
}


class Command(TyperCommand):
    """A command whose usage errors name it, and say what to write instead."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return its options and arguments, switches without a value."""
        return _without_values(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line.

        Raises:
            UsageError: words that are no option, where a command takes options alone.

        """
        try:
            self._require_options(ctx, args)
            return super().parse_args(ctx, args)
        except Exception as error:
            # The parser itself does not say which command it reads.
            if getattr(error, "ctx", ctx) is None:
                error.ctx = ctx  # type: ignore[attr-defined]
            raise

    def _require_options(self, ctx: Any, args: Sequence[str]) -> None:
        params = self.get_params(ctx)
        if ctx.resilient_parsing or any(one.param_type_name == "argument" for one in params):
            return
        given, extra, _ = self.make_parser(ctx).parse_args(list(args))
        if not extra or given.get("help"):
            return
        raise UsageError(
            f"{ctx.command_path} takes options alone, found {shlex.join(extra)}",
            _options_for(extra, params, given) or f"see {ctx.command_path} --help",
        )


class Group(TyperGroup):
    """The command ``icis`` itself."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return its options, switches without a value."""
        return _without_values(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Find the command that is called.

        Raises:
            UsageError: it is ``help`` or ``version``, which are options here.

        """
        if args and args[0] in _OPTIONS_ELSEWHERE and args[0] not in self.commands:
            word, *rest = args
            named = [one for one in rest if one in self.commands][:1] if word == "help" else []
            raise UsageError(
                f"no such command: {word}", f"write {shlex.join(['icis', *named])} --{word}"
            )
        return super().resolve_command(ctx, args)


def _without_values(params: list[Any]) -> list[Any]:
    """Let switches show no value in help, where newer typer has ``<bool>``."""
    for one in params:
        if getattr(one, "is_bool_flag", False) and one.metavar is None:
            one.metavar = "[SHELL]" if one.opts[0] in _COMPLETIONS else ""
    return params


def _options_for(words: Sequence[str], params: Sequence[Any], given: dict[str, Any]) -> str:
    """Say which options files may be for; nothing if one of them may be for none."""
    told: list[str] = []
    taken = {name for name, value in given.items() if value is not None}
    for word in words:
        fitting = _FILES_OF.get(PurePath(word).suffix.casefold(), ())
        free = (one for one in _named(params, fitting) if one.multiple or one.name not in taken)
        option = next(free, None)
        if option is None:
            return ""
        taken.add(option.name)
        told += [option.opts[0], word]
    return f"write {shlex.join(told)}"


def _named(params: Sequence[Any], names: Sequence[str]) -> Iterator[Any]:
    return (one for one in params if one.opts[0] in names)


@contextmanager
def shell_of(arguments: Sequence[str]) -> Iterator[bool]:
    """Let the options of completion take the shell that is named after them, in this block.

    Typer gives them a value only where it does not ask which shell has called it; that is decided
    by the environment of this process. Yields whether they take one.
    """
    option, _, value = arguments[0].partition("=") if arguments else ("", "", "")
    if option not in _COMPLETIONS or not (value or arguments[1:2]) or _DO_NOT_ASK in os.environ:
        yield _DO_NOT_ASK in os.environ
        return
    os.environ[_DO_NOT_ASK] = "1"
    try:
        yield True
    finally:
        del os.environ[_DO_NOT_ASK]

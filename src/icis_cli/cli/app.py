"""The command ``icis``: its commands, and how every failure becomes one line and an exit code."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Annotated, Any

import typer
from typer.main import get_command

from icis_cli import __version__, interrupts
from icis_cli.cli import (
    benchmark,
    compare,
    demo,
    describe,
    evaluate,
    fit,
    inject,
    inspect,
    report,
    verify,
)
from icis_cli.cli.output import StdoutError, print_error, to_stdout
from icis_cli.cli.parsing import Command, Group, shell_of
from icis_cli.cli.streams import forget_stdout
from icis_cli.descriptors.names import is_text
from icis_cli.errors import IcisError, QualityGateError, UsageError, VerificationError
from icis_cli.workers import process_count

#: Commands whose work several processes can share.
_SHARED = ("eval", "compare")

app = typer.Typer(
    name="icis",
    cls=Group,
    help="Add classes to a trained image classifier without a single image.",
    epilog="Start with: icis fit --weights model.pt --attrs attributes.csv && icis inject\n\n"
    "Exit codes: 0 done, 1 failed, 2 wrong option, 3 quality gate missed, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("fit", cls=Command)(fit.fit)
app.command("inject", cls=Command)(inject.inject)
app.command("eval", cls=Command)(evaluate.evaluate)
app.command("inspect", cls=Command)(inspect.inspect)
app.command("verify", cls=Command)(verify.verify)
app.command("report", cls=Command)(report.report)
app.command("compare", cls=Command)(compare.compare)
app.command("benchmark", cls=Command)(benchmark.benchmark)
app.command("describe", cls=Command)(describe.describe)
app.command("demo", cls=Command)(demo.demo)


def _show_version(wanted: bool) -> None:
    if wanted:
        with to_stdout():
            print(f"icis {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback does it all
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Add classes to a trained image classifier without a single image."""
    command = context.invoked_subcommand
    if command not in _SHARED and process_count() > 1:
        raise UsageError(
            f"icis {command} is the work of one process, and here are {process_count()}",
            "run it without torchrun",
        )


def answer(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors are printed.

    Raises:
        KeyboardInterrupt: a signal came, whatever error it became.

    """
    as_json = "--json" in arguments
    try:
        _require_text(arguments)
        with shell_of(arguments) as named:
            code = _parser(named).main(arguments, prog_name="icis", standalone_mode=False)
        if code == interrupts.INTERRUPTED:  # newer typer turns the interrupt into this
            raise KeyboardInterrupt
    except (QualityGateError, VerificationError) as error:
        return _report(error, as_json=False)  # the result has been printed already
    except StdoutError as error:
        _trace()
        forget_stdout()
        return _report(error, as_json=False)
    except IcisError as error:
        _trace()
        return _report(error, as_json=as_json)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        forget_stdout()  # nobody reads it any more
        return 1
    except SystemExit as done:  # typer ends so where it has shown or installed completion
        return done.code if isinstance(done.code, int) else 0
    except Exception as error:
        _trace()
        told = _usage_error(error) or _system_error(error) or _fault(error)
        return _report(told, as_json=as_json)
    return code if isinstance(code, int) else 0


@cache
def _parser(_shell_is_named: bool) -> Any:  # typer builds another one then
    """Return what reads command lines, built once: that takes as long as all else it does."""
    return get_command(app)


def _require_text(arguments: list[str]) -> None:
    """Refuse names of files that are no text: records and injectors could not name them.

    Raises:
        UsageError: naming the first.

    """
    for argument in arguments:
        if not is_text(argument):
            shown = os.fsencode(argument).decode(errors="backslashreplace")
            raise UsageError(f"{shown}: its name is not UTF-8", "rename it, or give a link to it")


def _report(error: IcisError, *, as_json: bool) -> int:
    """Print an error, as far as anybody reads it, and return its exit code.

    Raises:
        KeyboardInterrupt: it comes of a signal.

    """
    try:
        with interrupts.printing():
            print_error(error, as_json=as_json)
            sys.stdout.flush()
    except OSError:  # it has been told on stderr
        forget_stdout()
    return error.exit_code


def _usage_error(error: Exception) -> IcisError | None:
    """Turn what the option parser raises into our own error, else None.

    Typer keeps the parser's classes to itself, so they are told by what they carry.
    """
    if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
        return None
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "icis"
    # Where help was shown for want of a command, there is no message.
    return UsageError(error.format_message() or "expected a command", f"see {command} --help")


def _system_error(error: Exception) -> IcisError | None:
    """Turn what the operating system refused, and nothing nearer knew how to tell, into our own."""
    if not isinstance(error, OSError) or error.strerror is None:
        return None
    where = "" if error.filename is None else f"{error.filename}: "
    return IcisError(f"{where}{error.strerror}")


def _fault(error: Exception) -> IcisError:
    return IcisError(
        f"unexpected {type(error).__name__}: {error}",
        "this is a fault of icis: please report it with the output of ICIS_DEBUG=1",
    )


def _trace() -> None:
    if os.environ.get("ICIS_DEBUG") == "1":
        import traceback

        traceback.print_exc()

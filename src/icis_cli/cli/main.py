"""The command ``icis``: its commands, and how every failure becomes one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from icis_cli import __version__
from icis_cli.cli import demo, evaluate, fit, inject
from icis_cli.cli.output import print_error
from icis_cli.errors import IcisError, QualityGateError, UsageError, printable

app = typer.Typer(
    name="icis",
    help="Add classes to a trained image classifier without a single image.",
    epilog="Start with: icis fit --weights model.pt --attrs attributes.csv && icis inject",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("fit")(fit.fit)
app.command("inject")(inject.inject)
app.command("eval")(evaluate.evaluate)
app.command("demo")(demo.demo)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"icis {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Add classes to a trained image classifier without a single image."""


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors are printed, never raised."""
    as_json = "--json" in arguments
    try:
        code = app(args=arguments, prog_name="icis", standalone_mode=False)
    except QualityGateError as error:
        print_error(error, as_json=False)  # the result has been printed already
        return error.exit_code
    except IcisError as error:
        _trace()
        print_error(error, as_json=as_json)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("icis: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Nobody reads stdout any more; keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        _trace()
        usage = _usage_error(error)
        if usage is None:
            usage = IcisError(
                f"unexpected {type(error).__name__}: {error}",
                "this is a fault of icis: please report it with the output of ICIS_DEBUG=1",
            )
        print_error(usage, as_json=as_json)
        return usage.exit_code
    return code if isinstance(code, int) else 0


def _usage_error(error: Exception) -> IcisError | None:
    """Turn what the option parser raises into our own error, else None.

    Typer keeps the parser's classes to itself, so they are told by what they carry.
    """
    if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
        return None
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "icis"
    return UsageError(printable(error.format_message()), f"see {command} --help")


def _trace() -> None:
    if os.environ.get("ICIS_DEBUG") == "1":
        import traceback

        traceback.print_exc()


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; the entry point of ``icis``."""
    signal.signal(signal.SIGTERM, _terminated)
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 1
    sys.exit(code)

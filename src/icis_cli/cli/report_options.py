"""The HTML report that fit, eval and report write: its option, and what goes into it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icis_cli.errors import UsageError
from icis_cli.files import require_writable

if TYPE_CHECKING:
    from icis_cli.checkpoint.base import Checkpoint
    from icis_cli.cli.image_options import ImageRun
    from icis_cli.cli.output import Output
    from icis_cli.evaluation.known import KnownHead
    from icis_cli.evaluation.networks.registry import ImageNetwork
    from icis_cli.evaluation.result import Evaluation
    from icis_cli.html.data import Example
    from icis_cli.injection.injector import Injector

#: Where ``icis fit`` leaves the injector.
USUAL_INJECTOR = Path("injector.safetensors")

#: Of the options that name outputs.
WRITTEN = "What is written"

ReportFile = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.html",
        help="Write a report to look at in a browser, too: one HTML file that loads nothing.",
        rich_help_panel=WRITTEN,
    ),
]


@dataclass(frozen=True)
class ImageExamples:
    """Where images of confusions come from.

    Attributes:
        run: how images are answered.
        images: the folder that holds them.
        network: that answers them.

    """

    run: ImageRun
    images: Path
    network: ImageNetwork

    def find(self, known: KnownHead, evaluation: Evaluation) -> tuple[Example, ...]:
        """Return images of the worst confusions of an evaluation of this folder."""
        from icis_cli.evaluation.images import find_images
        from icis_cli.html.examples import find_examples

        found = find_images(self.images, known.names, self.run.folders)
        return find_examples(
            self.network,
            known,
            found,
            evaluation,
            device=self.run.device,
            batch=self.run.batch,
        )


def require_report(
    report: Path | None, *, force: bool, inputs: tuple[Path, ...], out: Path | None = None
) -> None:
    """Refuse a report that cannot be written, or that is another output, before any work is done.

    Raises:
        OutputError: it exists (without ``force``), is an input, or cannot be written.
        UsageError: it is ``out``, or its name is none of an HTML file.

    """
    if report is None:
        return
    if out is not None and os.path.realpath(report) == os.path.realpath(out):
        raise UsageError(f"--report and --out are the same file: {report}", "choose another name")
    require_writable(report, force=force, inputs=inputs, option="--report")
    require_html(report, "--report")


def require_html(path: Path, option: str) -> None:
    """Refuse a name that no browser would open as a page.

    Raises:
        UsageError: it does not end in ``.html`` or ``.htm``.

    """
    if path.suffix.casefold() not in (".html", ".htm"):
        raise UsageError(
            f"{option} {path}: a report is an HTML file",
            f"name it {path.with_suffix('.html') if path.name else 'report.html'}; a browser "
            "prints it as PDF",
        )


@contextlib.contextmanager
def checked_outputs(inputs: Iterable[Path], check: Callable[[], None]) -> Iterator[None]:
    """Check outputs before inputs are read in this block, so that no work is in vain.

    Where an input is not there, that is told first: outputs are checked after the block then.

    Args:
        inputs: files and folders that are read.
        check: raises where an output cannot be written.

    """
    present = all(path.exists() for path in inputs)
    if present:
        check()
    yield
    if not present:
        check()


def injector_of(output: Output, checkpoint: Checkpoint, path: Path | None) -> Injector | None:
    """Return the injector that is named, or the one that lies here and made these rows."""
    from icis_cli import Injector
    from icis_cli.files import sha256_of
    from icis_cli.injection.record import find_record

    if path is not None:
        return Injector.load(path)
    record = find_record(checkpoint)
    if record is None or not USUAL_INJECTOR.is_file():
        return None
    if sha256_of(USUAL_INJECTOR) not in {part.injector_sha256 for part in record.rounds}:
        return None
    output.note([f"{USUAL_INJECTOR} is what these rows were made with: it is used, too"])
    return Injector.load(USUAL_INJECTOR)


def save_with_report(
    injector: Injector, out: Path, report: Path, page: str, *, force: bool
) -> None:
    """Write an injector and the page about it; both appear, or none.

    Raises:
        OutputError: one of them exists (without ``force``) or cannot be written.

    """
    from icis_cli.files import appearing_together

    with contextlib.ExitStack() as undo:
        with appearing_together((report,), force=force) as streams:
            streams[report].write(page.encode())
            is_new = not os.path.lexists(out)
            injector.save(out, force=force)
            if is_new:
                undo.callback(out.unlink, missing_ok=True)
        undo.pop_all()

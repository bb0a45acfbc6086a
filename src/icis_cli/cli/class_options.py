"""Options that say which class is which, and what they make: a head with aligned classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icis_cli.errors import UsageError

if TYPE_CHECKING:
    from icis_cli.checkpoint.base import Checkpoint
    from icis_cli.checkpoint.head import Head
    from icis_cli.cli.output import Output
    from icis_cli.descriptors.alignment import AlignedClasses

_CLASSES = "Which class is which"

Weights = Annotated[
    Path, typer.Option("--weights", metavar="CKPT", help="The classifier: .pt, .safetensors.")
]
Attrs = Annotated[
    list[Path],
    typer.Option(
        "--attrs",
        metavar="DESC",
        help="One descriptor per class: .npy, .npz, .csv, .tsv, .json, .mat. Given several "
        "times: several views of the same classes, side by side.",
    ),
]
UnseenAttrs = Annotated[
    list[Path] | None,
    typer.Option(
        "--unseen-attrs",
        metavar="DESC",
        help="The new classes in a file of their own; --attrs then holds the seen ones. "
        "As often as --attrs, in the same order.",
    ),
]
Classes = Annotated[
    Path | None,
    typer.Option(
        "--classes",
        metavar="FILE",
        help="Names of the rows of every --attrs file that has none; one a line.",
        rich_help_panel=_CLASSES,
    ),
]
Seen = Annotated[
    Path | None,
    typer.Option(
        "--seen",
        metavar="FILE",
        help="Names or 0-based descriptor row numbers of the classifier's classes, one a "
        "line, in its order. Default: by name if the checkpoint has names, else the first K.",
        rich_help_panel=_CLASSES,
    ),
]
Unseen = Annotated[
    Path | None,
    typer.Option(
        "--unseen",
        metavar="FILE",
        help="Names or row numbers of the classes to add. Default: all others.",
        rich_help_panel=_CLASSES,
    ),
]


@dataclass(frozen=True)
class ClassFiles:
    """The files that describe classes, as the options above give them."""

    attrs: list[Path]
    unseen_attrs: list[Path] | None
    classes: Path | None
    seen: Path | None
    unseen: Path | None

    def check(self) -> None:
        """Refuse what no reading can mend.

        Raises:
            UsageError: not as many ``--unseen-attrs`` as ``--attrs``, or a file given twice.

        """
        from icis_cli.descriptors.views import require_different_files

        new = self.unseen_attrs or []
        if new and len(new) != len(self.attrs):
            raise UsageError(
                f"--attrs is given {len(self.attrs)} time(s), --unseen-attrs {len(new)}",
                "describe the new classes by the same views: as many files, in the same order",
            )
        require_different_files([*self.attrs, *new])

    @property
    def paths(self) -> tuple[Path, ...]:
        """All that are given."""
        lists = (path for path in (self.classes, self.seen, self.unseen) if path is not None)
        return (*self.attrs, *(self.unseen_attrs or ()), *lists)


@dataclass(frozen=True)
class Understood:
    """A checkpoint, its head, and which descriptor belongs to which row."""

    checkpoint: Checkpoint
    head: Head
    classes: AlignedClasses


def understand(output: Output, weights: Path, files: ClassFiles, head: str | None) -> Understood:
    """Read a checkpoint and align its classes.

    What is odd about the checkpoint goes to stderr; what is odd about the classes is the caller's
    to tell, after it has told what was understood.

    Raises:
        IcisError: a file is wrong, or the classes do not fit the head.

    """
    from icis_cli import align, find_head, open_checkpoint, read_views
    from icis_cli.cli.options import lines_of
    from icis_cli.injection.record import find_record

    checkpoint = open_checkpoint(weights)
    output.note(checkpoint.notes)
    found = find_head(checkpoint, head)
    record = find_record(checkpoint)
    if record is not None:
        output.warn([_guess(len(record.class_names) - record.seen, len(record.class_names))])
    aligned = align(
        found.rows,
        read_views(files.attrs, files.classes),
        read_views(files.unseen_attrs) if files.unseen_attrs else None,
        head_names=checkpoint.labels.class_names if record is None else record.class_names,
        seen=lines_of(files.seen),
        unseen=lines_of(files.unseen),
    )
    return Understood(checkpoint, found, aligned)


def _guess(injected: int, rows: int) -> str:
    return (
        f"{injected} of the {rows} rows were injected, not trained: what is learned from them is a "
        "guess about a guess; better fit on the original checkpoint and inject into this one"
    )

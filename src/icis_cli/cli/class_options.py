"""Options that say which class is which, and what they make: a head with aligned classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icis_cli.cli.name_options import Naming
from icis_cli.errors import UsageError

if TYPE_CHECKING:
    from icis_cli.checkpoint.base import Checkpoint
    from icis_cli.checkpoint.head import Head
    from icis_cli.cli.output import Output
    from icis_cli.descriptors.alignment import AlignedClasses
    from icis_cli.descriptors.base import Descriptors

_CLASSES = "Which class is which"

Weights = Annotated[
    Path,
    typer.Option(
        "--weights", metavar="CKPT", help="The classifier: .pt, .safetensors, .onnx, or a folder."
    ),
]
Attrs = Annotated[
    list[Path] | None,
    typer.Option(
        "--attrs",
        metavar="DESC",
        help="One descriptor per class: .csv, .tsv, .npy, .npz, .json, .safetensors, .parquet, "
        ".mat, or word vectors (.glove, .txt, .vec). Given several times: several views of the "
        "same classes, side by side.",
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
        help="Names or descriptor row numbers (0: the first class, without titles) of the "
        "classifier's classes, one a line, in its order; or imagenet-1k. Default: by name if the "
        "checkpoint has names, else the first K.",
        rich_help_panel=_CLASSES,
    ),
]
Unseen = Annotated[
    Path | None,
    typer.Option(
        "--unseen",
        metavar="FILE",
        help="A file with names or row numbers of the classes to add, one a line. Default: all "
        "others.",
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
    naming: Naming = field(default_factory=Naming)

    def check(self) -> None:
        """Refuse what no reading can mend.

        Raises:
            UsageError: nothing describes the classes, not as many ``--unseen-attrs`` as
                ``--attrs``, or a file given twice.

        """
        self.naming.check()
        new = self.unseen_attrs or []
        if not self.attrs and self.naming.names is None:
            raise UsageError(
                "nothing describes the classes", "give --attrs, or --names with --encoder"
            )
        if not self.attrs and self.classes is not None:
            raise UsageError("--classes names the rows of --attrs files, and there is none")
        if new and self.naming.names is not None:
            raise UsageError(
                "--names is for seen and new classes in one file, --unseen-attrs for two files",
                "make descriptors of each with icis describe, and give both as --attrs",
            )
        from icis_cli.descriptors.views import require_different_files

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
        return (*self.attrs, *(self.unseen_attrs or ()), *lists, *self.naming.paths)

    def read(self, known: list[str] | tuple[str, ...] | None) -> Descriptors:
        """Read the descriptors of all classes, or of the seen ones: files first, then names.

        Args:
            known: names of the classifier's own classes, where something tells them.

        Raises:
            IcisError: a file is wrong.

        """
        from icis_cli.descriptors.registry import read_views
        from icis_cli.descriptors.views import join_views

        tables = [read_views(self.attrs, self.classes)] if self.attrs else []
        if self.naming.names is not None:
            tables.append(self.naming.read(known))
        return join_views(tables)


@dataclass(frozen=True)
class Understood:
    """A checkpoint, its head, and which descriptor belongs to which row."""

    checkpoint: Checkpoint
    head: Head
    classes: AlignedClasses


def understand(
    output: Output, weights: Path, files: ClassFiles, head: str | None, state: str | None = None
) -> Understood:
    """Read a checkpoint and align its classes.

    What is odd about the checkpoint goes to stderr; what is odd about the classes is the caller's
    to tell, after it has told what was understood.

    Raises:
        IcisError: a file is wrong, or the classes do not fit the head.

    """
    from icis_cli import align, find_head, open_checkpoint, read_views
    from icis_cli.checkpoint.class_names import HeadNames, head_names, imagenet_if_described
    from icis_cli.cli.options import lines_of
    from icis_cli.injection.record import find_record

    checkpoint = open_checkpoint(weights, state)
    output.note(checkpoint.notes)
    record = find_record(checkpoint)  # it tells that a file is an injector
    found = find_head(checkpoint, head)
    if record is not None:
        output.warn([_guess(len(record.class_names) - record.seen, len(record.class_names))])
    rows = len(found.rows)
    seen = _seen(files.seen)
    own = HeadNames(record.class_names, "") if record else head_names(checkpoint, rows)
    described = files.read(_known(seen or (None if own is None else own.names), rows))
    if own is None and seen is None:
        own = imagenet_if_described(rows, described.names)
    if own is not None and own.source and seen is None:
        output.note([f"the classifier's class names are those of {own.source}"])
    aligned = align(
        found.rows,
        described,
        read_views(files.unseen_attrs) if files.unseen_attrs else None,
        head_names=None if own is None else own.names,
        seen=seen,
        unseen=lines_of(files.unseen),
    )
    return Understood(checkpoint, found, aligned)


def _seen(path: Path | None) -> list[str] | None:
    """Return what --seen lists: a file, or ImageNet's classes."""
    from icis_cli.checkpoint.class_names import IMAGENET, imagenet_names
    from icis_cli.cli.options import lines_of
    from icis_cli.errors import DescriptorError

    if path is not None and str(path) == IMAGENET and not path.exists():
        return list(imagenet_names())
    if path is not None and "imagenet" in path.name.casefold() and not path.exists():
        raise DescriptorError(
            path, "no such file", f"for the 1000 classes of ImageNet, pass --seen {IMAGENET}"
        )
    return lines_of(path)


def _known(
    names: list[str] | tuple[str, ...] | None, rows: int
) -> list[str] | tuple[str, ...] | None:
    """Return the names of the classifier's classes, None where they are row numbers or too few."""
    if names is None or len(names) != rows or all(name.isdecimal() for name in names):
        return None
    return names


def _guess(injected: int, rows: int) -> str:
    return (
        f"{injected} of the {rows} rows were injected, not trained: what is learned from them is a "
        "guess about a guess; better fit on the original checkpoint and inject into this one"
    )

"""Which reader a descriptor file needs, one line per format; and lists of class names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from icis_cli.descriptors.base import Descriptors, check_names, with_names
from icis_cli.descriptors.json_files import read_json
from icis_cli.descriptors.matlab import read_mat
from icis_cli.descriptors.numpy_files import read_numpy
from icis_cli.descriptors.parquet import read_parquet
from icis_cli.descriptors.safetensors_files import read_safetensors
from icis_cli.descriptors.table_cells import counts
from icis_cli.descriptors.tables import read_table
from icis_cli.descriptors.text_files import encoding_in, no_text
from icis_cli.descriptors.views import join_views, require_different_files
from icis_cli.descriptors.word_text import read_word_text
from icis_cli.errors import DescriptorError

READERS: dict[str, Callable[[Path], Descriptors]] = {
    ".npy": read_numpy,
    ".npz": read_numpy,
    ".csv": read_table,
    ".tsv": read_table,
    ".json": read_json,
    ".mat": read_mat,
    ".safetensors": read_safetensors,
    ".parquet": read_parquet,
    ".txt": read_word_text,
    ".vec": read_word_text,
    ".glove": read_word_text,
}

_KNOWN = f"one of {', '.join(READERS)}"

#: What to do with files of formats that are not read.
_WAYS_OUT = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV"),
    **dict.fromkeys(
        (".pt", ".pth", ".pkl", ".pickle"),
        "pickles are not read: save the matrix with numpy.save or numpy.savez",
    ),
}

_LARGEST_LIST = 1 << 28


def read_descriptors(path: Path | str, classes: Path | str | None = None) -> Descriptors:
    """Read class descriptors from a file whose suffix names a known format.

    Args:
        path: one row per class; its suffix is one of ``READERS``.
        classes: text file with one class name per descriptor row, where ``path`` has none.

    Raises:
        DescriptorError: the file is missing, of an unknown format or holds unusable values.

    """
    found = _read(Path(path))
    return found if classes is None else _named(found, Path(classes))


def read_views(paths: Sequence[Path | str], classes: Path | str | None = None) -> Descriptors:
    """Read one or several descriptor files of the same classes, side by side.

    Args:
        paths: one or more files, each a view; ``join_views`` tells how their rows are matched.
        classes: text file with one class name per row, for every file that has no names.

    Raises:
        DescriptorError: a file is missing, of an unknown format or holds unusable values.
        AlignmentError: the files do not describe the same classes.
        UsageError: a file is given twice.

    """
    files = [Path(path) for path in paths]
    require_different_files(files)
    tables = [_read(path) for path in files]
    if classes is not None:
        every = all(map(_has_names, tables))
        tables = [
            _named(table, Path(classes)) if every or not _has_names(table) else table
            for table in tables
        ]
    return join_views(tables)


def _read(path: Path) -> Descriptors:
    """Read a file with the reader that its suffix names."""
    if path.is_dir():
        there: list[Path] = []
        with suppress(OSError):  # it may not be looked into
            there = sorted(one for one in path.iterdir() if one.suffix.casefold() in READERS)
        hint = f"name a file in it, e.g. {there[0]}" if there else f"no file in it is {_KNOWN}"
        raise DescriptorError(path, "is a folder, expected a file with one row per class", hint)
    if not path.is_file():
        problem = "is no regular file" if path.exists() else "no such file"
        raise DescriptorError(path, problem, "check the path given to --attrs")
    suffix = path.suffix.casefold()
    reader = READERS.get(suffix)
    if reader is None:
        raise DescriptorError(
            path,
            f"unknown descriptor format {path.suffix!r}",
            _WAYS_OUT.get(suffix, f"expected {_KNOWN}"),
        )
    try:
        return reader(path)
    except OSError as error:
        raise DescriptorError(path, f"cannot be read: {error.strerror or error}") from error


def _has_names(table: Descriptors) -> bool:
    """Tell whether a table names its classes: line numbers do not, where a list does."""
    return table.names is not None and not counts(table.names)


def _named(found: Descriptors, classes: Path) -> Descriptors:
    """Give a table the names that the file ``classes`` lists; its own must be the same."""
    names = read_lines(classes)
    if found.names is not None and _has_names(found) and list(found.names) != names:
        raise DescriptorError(
            classes,
            f"names the classes of {found.path} otherwise than that file itself "
            f"(first: {names[0]!r} and {found.names[0]!r})",
            "leave out --classes",
        )
    if len(names) != len(found.values):
        raise DescriptorError(
            classes,
            f"{len(names)} class names for {len(found.values)} descriptor rows of {found.path}",
            "one name per row",
        )
    check_names(classes, names, len(found.values))
    return with_names(found, names)


def read_lines(path: Path | str) -> list[str]:
    """Read a list, one entry a line; empty lines and the white space around entries are ignored.

    Raises:
        DescriptorError: the file is missing, empty or no text.

    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_LIST + 1)
        if len(content) > _LARGEST_LIST:
            raise DescriptorError(path, "is larger than 256 MiB, expected a list of names")
        lines = [line.strip() for line in content.decode(encoding_in(content)).splitlines()]
    except OSError as error:
        raise DescriptorError(path, f"cannot be read: {error.strerror or error}") from None
    except UnicodeError as error:
        raise no_text(path, error, "list") from None
    entries = [line for line in lines if line]
    if not entries:
        raise DescriptorError(path, "is empty, expected one entry a line")
    return entries

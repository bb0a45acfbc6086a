"""Which reader a descriptor file needs, one line per format; and lists of class names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from icis_cli.descriptors.base import Descriptors, check_names, checked
from icis_cli.descriptors.json_files import read_json
from icis_cli.descriptors.matlab import read_mat
from icis_cli.descriptors.numpy_files import read_numpy
from icis_cli.descriptors.tables import read_table
from icis_cli.errors import DescriptorError

READERS: dict[str, Callable[[Path], Descriptors]] = {
    ".npy": read_numpy,
    ".npz": read_numpy,
    ".csv": read_table,
    ".tsv": read_table,
    ".json": read_json,
    ".mat": read_mat,
}


_LARGEST_LIST = 1 << 28


def read_descriptors(path: Path | str, classes: Path | str | None = None) -> Descriptors:
    """Read class descriptors from a file whose suffix names a known format.

    Args:
        path: ``.npy``, ``.npz``, ``.csv``, ``.tsv``, ``.json`` or ``.mat``; one row per class.
        classes: text file with one class name per descriptor row, where ``path`` has none.

    Raises:
        DescriptorError: the file is missing, of an unknown format or holds unusable values.

    """
    path = Path(path)
    reader = READERS.get(path.suffix.casefold())
    if reader is None:
        raise DescriptorError(
            path,
            f"unknown descriptor format {path.suffix!r}",
            f"expected one of {', '.join(READERS)}",
        )
    if not path.is_file():
        problem = "is no regular file" if path.exists() else "no such file"
        raise DescriptorError(path, problem, "check the path given to --attrs")
    try:
        found = reader(path)
    except OSError as error:
        raise DescriptorError(path, f"cannot be read: {error.strerror or error}") from error
    if classes is None:
        return found
    names = read_lines(Path(classes))
    if found.names is not None and list(found.names) != names:
        raise DescriptorError(
            Path(classes),
            f"names the classes of {path} otherwise than that file itself "
            f"(first: {names[0]!r} and {found.names[0]!r})",
            "leave out --classes",
        )
    check_names(Path(classes), names, len(found.values))
    return checked(path, found.values, names, found.columns)


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
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except OSError as error:
        raise DescriptorError(path, f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DescriptorError(path, f"is no text ({error})") from None
    entries = [line for line in lines if line]
    if not entries:
        raise DescriptorError(path, "is empty, expected one entry a line")
    return entries

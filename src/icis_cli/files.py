"""Writing files so that they appear whole or not at all, and hashing what was read.

Nothing here knows what is inside a file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from icis_cli.errors import OutputError

_BLOCK = 1 << 22


def sha256_of(path: Path) -> str:
    """Return the hexadecimal sha256 of the file at ``path``."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require_writable(path: Path, *, force: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuse an output that is one of the inputs, that exists (without ``force``), or cannot be.

    Raises:
        OutputError: with the way out.

    """
    for source in inputs:
        if path.exists() and source.exists() and path.samefile(source):
            raise OutputError(path, "the output is the input itself", "choose another --out")
    if path.is_dir():
        raise OutputError(path, "is a folder, expected a file name", "choose another --out")
    if not path.parent.is_dir():
        raise OutputError(path, "its folder does not exist", f"mkdir -p {path.parent}")
    if os.path.lexists(path) and not force:
        raise OutputError(path, "exists already", "pass --force to replace it, or another --out")


@contextlib.contextmanager
def appearing_together(
    paths: tuple[Path, ...], *, force: bool
) -> Iterator[Mapping[Path, IO[bytes]]]:
    """Open a temporary file beside each path; put them in place when the block ends well.

    The bytes are on the disk (fsync) before any name appears, the last path appears last, and the
    umask decides the mode. When the block raises, no file is left and no old file was touched.

    Raises:
        OutputError: a file cannot be created, filled or put in place.

    """
    temporaries: dict[Path, Path] = {}
    streams: dict[Path, IO[bytes]] = {}
    placed: list[Path] = []
    current = paths[0]
    try:
        for current in paths:
            temporary = current.with_name(f".{current.name}.{secrets.token_hex(6)}.tmp")
            streams[current] = temporary.open("xb")
            temporaries[current] = temporary
        yield streams
        for current, stream in streams.items():
            stream.flush()
            os.fsync(stream.fileno())
            stream.close()
        for current in paths:
            _put_in_place(temporaries[current], current, force=force)
            placed.append(current)
        placed.clear()
    except FileExistsError:
        raise OutputError(current, "appeared while it was being made", "pass --force") from None
    except OSError as error:
        if isinstance(error.filename, str) and Path(error.filename) not in temporaries.values():
            raise
        raise OutputError(current, f"cannot be written: {error.strerror or error}") from error
    finally:
        if not force:  # what stands in place of an incomplete set was made just now, by us
            for path in placed:
                path.unlink(missing_ok=True)
        for stream in streams.values():
            with contextlib.suppress(OSError):
                stream.close()
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def _put_in_place(temporary: Path, path: Path, *, force: bool) -> None:
    """Rename ``temporary`` to ``path``; without ``force`` fail if the name has been taken."""
    if not force:
        try:
            # A hard link fails where the name exists: a check and a rename in one step.
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if os.path.lexists(path):
                raise FileExistsError(path) from None
            temporary.rename(path)
    else:
        temporary.replace(path)
    with contextlib.suppress(OSError):  # not every system can sync a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

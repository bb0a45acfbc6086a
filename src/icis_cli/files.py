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


def sha256_of(path: Path) -> str:
    """Return the hexadecimal sha256 of the file at ``path``."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require_writable(
    path: Path, *, force: bool, inputs: tuple[Path, ...] = (), option: str = "--out"
) -> None:
    """Refuse an output that is one of the inputs, that exists (without ``force``), or cannot be.

    ``option`` is the one that names it, for the way out.

    Raises:
        OutputError: with the way out.
    """
    for source in inputs:
        if path.exists() and source.exists() and path.samefile(source):
            raise OutputError(path, "the output is the input itself", f"choose another {option}")
    if path.is_dir():
        raise OutputError(path, "is a folder, expected a file name", f"choose another {option}")
    if path.exists() and not path.is_file():
        raise OutputError(
            path, "is a device or a pipe, expected a file name", f"choose another {option}"
        )
    if not path.parent.is_dir():
        raise OutputError(path, "its folder does not exist", f"mkdir -p {path.parent}")
    if os.path.lexists(path) and not force:
        raise OutputError(
            path, "exists already", f"pass --force to replace it, or another {option}"
        )


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
    temporaries = {path: _temporary_beside(path) for path in paths}
    try:
        with contextlib.ExitStack() as stack:
            streams = {
                path: stack.enter_context(_open_new(path, temporary))
                for path, temporary in temporaries.items()
            }
            yield streams
            for stream in streams.values():
                stream.flush()
                os.fsync(stream.fileno())
        _put_in_place(temporaries, force=force)
    except OSError as error:
        # A failed write (also one that closing makes) knows no file name; an error of another file
        # keeps its own.
        if error.filename is not None:
            raise
        raise OutputError(paths[-1], f"cannot be written: {error.strerror}") from error
    finally:
        for temporary in temporaries.values():
            with contextlib.suppress(OSError):  # it would hide what went wrong
                temporary.unlink(missing_ok=True)


def _temporary_beside(path: Path) -> Path:
    # A name may have 255 bytes; a character takes up to four.
    return path.with_name(f".{path.name[:50]}.{secrets.token_hex(6)}.tmp")


def _open_new(path: Path, temporary: Path) -> IO[bytes]:
    try:
        return temporary.open("xb")
    except OSError as error:
        raise OutputError(path, f"cannot be written: {error.strerror}") from error


def _put_in_place(temporaries: Mapping[Path, Path], *, force: bool) -> None:
    """Rename each temporary file; where one fails, take away those that were new."""
    current = Path()
    with contextlib.ExitStack() as undo:
        try:
            for path, temporary in temporaries.items():
                current = path
                is_new = not force or not os.path.lexists(path)
                if force:
                    temporary.replace(path)
                else:
                    _rename_to_new(temporary, path)
                if is_new:
                    undo.callback(path.unlink, missing_ok=True)
        except FileExistsError:
            raise OutputError(current, "appeared while it was being made", "pass --force") from None
        except OSError as error:
            raise OutputError(current, f"cannot be put in place: {error.strerror}") from error
        undo.pop_all()
    _sync_folder(next(iter(temporaries)).parent)


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Rename, but fail with FileExistsError where the name has been taken meanwhile."""
    try:
        # A hard link fails where the name exists: check and rename in one step.
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        temporary.rename(path)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system can sync a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

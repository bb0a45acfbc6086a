"""Writing files so that they appear whole or not at all, and hashing what was read.

Nothing here knows what is inside a file.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from icis_cli.errors import OutputError
from icis_cli.interrupts import uninterrupted

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: So many bytes are written before the system is asked to bring them to the disk.
_STRETCH = 1 << 26


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
    _require_no_input(path, inputs, option)
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


def require_writable_folder(
    path: Path, *, inputs: tuple[Path, ...] = (), option: str = "--out"
) -> None:
    """Refuse a new folder that is one of the inputs, that holds something, or cannot be made.

    Raises:
        OutputError: with the way out.
    """
    _require_no_input(path, inputs, option)
    if path.is_dir():
        if any(path.iterdir()):
            raise OutputError(
                path,
                "is a folder with something in it, which is never replaced",
                f"remove it, or choose another {option}",
            )
    elif os.path.lexists(path):
        raise OutputError(path, "is a file, expected a new folder", f"choose another {option}")
    if not path.parent.is_dir():
        raise OutputError(path, "its folder does not exist", f"mkdir -p {path.parent}")


def _require_no_input(path: Path, inputs: tuple[Path, ...], option: str) -> None:
    for source in inputs:
        if path.exists() and source.exists() and path.samefile(source):
            raise OutputError(path, "the output is the input itself", f"choose another {option}")


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
    with _told_as(paths[-1]), contextlib.ExitStack() as cleaning:
        for temporary in temporaries.values():
            cleaning.callback(_clean_up, temporary)
        with contextlib.ExitStack() as stack:
            streams = {
                path: stack.enter_context(_open_new(path, temporary))
                for path, temporary in temporaries.items()
            }
            yield streams
            for stream in streams.values():
                sync(stream)
        with uninterrupted():
            _put_in_place(temporaries, force=force)


@contextlib.contextmanager
def appearing_folder(
    path: Path, beside: tuple[Path, ...], *, force: bool
) -> Iterator[tuple[Path, Mapping[Path, IO[bytes]]]]:
    """Make a temporary folder to fill, and files ``beside`` it; put all in place together.

    As :func:`appearing_together`, with the folder last. It takes the place of an empty folder, but
    never of one that holds something; ``force`` is for the files. Who fills the folder must
    :func:`sync` what is in it.

    Raises:
        OutputError: the folder or a file cannot be made, filled or put in place.
    """
    temporaries = {name: _temporary_beside(name) for name in (*beside, path)}
    folder = temporaries[path]
    with _told_as(path), contextlib.ExitStack() as cleaning:
        for temporary in temporaries.values():
            cleaning.callback(_clean_up, temporary)
        with contextlib.ExitStack() as stack:
            streams = {
                name: stack.enter_context(_open_new(name, temporaries[name])) for name in beside
            }
            try:
                folder.mkdir()
            except OSError as error:
                raise OutputError(path, f"cannot be written: {error.strerror}") from error
            yield folder, streams
            for stream in streams.values():
                sync(stream)
            _sync_folder(folder)
        with uninterrupted():
            _put_in_place(temporaries, force=force)


def sync(stream: IO[bytes]) -> None:
    """Wait until all that was written to ``stream`` is on the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def new_stream(path: Path) -> IO[bytes]:
    """Create the file at ``path`` and open it for writing; its bytes go to the disk early.

    Raises:
        OSError: it is there, or cannot be created.
    """
    return io.BufferedWriter(_EarlyFile(path, "xb"))


def start_writeback(descriptor: int, first: int, size: int) -> None:
    """Ask the system to bring a stretch of a file to the disk soon, without waiting for it.

    Left alone it starts after seconds, and what is then left takes its time at the end.
    """
    if hasattr(os, "posix_fadvise"):
        # Bytes that are no longer wanted in memory are written at once; nothing else of Python
        # asks for that.
        with contextlib.suppress(OSError):  # it is only advice
            os.posix_fadvise(descriptor, first, size, os.POSIX_FADV_DONTNEED)


class _EarlyFile(io.FileIO):
    """A new file, filled from front to back, that starts to reach the disk while it is written."""

    _waiting = 0

    def write(self, data: ReadableBuffer, /) -> int:
        # A large write is done in stretches: the buffer above it comes back with the rest.
        count = super().write(memoryview(data).cast("B")[:_STRETCH])
        self._waiting += count
        if self._waiting >= _STRETCH:
            start_writeback(self.fileno(), self.tell() - self._waiting, self._waiting)
            self._waiting = 0
        return count


@contextlib.contextmanager
def _told_as(path: Path) -> Iterator[None]:
    """Turn an error of the system that knows no file into one about ``path``."""
    try:
        yield
    except OSError as error:
        # A failed write (also one that closing makes) knows no file name; an error of another file
        # keeps its own.
        if error.filename is not None:
            raise
        raise OutputError(path, f"cannot be written: {error.strerror}") from error


def _clean_up(temporary: Path) -> None:
    with contextlib.suppress(OSError):  # it would hide what went wrong
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def _temporary_beside(path: Path) -> Path:
    # A name may have 255 bytes; a character takes up to four.
    return path.with_name(f".{path.name[:50]}.{secrets.token_hex(6)}.tmp")


def _open_new(path: Path, temporary: Path) -> IO[bytes]:
    try:
        return new_stream(temporary)
    except OSError as error:
        raise OutputError(path, f"cannot be written: {error.strerror}") from error


def _put_in_place(temporaries: Mapping[Path, Path], *, force: bool) -> None:
    """Rename each temporary; where one fails, take away the files that were new.

    A folder can only be the last of them.
    """
    current = Path()
    with contextlib.ExitStack() as undo:
        try:
            for path, temporary in temporaries.items():
                current = path
                is_new = not force or not os.path.lexists(path)
                if temporary.is_dir():
                    temporary.rename(path)  # fails where there is a folder with something in it
                elif force:
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

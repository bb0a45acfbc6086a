"""Copying a stretch of one file into another at the speed of the disk.

The system copies from file to file where it can (on some file systems it only shares the blocks),
and nothing but a few blocks passes through this process.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import IO

from icis_cli.files import start_writeback

_BLOCK = 1 << 24
_STRETCH = 1 << 26

#: What a file system, or a pair of them, answers where it cannot copy in this way.
_REFUSALS = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSOCK, errno.EPERM}
)

#: Copies up to so many bytes: (source, target, offset, size) -> bytes copied.
_Way = Callable[[int, int, int, int], int]


def copy_stretch(source: IO[bytes], target: IO[bytes], first: int, size: int) -> None:
    """Append ``size`` bytes of ``source``, from byte ``first`` on, to ``target``.

    Both are files on a file system; ``target`` stands at its end.

    Raises:
        EOFError: ``source`` is shorter.

    """
    target.flush()
    start = target.tell()
    done = 0
    for way in (_within_one_file_system, _between_file_systems):
        done += _copied(
            way, source.fileno(), target.fileno(), first + done, start + done, size - done
        )
    target.seek(start + done)
    if done < size:
        source.seek(first + done)
        target.writelines(blocks(source, size - done))


def blocks(source: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield ``size`` bytes from where ``source`` stands, in blocks.

    Raises:
        EOFError: ``source`` is shorter.

    """
    while size:
        block = source.read(min(size, _BLOCK))
        if not block:
            raise EOFError(f"{source.name} became shorter while it was read")
        size -= len(block)
        yield block


def _copied(way: _Way, source: int, target: int, first: int, start: int, size: int) -> int:
    """Copy in one ``way`` as far as it goes, and return how many bytes that was."""
    done = 0
    while done < size:
        os.lseek(target, start + done, os.SEEK_SET)
        try:
            count = way(source, target, first + done, min(_STRETCH, size - done))
        except AttributeError:  # a system without it
            break
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            break
        if not count:  # the end, or a file that is not what it seems: reading tells
            break
        start_writeback(target, start + done, count)
        done += count
    return done


def _within_one_file_system(source: int, target: int, first: int, size: int) -> int:
    return os.copy_file_range(source, target, size, first)


def _between_file_systems(source: int, target: int, first: int, size: int) -> int:
    return os.sendfile(target, source, first, size)

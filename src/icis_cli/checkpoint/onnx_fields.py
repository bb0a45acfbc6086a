"""How many fields a protocol buffer has, counted before it is parsed.

A parser makes an object of hundreds of bytes of every message, and a message may be two bytes in a
file: without a limit, a small file could fill any memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from icis_cli.errors import CheckpointError

#: Networks of thousands of layers have a hundred thousand.
MOST = 1_000_000

# Kinds of fields: a number; eight bytes; a length and so many bytes; four bytes.
_NUMBER, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5


def require_few_fields(path: Path, data: bytes, kind: Any) -> None:
    """Refuse a protocol buffer with too many fields, counted in all messages within it.

    Args:
        path: of the file, for messages.
        data: its content.
        kind: the ``Descriptor`` of the message that it holds.

    Raises:
        CheckpointError: it has too many, or is no protocol buffer.

    """
    count = 0
    waiting = [(0, len(data), kind)]
    while waiting:
        place, end, message = waiting.pop()
        while place < end:
            count += 1
            if count > MOST:
                raise CheckpointError(
                    path, f"has more than {MOST} fields", "an image classifier has far fewer"
                )
            key, place = _number(path, data, place, end)
            if key & 7 == _NUMBER:
                _, place = _number(path, data, place, end)
                continue
            if key & 7 == _LENGTH:
                size, place = _number(path, data, place, end)
                field = message.fields_by_number.get(key >> 3)
                if field is not None and field.message_type is not None:
                    waiting.append((place, place + size, field.message_type))
            elif key & 7 in (_EIGHT, _FOUR):
                size = 8 if key & 7 == _EIGHT else 4
            else:
                raise _damaged(path)
            place += size
            if place > end:
                raise _damaged(path)


def _number(path: Path, data: bytes, place: int, end: int) -> tuple[int, int]:
    """Read a number in groups of seven bits; return it, and where the next byte is."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= end:
            break
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise _damaged(path)


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(path, "is no ONNX model (no protocol buffer)", "export it again")

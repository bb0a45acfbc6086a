"""Which files of ``torch.save`` would take memory as their pickles please, told before loading.

Torch calls ``bytearray`` itself, with whatever a pickle says: a number of bytes, for example, that
are all zero. Pickles of Python make it of nothing, of a text and its encoding, or of such bytes.
"""

from __future__ import annotations

import io
import pickletools
import re
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from icis_cli.runtime import import_torch

#: A legacy file starts with so many: two numbers, facts about the machine, the object, its keys.
_PICKLES = 5

#: A letter for each operation of a pickle that may take part in making a ``bytearray``.
_CALLED = {"bytearray": "B", "encode": "e"}
_KINDS = {"BINUNICODE": "t", "EMPTY_TUPLE": "0", "TUPLE1": "1", "TUPLE2": "2", "REDUCE": "r"}

#: One that is made of something else than nothing, a text and its encoding, or encoded text.
_LONG = re.compile("B(?!0r|tt2r|ett2r1r)")


def makes_bytes_of_numbers(path: Path, *, legacy: bool) -> bool:
    """Tell whether a file has a ``bytearray`` that is made of something else than its content.

    Raises:
        OSError: it cannot be read.

    """
    if legacy:
        with path.open("rb") as stream:
            return not all(_makes_short(stream) for _ in range(_PICKLES))
    torch = import_torch()
    try:
        pickled = torch.PyTorchFileReader(str(path)).get_record("data.pkl")  # as torch reads it
    except Exception:  # loading will say what is wrong with the archive
        return False
    return b"bytearray" in pickled and not _makes_short(io.BytesIO(pickled))


def _makes_short(stream: IO[bytes]) -> bool:
    """Tell whether a pickle calls ``bytearray`` only as pickles of Python do, as far as it goes."""
    kinds: list[str] = []
    memo: dict[Any, str] = {}
    with suppress(Exception):  # what is damaged torch finds at the same place, and says so
        for operation, argument, _ in pickletools.genops(stream):
            name = operation.name
            if "PUT" in name:
                memo[argument] = kinds[-1] if kinds else "?"
            elif name == "GLOBAL":
                kinds.append(_CALLED.get(str(argument).rpartition(" ")[2], "?"))
            elif name in ("BINGET", "LONG_BINGET"):
                found = memo.get(argument, "?")
                kinds.append(found if found in _CALLED.values() else "t")
            else:
                kinds.append(_KINDS.get(name, "?"))
    return _LONG.search("".join(kinds)) is None

"""JSON files that lie beside tensors: read with bounds, since they come from strangers.

Numbers that JSON does not have, numbers too large for a float and deep nesting are refused: what is
read can be written again.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from icis_cli.errors import CheckpointError

_LARGEST = 100_000_000
_DEEPEST = 100


def read_json(path: Path, what: str, hint: str) -> tuple[Any, str]:
    """Return the content of a JSON file, and its text.

    Args:
        path: of the file.
        what: it should be, for messages, e.g. ``"an index"``.
        hint: the way out where it is not.

    Raises:
        CheckpointError: it is too large, damaged, or no JSON.
        OSError: it cannot be read.

    """
    if not path.is_file():
        raise CheckpointError(path, f"is no regular file, expected {what}", hint)
    with path.open("rb") as stream:
        data = stream.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise CheckpointError(path, f"is too large for {what}", hint)
    try:
        text = data.decode("utf-8-sig")
        content = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        if not _is_flat(content):
            raise ValueError("nested too deeply")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, f"cannot be read as {what} ({error})", hint) from None
    return content, text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large")
    return value


def _is_flat(content: Any) -> bool:
    """Tell whether content is nested less deeply than what a writer can follow."""
    level = [content]
    for _ in range(_DEEPEST):
        nested = [value for value in level if isinstance(value, (dict, list))]
        if not nested:
            return True
        level = [x for value in nested for x in (value.values() if type(value) is dict else value)]
    return False

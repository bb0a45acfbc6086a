"""What a record says of itself and of its rounds, field by field.

The two checkpoints alone do not show all of it: which method, seed, injector and descriptors the
new rows come from, only those files could tell. Such fields must at least be what icis writes.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from icis_cli import __version__
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.head import Head
from icis_cli.errors import CheckpointError
from icis_cli.injection.calibration import EVENING
from icis_cli.injection.record import KIND, Record, Round, record_text
from icis_cli.methods.registry import METHODS
from icis_cli.verification.result import Check

_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEX = "64 hexadecimal digits"
_KINDS = ("auto", "fixed", "none")


def fields_check(new: Checkpoint, record: Record, head: Head) -> Check:
    """Look at every field of the record of a new checkpoint with this ``head`` before."""
    found = next((text for text in _odd(new, record, head) if text is not None), None)
    return Check("record fields", found, "each one is what icis writes")


def _odd(new: Checkpoint, record: Record, head: Head) -> Iterator[str | None]:
    yield _as_written(new, record)
    rows = record.seen_descriptor_rows
    yield _numbers(rows, "of the trained classes")
    yield _sources(record.seen_descriptors, "of the trained classes")
    if not _is_digest(record.original_sha256):
        yield f"its record has original_sha256 {record.original_sha256!r}, expected {_HEX}"
    for number, part in enumerate(record.rounds, 1):
        for name, expected, is_right in _FIELDS:
            value = getattr(part, name)
            if not is_right(value):
                yield f"its record has {name} {value!r} in injection {number}, expected {expected}"
        yield _numbers(part.descriptor_rows, f"of injection {number}")
        yield _sources(part.descriptors, f"of injection {number}")
        yield _method(part)
        yield _calibration(part, head)


def _as_written(new: Checkpoint, record: Record) -> str | None:
    """Say what of a record's text was not understood as it is there, or is there twice."""
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            twice.extend(key for key, count in Counter(k for k, _ in pairs).items() if count > 1)
        return content

    found = record_text(new)
    if found is None:
        raise CheckpointError(new.path, "has no record any more")
    given = json.loads(found[0], object_pairs_hook=once)
    understood = json.loads(record.to_json())
    if twice:
        return f"its record has {twice[0]!r} twice"
    if given.get("kind", KIND) != KIND:
        return f"its record calls itself {given['kind']!r}, expected {KIND!r}"
    more = next((key for key in given if key not in understood), None)
    if more is not None:
        return f"its record has {more!r}, which no record has"
    parts = zip(given.pop("rounds"), understood.pop("rounds"), strict=True)
    for one, other in ((given, understood), *parts):
        for key, value in one.items():
            if json.dumps(value, sort_keys=True) != json.dumps(other[key], sort_keys=True):
                return f"its record has {key} {_short(value)}, which is not of the type it must be"
    return None


def _numbers(rows: tuple[Any, ...], whose: str) -> str | None:
    """Say which descriptor rows are no row numbers, each once."""
    odd = next((row for row in rows if not _is_count(row)), None)
    if odd is not None:
        return f"its record has the descriptor row {odd!r} {whose}, expected a number from 0 on"
    if len(set(rows)) == len(rows):
        return None
    seen: set[int] = set()
    twice = next(row for row in rows if row in seen or seen.add(row))  # type: ignore[func-returns-value]
    return f"its record has the descriptor row {twice} {whose} twice"


def _sources(files: tuple[tuple[Any, Any], ...], whose: str) -> str | None:
    for name, digest in files:
        if not isinstance(name, str) or not name or not _is_digest(digest):
            return (
                f"its record has the descriptor file {name!r} {whose} with sha256 {digest!r}, "
                f"expected a name and {_HEX}"
            )
    return None if files else f"its record has no descriptor file {whose}"


def _method(part: Round) -> str | None:
    """Compare method and settings with those there are, where this version made the round."""
    if part.version != __version__:
        return None
    if part.method not in METHODS:
        return f"its record has the method {part.method!r}, which there is not"
    known = {*METHODS[part.method]().settings(), "ensemble"}
    odd = sorted(set(part.settings) - known)
    return f"its record has a setting {odd[0]!r} of {part.method}, which has none" if odd else None


def _calibration(part: Round, head: Head) -> str | None:
    """Say what of a calibration contradicts its kind, or the head."""
    changed = part.calibration or part.evening
    if head.bias is None and changed:
        return "its record has an offset or an evening, but the head has no bias for it"
    if part.calibration_kind == "none" and changed:
        return f"its record has an offset of {part.calibration!r}, though it says 'none'"
    if (part.evening != 0 and part.calibration_kind != "auto") or bool(part.evening) != bool(
        part.reach
    ):
        return (
            f"its record has evening {part.evening!r} and reach {part.reach!r} with calibration "
            f"{part.calibration_kind!r}, which do not go together"
        )
    if part.version == __version__ and part.evening not in (0, EVENING):
        return f"its record has evening {part.evening!r}, expected 0 or {EVENING}"
    return None


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


#: Fields of a round: name, what is expected, and whether a value is that.
_FIELDS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("method", "a name", _is_text),
    ("settings", "names and values", lambda v: isinstance(v, Mapping)),
    ("seed", "a whole number", lambda v: type(v) is int),
    ("calibration", "a finite number", _is_number),
    ("calibration_kind", "auto, fixed or none", lambda v: v in _KINDS),
    ("evening", "a number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1),
    ("reach", "a number from 0 on", lambda v: _is_number(v) and v >= 0),
    (
        "standing",
        "shares from 0 to 1",
        lambda v: all(_is_number(share) and 0 <= share <= 1 for share in v),
    ),
    (
        "injector_sha256",
        f"{_HEX}, or nothing where it was in no file",
        lambda v: v == "" or _is_digest(v),
    ),
    ("weights_sha256", _HEX, _is_digest),
    ("version", "a version", _is_text),
    (
        "libraries",
        "names and versions",
        lambda v: all(_is_text(name) and _is_text(version) for name, version in v.items()),
    ),
)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."

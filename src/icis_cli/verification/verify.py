"""Verification: whether a checkpoint is another one plus rows, and nothing else.

Nothing that the new checkpoint says is believed: its record tells what to expect, and everything is
compared with the old one, byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from icis_cli.background import in_background
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.head import Head, find_head
from icis_cli.checkpoint.registry import open_checkpoint
from icis_cli.errors import CheckpointError, HeadError
from icis_cli.injection.record import Record, find_record
from icis_cli.verification.records import (
    beside_check,
    digest_check,
    frame_check,
    names_check,
    read_record,
    record_check,
    rounds_check,
    side_check,
)
from icis_cli.verification.result import Check, Verification
from icis_cli.verification.tensors import Watch, grown, table_check, value_checks


def verify(
    old: Checkpoint | Path | str, new: Checkpoint | Path | str, watch: Watch | None = None
) -> Verification:
    """Compare a checkpoint with the one that it was made of.

    Every tensor and every old row must be the same bit for bit, new rows must be finite, and the
    record must tell the truth: head, counts, names, injections, digest of the old checkpoint. What
    else lies in a ``.pt`` file beside its state dict is not compared.

    Args:
        old: what rows were added to, in any container; rows may have been injected into it, too.
        new: the new checkpoint, in the same container or another one.
        watch: called with bytes compared so far, bytes in all, and the tensor that is looked at.

    Returns:
        All checks, passed or not; :meth:`Verification.require` makes an error of a difference.

    Raises:
        CheckpointError: one of them cannot be read, or changed meanwhile.

    """
    before = old if isinstance(old, Checkpoint) else open_checkpoint(old)
    after = new if isinstance(new, Checkpoint) else open_checkpoint(new)
    record = read_record(after)
    if isinstance(record, Check):
        return Verification(before.path, after.path, None, 0, 0, (record,))
    known = find_record(before)
    head = _head(before, record)
    if isinstance(head, Check):
        return Verification(before.path, after.path, record.head, 0, 0, (head,))
    rows = len(head.weight), _rows(after, head.key)
    try:
        checks = tuple(_checks(before, after, head, record, known, rows, watch))
    except EOFError as error:
        raise CheckpointError(before.path, str(error)) from None
    for checkpoint in (before, after):
        checkpoint.require_unchanged()
    return Verification(before.path, after.path, head.key, *rows, checks)


def _checks(
    before: Checkpoint,
    after: Checkpoint,
    head: Head,
    record: Record,
    known: Record | None,
    rows: tuple[int, int],
    watch: Watch | None,
) -> Iterator[Check]:
    digest = in_background(before.sha256)  # while tensors are compared: the disk is read once
    own = record_check(record, known, rows)
    yield own
    yield side_check(after)
    yield rounds_check(record, known)
    table = table_check(before, after, head, record)
    yield table
    if table.passed:
        yield from value_checks(before, after, grown(before, head, record), watch)
    yield from frame_check(before, after)
    if own.passed:
        yield names_check(before, after, record, known, rows[0])
        yield from beside_check(before, after, record, rows[0])
    yield digest_check(record, known, digest.result())


def _head(old: Checkpoint, record: Record) -> Head | Check:
    try:
        head = find_head(old, record.head)
    except HeadError as error:
        return Check("head", f"its record tells of another head ({error.message})")
    if head.key != record.head:
        return Check("head", f"its record calls the head {record.head!r}, not {head.key!r}")
    return head


def _rows(checkpoint: Checkpoint, key: str) -> int:
    info = checkpoint.tensors.get(f"{key}.weight")
    return info.shape[0] if info is not None and info.shape else 0

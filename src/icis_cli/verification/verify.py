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
from icis_cli.checkpoint.torch_pickle import TorchCheckpoint
from icis_cli.errors import CheckpointError, HeadError
from icis_cli.injection.record import Record, find_record
from icis_cli.verification.beside import beside_checks, frame_check
from icis_cli.verification.entries import fitting_entry
from icis_cli.verification.fields import fields_check
from icis_cli.verification.offsets import offsets_check
from icis_cli.verification.records import (
    digest_check,
    names_check,
    read_record,
    record_check,
    rounds_check,
    side_check,
)
from icis_cli.verification.result import AGAIN, ORDER, TWO, Check, Verification
from icis_cli.verification.tensors import Watch, grown, table_check, value_checks


def verify(
    old: Checkpoint | Path | str, new: Checkpoint | Path | str, watch: Watch | None = None
) -> Verification:
    """Compare a checkpoint with the one that it was made of.

    Every tensor and every old row must be the same bit for bit, new rows must be finite, and the
    record must tell the truth: head, counts, names, injections, digest of the old checkpoint. What
    lies beside the tensors must follow from the old checkpoint, too: entries of a ``.pt`` file,
    metadata, all files of a folder. Not known without the injector and the descriptors is whether
    the new rows are those that they would give.

    Args:
        old: what rows were added to, in any container; rows may have been injected into it, too.
            Of a training checkpoint with several networks that one is taken which fits, unless it
            was opened with one of them named.
        new: the new checkpoint, in the same container or another one.
        watch: called with bytes compared so far, bytes in all, and the tensor that is looked at.

    Returns:
        All checks, passed or not; :meth:`Verification.require` makes an error of a difference.

    Raises:
        CheckpointError: one of them cannot be read, or changed meanwhile.

    """
    before = old if isinstance(old, Checkpoint) else open_checkpoint(old)
    after = new if isinstance(new, Checkpoint) else open_checkpoint(new)
    record = read_record(before, after)
    if isinstance(record, tuple):
        return Verification(before.path, after.path, None, 0, 0, record[:1], record[1])
    if isinstance(before, TorchCheckpoint) and not before.chosen.asked:
        before = fitting_entry(before, after)
    known = find_record(before)
    head = _head(before, record)
    if isinstance(head, Check):
        hint = _way_out(before, after, (0, 1))
        return Verification(before.path, after.path, record.head, 0, 0, (head,), hint)
    rows = len(head.weight), _rows(after, head.key)
    try:
        checks = tuple(_checks(before, after, head, record, known, rows, watch))
    except EOFError as error:
        raise CheckpointError(before.path, str(error)) from None
    for checkpoint in (before, after):
        checkpoint.require_unchanged()
    passed = all(check.passed for check in checks)
    hint = AGAIN if passed else _way_out(before, after, rows)
    return Verification(before.path, after.path, head.key, *rows, checks, hint)


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
    fields = fields_check(after, record, head)
    yield from (own, fields)
    yield side_check(after)
    yield rounds_check(record, known)
    if before.entry is not None and isinstance(before, TorchCheckpoint):
        others = ", ".join(map(repr, before.chosen.others))
        yield Check("network", None, f"{before.entry!r} of {before.path.name} (not {others})")
    table = table_check(before, after, head, record, known)
    yield table
    if table.passed:
        values = tuple(value_checks(before, after, grown(before, after, head, record), watch))
        yield from values
        if all(check.passed for check in (own, fields, *values)):
            yield from offsets_check(after, head, record, rows[0])
    yield from frame_check(before, after)
    if own.passed:
        yield names_check(before, after, record, known, rows[0])
        yield from beside_checks(before, after, record, rows[0])
    yield digest_check(before, record, known, digest.result())


def _way_out(before: Checkpoint, after: Checkpoint, rows: tuple[int, int]) -> str:
    """Return what to do about a difference."""
    if before.path == after.path:
        return TWO
    if rows[0] >= rows[1]:
        return ORDER
    nearest = fitting_entry(before, after)
    return AGAIN if nearest is before else f"did you mean --state {nearest.entry}?"


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

"""What a new checkpoint says about itself, compared with the old one: record, names, digests."""

from __future__ import annotations

import json

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.torch_pickle import TorchCheckpoint
from icis_cli.errors import CheckpointError
from icis_cli.injection.record import METADATA_KEY, Record, find_record, record_text, side_file
from icis_cli.verification.result import AGAIN, ORDER, TWO, Check


def read_record(old: Checkpoint, new: Checkpoint) -> Record | tuple[Check, str]:
    """Return the record of a new checkpoint, or the check that it fails and the way out."""
    try:
        record = find_record(new)
    except CheckpointError as error:
        return Check("record", f"it {error.problem}"), AGAIN
    return _missing(old, new) if record is None else record


def _missing(old: Checkpoint, new: Checkpoint) -> tuple[Check, str]:
    """Say why a checkpoint may have no record, and what to do."""
    name, beside = "record", side_file(new.path)
    if old.path == new.path:
        return Check(name, "it has no record of injected rows"), TWO
    if _is_larger(old, new) or record_text(old) is not None:
        return Check(name, f"it has no record of injected rows, and {old.path} has more"), ORDER
    if isinstance(new, TorchCheckpoint):
        check = Check(name, f"the record of its rows is missing: there is no {beside}")
        why = "a PyTorch file has no room for a record"
        return check, f"put back the {beside.name} that icis inject wrote with it: {why}"
    return (
        Check(name, f"it has no record of injected rows, and there is no {beside}"),
        "verify what icis inject wrote: another program may have left out the record",
    )


def _is_larger(old: Checkpoint, new: Checkpoint) -> bool:
    """Tell whether a tensor of the old checkpoint has more rows than in the new one."""
    return any(
        info.shape[1:] == new.tensors[key].shape[1:] and info.count > new.tensors[key].count
        for key, info in old.tensors.items()
        if key in new.tensors
    )


def record_check(record: Record, known: Record | None, rows: tuple[int, int]) -> Check:
    """Compare a record with the rows of the head, ``rows``, before and after."""
    before, after = rows
    trained = before if known is None else known.seen
    found = record.misfit(after)
    if found is None and record.seen != trained:
        found = f"its record tells of {record.seen} trained rows, the old checkpoint has {trained}"
    if found is None and after < before:
        found = f"its head has {after} rows, that of the old checkpoint {before}"
    if found is None and len(record.seen_descriptor_rows) != record.seen:
        found = f"its record describes {len(record.seen_descriptor_rows)} trained rows"
    if found is None and not all(map(_is_whole, record.rounds)):
        found = "its record does not describe as many rows as were injected"
    if found is None:
        twice = set(record.class_names[before:]) & set(record.class_names[:before])
        found = f"its class {min(twice)!r} is new and old" if twice else None
    added = record.class_names[before:]
    if found is None and (len(set(added)) < len(added) or not all(map(str.strip, added))):
        found = "its record has a new class twice, or without a name"
    told = f"{record.seen} trained and {after - record.seen} injected rows"
    return Check("record", found, told)


def side_check(new: Checkpoint) -> Check:
    """Compare the two copies of a record: in the checkpoint itself, and beside it."""
    name = "side file"
    beside = side_file(new.path)
    inside = new.metadata.get(METADATA_KEY)
    if not beside.is_file():
        return Check(name, None, f"{beside.name} is missing; the record in the checkpoint serves")
    try:
        text = beside.read_text(encoding="utf-8")
        if inside is None:
            return Check(name, None, f"{beside.name} has the record, the checkpoint none")
        same = json.loads(text) == json.loads(inside)
    except (OSError, ValueError, RecursionError) as error:
        return Check(name, f"{beside.name} cannot be read ({error})")
    if same:
        return Check(name, None, f"{beside.name} says the same as the checkpoint")
    return Check(name, f"{beside.name} says something else than the checkpoint itself")


def rounds_check(record: Record, known: Record | None) -> Check:
    """Compare the injections of a record with those that the old checkpoint knows of."""
    before = () if known is None else known.rounds
    found = None
    if record.rounds[: len(before)] != before:
        found = "its first injections are not those of the old checkpoint"
    elif len(record.rounds) == len(before):
        found = "nothing was injected into it since"
    elif known is not None and record.original_sha256 != known.original_sha256:
        found = "it comes from another checkpoint in the first place"
    elif known is not None and record.seen_descriptor_rows != known.seen_descriptor_rows:
        found = "it tells other descriptor rows of the trained classes"
    elif known is not None and record.dropped[: len(known.dropped)] != known.dropped:
        found = "it does not tell all that was left out before"
    more = len(record.rounds) - len(before)
    told = f"{more} new" + (f" after {len(before)} that both know of" if before else "")
    return Check("injections", found, told)


def digest_check(old: Checkpoint, record: Record, known: Record | None, digest: str) -> Check:
    """Compare the digest of the old checkpoint with the one that the record tells."""
    name = "sha256 of old"
    first = 0 if known is None else len(known.rounds)
    told = [part.weights_sha256 for part in record.rounds[first : first + 1]]
    told += [record.original_sha256] if known is None else []
    other = next((text for text in told if text != digest), None)
    own = (f"sha256 of {old.path.name}", digest)
    if not told:
        return Check(name, f"no injection into {old.path.name} is recorded", digests=(own,))
    if other is None:
        found = f"{old.path.name}: {digest}, as the record says"
        return Check(name, None, found, digests=(own,))
    return Check(
        name,
        f"the sha256 of {old.path.name} is {digest}, but the record says {other}",
        digests=(own, ("sha256 in the record", str(other))),
    )


def names_check(
    old: Checkpoint, new: Checkpoint, record: Record, known: Record | None, before: int
) -> Check:
    """Compare the class names of the record with those of both checkpoints."""
    name = "class names"
    names = record.class_names
    earlier = old.labels.class_names if known is None else known.class_names
    if earlier is not None and len(earlier) == before and names[:before] != earlier:
        row = next(n for n, (a, b) in enumerate(zip(names, earlier, strict=False)) if a != b)
        found = f"row {row} is {names[row]!r}, in the old checkpoint {earlier[row]!r}"
        return Check(name, found)
    own = new.labels.class_names
    if own is not None and len(own) != len(names):
        own = None  # a list of other things that is called as one of classes may be
    if own is not None and own[before:] != names[before:]:
        return Check(name, f"{new.path.name} names other new classes than its record")
    if own is not None and own[:before] not in (names[:before], old.labels.class_names):
        return Check(name, f"{new.path.name} names other old classes than its record")
    return Check(name, None, f"{len(names)}, the new ones: {_some(names[before:])}")


def _is_whole(part: object) -> bool:
    """Tell whether a round describes each of its rows."""
    classes, rows = getattr(part, "classes", 0), getattr(part, "descriptor_rows", ())
    return len(rows) == classes and len(getattr(part, "standing", ())) in (0, classes)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")

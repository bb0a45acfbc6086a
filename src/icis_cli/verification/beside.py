"""What goes with the tensors of two checkpoints: metadata, the files of a folder, a graph."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.folder import FolderCheckpoint, torch_file
from icis_cli.checkpoint.onnx_graph import class_dimensions
from icis_cli.checkpoint.sharded import ShardedCheckpoint
from icis_cli.checkpoint.torch_pickle import TorchCheckpoint
from icis_cli.injection.record import METADATA_KEY, Record
from icis_cli.verification.entries import entries_difference
from icis_cli.verification.result import Check


def beside_checks(old: Checkpoint, new: Checkpoint, record: Record, before: int) -> Iterator[Check]:
    """Compare what goes with the tensors, where rows were added to ``before`` rows."""
    names = record.class_names
    file = torch_file(new)
    if file is not None:
        # Into one file, a folder gives its tensors alone; another folder is a copy.
        source = torch_file(old) if isinstance(new, FolderCheckpoint) else None
        lost = file is new and _is_bare(file) and _steps(record, before) > 1
        found = None if lost else entries_difference(source or old, file, record, before)
        yield Check("beside", found, "all that is in the file beside its tensors follows from OLD")
    elif type(old) is type(new) or not isinstance(new, FolderCheckpoint):
        odd = _odd_key(old.metadata, new.metadata)
        # A step between may have been in a format without metadata.
        lost = _steps(record, before) > 1 and not set(new.metadata) - {METADATA_KEY}
        odd = None if lost else odd
        told = f"its metadata differs in {odd!r}"
        yield Check("metadata", None if odd is None else told, "the same")
    if isinstance(old, FolderCheckpoint) and isinstance(new, FolderCheckpoint):
        found = _folder_difference(old, new, names, before)
        found = found or _shards_difference(old, new, record.dropped)
        yield Check("folder", found, "the same files, config.json but for the classes")


def _steps(record: Record, before: int) -> int:
    """Return how many injections there were since a head had ``before`` rows.

    Of several, it is not known in which formats the steps between were.
    """
    ends = itertools.accumulate((part.classes for part in record.rounds), initial=record.seen)
    return sum(end > before for end in ends)


def _is_bare(file: TorchCheckpoint) -> bool:
    """Tell whether a file holds tensors alone, as one made from another format does."""
    bare = file.chosen.key is None and not getattr(file.state, "_metadata", None)
    return bare and set(file.state) == set(file.tensors)


def frame_check(old: Checkpoint, new: Checkpoint) -> Iterator[Check]:
    """Compare the graphs of two ONNX models; of others there is nothing to compare."""
    from icis_cli.checkpoint.onnx import OnnxCheckpoint

    if isinstance(old, OnnxCheckpoint) and isinstance(new, OnnxCheckpoint):
        told = [
            (
                model.frame_digest(METADATA_KEY),
                [
                    bool(place.dim_value)
                    for place in class_dimensions(model.frame.graph, model.final.axes)
                ],
                {name: tensor.doc_string for name, tensor in model.stored.items()},
            )
            for model in (old, new)
        ]
        difference = None if told[0] == told[1] else "its graph, or what belongs to it, differs"
        yield Check("graph", difference, "the same, but for the number of classes")


def _odd_key(old: Mapping[str, str], new: Mapping[str, str]) -> str | None:
    """Return the first key under which two checkpoints have other metadata, the record apart."""
    odd = {key for key, _ in old.items() ^ new.items()} - {METADATA_KEY}
    return min(odd) if odd else None


def _folder_difference(
    old: FolderCheckpoint, new: FolderCheckpoint, names: tuple[str, ...], before: int
) -> str | None:
    """Say which file of a model folder is not what it must be."""
    expected = {path.name: path for path in old.companions()}
    own = {path.name for path in new.files}
    there = {path.name for path in new.path.iterdir()} - own
    for name in sorted(there ^ set(expected)):
        return f"{new.path.name} {'has' if name in there else 'lacks'} {name}"
    if old.config is None:
        return None
    if new.config is None:
        return f"{new.path.name} has no {old.config.path.name}"
    wanted = json.loads(old.config.with_classes(before, names))
    for key in (*wanted, *new.config.content):
        if _text(new.config.content, key) != _text(wanted, key):
            return f"{key} in {new.config.path} is not what follows from the old one and the record"
    for name, path in expected.items():
        other = new.path / name
        if path == old.config.path:
            continue
        if not other.is_file() or path.read_bytes() != other.read_bytes():
            return f"{name} differs"
    return None


def _shards_difference(
    old: FolderCheckpoint, new: FolderCheckpoint, dropped: tuple[str, ...]
) -> str | None:
    """Say which file with tensors holds others than before, or says something else."""
    where = old.without(dropped).where
    odd_names = set(where.values()) ^ set(new.shards)
    if odd_names:
        name = min(odd_names)
        return f"{new.path.name} {'has' if name in new.shards else 'lacks'} {name}"
    for key, name in new.where.items():
        if where.get(key, name) != name:
            return f"{key!r} is in {name}, it was in {where[key]}"
    for name, shard in new.shards.items():
        odd = _odd_key(old.shards[name].metadata, shard.metadata)
        if odd is not None:
            return f"the metadata of {name} differs in {odd!r}"
    if isinstance(old, ShardedCheckpoint) and isinstance(new, ShardedCheckpoint):
        return _index_difference(old, new)
    return None


def _index_difference(old: ShardedCheckpoint, new: ShardedCheckpoint) -> str | None:
    """Say where an index says something else than the old one and the tensors."""
    if old.index_name != new.index_name:
        return f"its index is {new.index_name}, it was {old.index_name}"
    wanted = {key: value for key, value in old.index.items() if key != "weight_map"}
    totals = dict(old.index.get("metadata") or {})
    for name, of in (("total_size", "size"), ("total_parameters", "count")):
        if type(totals.get(name)) in (int, float):
            totals[name] += sum(getattr(info, of) for info in new.tensors.values())
            totals[name] -= sum(getattr(info, of) for info in old.tensors.values())
            wanted["metadata"] = totals
    given = {key: value for key, value in new.index.items() if key != "weight_map"}
    for key in (*wanted, *given):
        if _text(given, key) != _text(wanted, key):
            return f"{key} in {new.index_name} is not what follows from the old one"
    return None


def _text(content: Mapping[str, Any], key: str) -> str | None:
    """Return a value as JSON, in which ``true`` is not 1; None where there is none."""
    return json.dumps(content[key], sort_keys=True) if key in content else None

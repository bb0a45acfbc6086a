"""Training checkpoints: which entry of a file is the network, and what lies beside it.

Training scripts save more than a state dict: an averaged copy, the optimiser, options, class
names. One entry is chosen and gets new rows. What describes the old head is left out of a new
checkpoint, or follows the new one where that is a matter of a number or a list of names.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icis_cli.checkpoint.base import Labels
from icis_cli.checkpoint.torch_choice import Chosen, is_state, listed
from icis_cli.checkpoint.torch_values import StoredArray

#: What only makes sense together with the old head: resuming with it would be silently wrong.
_TRAINING_STATE = (
    "optimizer", "optimizer_state_dict", "optimizer_states", "optim", "opt",
    "lr_scheduler", "lr_schedulers", "scheduler", "scheduler_state_dict", "scaler", "amp_scaler",
)  # fmt: skip

#: Where scripts keep their options, which may tell of classes.
_SETTINGS = ("args", "hyper_parameters", "hparams", "config", "cfg", "meta")

_NAME_LISTS = ("classes", "class_names", "categories")
_NAME_INDEX = "class_to_idx"
#: Rows to names, as ultralytics and others have them; also lists.
_NAME_TABLES = ("names", "idx_to_class", "id2label", "labels")
_COUNTS = ("num_classes", "n_classes", "nb_classes", "num_labels")
_ARCHITECTURES = ("arch", "model", "model_name", "architecture")

#: Options may lie in options this deep, and so many are looked through.
_DEPTH, _MOST = 8, 10_000


def notes_on(root: Mapping[str, Any], chosen: Chosen) -> tuple[str, ...]:
    """Say which entry was taken, and what becomes of the others."""
    if chosen.key is None:
        return ()
    found = f"the state dict was found under {chosen.key!r}"
    if chosen.asked:
        left = f", not {listed(chosen.others)}" if chosen.others else ""
        found = f"the state dict under {chosen.key!r} is taken{left}"
    elif chosen.others:
        found += f" (there is {listed(chosen.others)}, too: --state {chosen.others[0]} takes that)"
    notes = [found]
    stale = stale_entries(root, chosen)
    if stale:
        entries = ", ".join(map(repr, stale))
        verb = "belongs" if len(stale) == 1 else "belong"
        notes.append(f"{entries} {verb} to the old head and will be left out of a new checkpoint")
    rows = _rows_of(chosen.state)
    following = [
        f"{where}: {key} = {value}"
        for where, key, value in _told(root)
        if key in _COUNTS and _is_count(value) and value in rows
    ]
    if following:
        notes.append(f"{', '.join(following)} will follow the number of rows, if it is that")
    return tuple(notes)


def stale_entries(root: Mapping[str, Any], chosen: Chosen) -> list[str]:
    """Return the entries beside the state dict that would still belong to the old head."""
    old = _holding_old(root, set(chosen.state))
    return [
        key
        for key, value in root.items()
        if key != chosen.key and (key in _TRAINING_STATE or is_state(value) or id(value) in old)
    ]


def labels_of(root: Mapping[str, Any], chosen: Chosen) -> Labels:
    """Read class names and architecture from beside a wrapped state dict.

    Of several lists of names the first one counts that is as long as a layer of the network has
    rows; without such, the first one.
    """
    lists: list[tuple[str, ...]] = []
    looked_at: set[tuple[str, int]] = set()  # one list may lie in thousands of options
    arch: str | None = None
    is_timm = root.get("version") == 2 and "state_dict" in root  # its training script
    for where, key, value in _told(root):
        if (key.lower(), id(value)) not in looked_at:
            looked_at.add((key.lower(), id(value)))
            names = _names_in(key, value)
            lists += [] if names is None else [names]
        # Without options, the script of timm keeps the name of the class there.
        if key in _ARCHITECTURES and isinstance(value, str) and not (is_timm and where == key):
            arch = arch or value
    rows = _rows_of(chosen.state)
    first = next((one for one in lists if len(one) in rows), lists[0] if lists else None)
    return Labels(first, f"timm/{arch}" if is_timm and arch else arch)


@dataclass(frozen=True)
class NewHead:
    """How a head changes: its rows before and after, and the names of the latter."""

    before: int
    after: int
    class_names: tuple[str, ...]


def updated(key: str, value: Any, head: NewHead) -> Any:
    """Return an entry beside the state dict as the new head has it."""
    if key in _SETTINGS:
        return _follow_in(value, head, _DEPTH, _Known({}, {}))
    return _follow(key, value, head)


@dataclass(frozen=True)
class _Known:
    """What became of values that may lie in several options: each is looked at once.

    Attributes:
        options: identity and depth -> those brought up to date.
        values: key and identity -> the same of a single value.

    """

    options: dict[tuple[int, int], Any]
    values: dict[tuple[Any, int], Any]


def _follow_in(value: Any, head: NewHead, depth: int, known: _Known) -> Any:
    """Return options with what tells of classes brought up to date; the same object without it."""
    items = _items(value)
    if items is None or not depth or len(items) > _MOST or len(known.options) > _MOST:
        return value
    if (id(value), depth) in known.options:
        return known.options[id(value), depth]
    known.options[id(value), depth] = value  # a pickle may hold a dictionary that lies in itself
    changed = {}
    for key, part in items.items():
        place = key, id(part)
        if place not in known.values:
            known.values[place] = _follow(key, part, head)
        new = known.values[place]
        new = _follow_in(part, head, depth - 1, known) if new is part else new
        if new is not part:
            changed[key] = new
    if changed:
        known.options[id(value), depth] = _changed(value, changed)
    return known.options[id(value), depth]


def _changed(value: Any, changed: Mapping[str, Any]) -> Any:
    """Return a copy of options with some of them changed."""
    if isinstance(value, argparse.Namespace):
        new = argparse.Namespace()
        vars(new).update(vars(value))
        vars(new).update(changed)
        return new
    copy = value.copy()
    copy.update(changed)
    return copy


def _follow(key: str, value: Any, head: NewHead) -> Any:
    """Return a number of classes, or their names, as they are now; anything else as it is."""
    names = _names_in(key, value)
    if names is not None and len(names) == head.before:
        if isinstance(value, StoredArray):
            texts = np.array(head.class_names)
            return StoredArray.of(_encoded(texts) if value.values.dtype.kind == "S" else texts)
        if isinstance(value, Mapping) and key.lower() == _NAME_INDEX:
            return {name: row for row, name in enumerate(head.class_names)}
        if isinstance(value, Mapping):
            kind = type(next(iter(value)))  # rows may be kept as text
            return {kind(row): name for row, name in enumerate(head.class_names)}
        return type(value)(head.class_names)
    counts = isinstance(key, str) and key in _COUNTS and _is_count(value)
    return head.after if counts and value == head.before else value


def _encoded(names: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return names as old files of numpy hold them: as bytes."""
    return np.char.encode(names, "utf-8")


def _told(root: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield where, key and value of all that a file says of itself: at its top, then in options."""
    for key, value in root.items():
        if isinstance(key, str) and key not in _SETTINGS:
            yield key, key, value
    seen: set[tuple[int, int]] = set()
    for key in _SETTINGS:
        yield from _told_in(key, root.get(key), _DEPTH, seen)


def _told_in(
    where: str, value: Any, depth: int, seen: set[tuple[int, int]]
) -> Iterator[tuple[str, str, Any]]:
    items = _items(value)
    if items is None or not depth or (id(value), depth) in seen:
        return
    if len(items) > _MOST or len(seen) > _MOST:
        return
    seen.add((id(value), depth))
    for key, part in items.items():
        if isinstance(key, str):
            yield where, key, part
            yield from _told_in(where, part, depth - 1, seen)


def _items(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, argparse.Namespace):
        return vars(value)
    return value if isinstance(value, dict) else None


def _rows_of(state: Mapping[str, Any]) -> set[int]:
    """Return the numbers of rows that the matrices of a network have."""
    return {value.shape[0] for value in state.values() if getattr(value, "ndim", 0) == 2}


def _names_in(key: str, value: Any) -> tuple[str, ...] | None:
    """Return class names, if an entry is a list or an index of such."""
    key = key.lower() if isinstance(key, str) else ""
    if isinstance(value, StoredArray) and value.values.ndim == 1:
        value = list(map(_decoded, value.values.tolist()))
    if key in (*_NAME_LISTS, *_NAME_TABLES) and isinstance(value, (list, tuple)) and value:
        return _texts(value)
    if key == _NAME_INDEX and isinstance(value, Mapping) and all(map(_is_count, value.values())):
        pairs = sorted(((int(row), str(name)) for name, row in value.items()))
        if [row for row, _ in pairs] == list(range(len(pairs))):
            return tuple(name for _, name in pairs)
    if key in _NAME_TABLES and isinstance(value, Mapping) and value:
        for rows in (list(range(len(value))), list(map(str, range(len(value))))):
            if set(value) == set(rows):
                return _texts([value[row] for row in rows])
    return None


def _texts(names: Sequence[Any]) -> tuple[str, ...] | None:
    """Return names as texts of Python, not of numpy; None where one is no text."""
    return tuple(map(str, names)) if all(isinstance(name, str) for name in names) else None


def _decoded(name: Any) -> Any:
    """Return the text that bytes of numpy are; anything else as it is."""
    try:
        return name.decode("utf-8") if isinstance(name, bytes) else name
    except UnicodeDecodeError:
        return name


def _is_count(value: Any) -> bool:
    """Tell whether a value is a whole number, of Python or numpy; truth values are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _holding_old(root: Mapping[str, Any], keys: set[Any]) -> set[int]:
    """Return the ids of all in a file in which an optimiser, or a copy of the network, lies.

    Each dictionary and list is looked at once, in however many others it lies.
    """
    within: dict[int, list[int]] = {}
    old: list[int] = []
    left: list[Any] = [root]
    seen = {id(root)}
    while left:
        value = left.pop()
        is_mapping = isinstance(value, Mapping)
        if is_mapping and value is not root and _is_old(value, keys):
            old.append(id(value))
        for part in value.values() if is_mapping else value:
            if isinstance(part, (Mapping, list, tuple)):
                within.setdefault(id(part), []).append(id(value))
                if id(part) not in seen:
                    seen.add(id(part))
                    left.append(part)
    holding = set(old)
    while old:
        more = [outer for outer in within.get(old.pop(), ()) if outer not in holding]
        holding.update(more)
        old += more
    return holding


def _is_old(value: Mapping[Any, Any], keys: set[Any]) -> bool:
    """Tell whether a dictionary is an optimiser, or has tensors of the network's names."""
    return "param_groups" in value or (is_state(value) and not keys.isdisjoint(value))

"""Which entry of a file of ``torch.save`` is the network, where it is no bare state dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icis_cli import words
from icis_cli.errors import CheckpointError
from icis_cli.runtime import import_torch

#: Where training scripts keep the state dict, in the order in which it is looked for: an averaged
#: copy is what people serve, so it comes first.
WRAPPERS = (
    "model_ema", "ema_state_dict", "state_dict_ema", "ema_model", "ema",
    "swa_state_dict", "swa_model", "model_swa",
    "state_dict", "model_state_dict", "model", "net", "network", "weights", "params",
)  # fmt: skip

#: Networks are looked for in entries this deep, among so many.
_DEPTH, _MOST = 4, 10_000


@dataclass(frozen=True)
class Chosen:
    """The entry of a file that is the network.

    Attributes:
        key: of the entry, or None where the file is a bare state dict.
        state: its content.
        others: keys of the entries that could have been chosen instead.
        asked: whether a person, or an injector, named it.

    """

    key: str | None
    state: Mapping[str, Any]
    others: tuple[str, ...] = ()
    asked: bool = False


def choose(path: Path, root: Mapping[str, Any], wanted: str | None) -> Chosen:
    """Return the entry named ``wanted``; None for an averaged copy, or the usual one.

    Raises:
        CheckpointError: there is no such entry, or it cannot be told which one is meant.

    """
    entries = [key for key, value in root.items() if isinstance(key, str) and is_state(value)]
    if wanted is not None:
        if wanted not in entries:
            hint = f"--state can be {listed(entries)}" if entries else "leave out --state"
            raise CheckpointError(
                path, f"has no entry {wanted!r} with the tensors of a network", hint
            )
        return Chosen(wanted, root[wanted], _without(entries, wanted), asked=True)
    usual = next((key for key in WRAPPERS if key in entries), None)
    if usual is None and not _has_tensors(root):
        if len(entries) > 1:
            raise CheckpointError(
                path,
                f"holds several networks: {listed(entries)}",
                f"name one, e.g. --state {entries[0]}",
            )
        small = (key for key in WRAPPERS if _has_tensors(root.get(key)))
        usual = entries[0] if entries else next(small, None)
    if usual is None:
        deep = None if _has_tensors(root) else _deep_state(root)
        if deep is not None:
            where = "".join(f"[{key!r}]" for key in deep)
            raise CheckpointError(
                path,
                f"holds the tensors of a network deeper than at its top: at {where}",
                f"save them alone: torch.save(torch.load({path.name!r}){where}, 'model.pt')",
            )
        return Chosen(None, root)
    return Chosen(usual, root[usual], _without(entries, usual))


def _has_tensors(value: Any) -> bool:
    torch = import_torch()
    return isinstance(value, Mapping) and any(isinstance(v, torch.Tensor) for v in value.values())


def is_state(value: Any) -> bool:
    """Tell whether an entry holds the tensors of a network: one has two dimensions at least."""
    torch = import_torch()
    return isinstance(value, Mapping) and any(
        isinstance(key, str) and isinstance(part, torch.Tensor) and part.ndim >= 2
        for key, part in value.items()
    )


def _deep_state(root: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the keys that lead to the nearest network in dictionaries within each other."""
    seen: set[int] = set()  # a file may have one dictionary in others any number of times
    level: list[tuple[tuple[str, ...], Any]] = [((), root)]
    for _ in range(_DEPTH):
        inner: list[tuple[tuple[str, ...], Any]] = []
        for keys, value in level:
            if len(value) > _MOST or len(seen) > _MOST:
                continue
            for key, part in value.items():
                if type(key) is not str or not isinstance(part, Mapping) or id(part) in seen:
                    continue
                if is_state(part):
                    return (*keys, key)
                seen.add(id(part))
                inner.append(((*keys, key), part))
        level = inner
    return None


def _without(entries: list[str], key: str) -> tuple[str, ...]:
    return tuple(other for other in entries if other != key)


def listed(keys: list[str] | tuple[str, ...], most: int = 5) -> str:
    """Return keys as a text for people."""
    return words.listed([repr(key) for key in keys], most)

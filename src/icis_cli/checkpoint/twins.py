"""Twins: the layers of a distilled model whose answers are averaged with those of another one."""

from __future__ import annotations

from collections.abc import Iterable

from icis_cli.checkpoint.architectures import NO_TWINS, TWINS
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.linear_layers import is_linear, strip_prefixes
from icis_cli.errors import HeadError


def twins_of(checkpoint: Checkpoint, key: str) -> tuple[str, ...]:
    """Return the keys of the layers whose answers are averaged with those of ``key``.

    Args:
        checkpoint: an opened checkpoint.
        key: of a layer in it.

    Raises:
        HeadError: there are such, but what the network makes of them is not known.

    """
    bare = strip_prefixes(key)
    prefix = key.removesuffix(bare)
    told = checkpoint.labels.heads[1:] if checkpoint.labels.heads[:1] == (key,) else ()
    rows = checkpoint.tensors[f"{key}.weight"].shape[0]

    def beside(pairs: Iterable[tuple[str, str]]) -> list[str]:
        found = [prefix + twin for first, twin in pairs if first == bare]
        return [
            twin
            for twin in found
            if is_linear(checkpoint, twin) and checkpoint.tensors[f"{twin}.weight"].shape[0] == rows
        ]

    twins = beside(TWINS)
    others = beside(NO_TWINS) + [name for name in told if name not in twins]
    if others:
        raise HeadError(
            f"{checkpoint.path}: the answers of the network come from {key!r} and {others[0]!r} "
            "together, in a way that is not known to be their mean",
            "rows for new classes cannot be added to it",
        )
    return tuple(twins)

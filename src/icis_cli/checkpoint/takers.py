"""What may take the answers of a layer: a layer whose answers go on into another is no head.

A state dict does not say how its tensors are connected. What it does say are widths: a matrix (a
linear layer, a convolution over one pixel, a parameter such as prototypes) that takes as many
inputs as a layer gives may take them from it. Widths also agree by chance, above all within the
body of a network, so that a matrix counts only where nothing explains its width better: it does
not come before the layer, and nothing beside it gives what it takes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from icis_cli.checkpoint.architectures import COMMON_HEADS, NO_TWINS, TWINS
from icis_cli.checkpoint.base import Checkpoint, TensorInfo
from icis_cli.checkpoint.linear_layers import (
    is_embedding,
    module_of,
    order_tells,
    strip_prefixes,
)

#: Ends of the names of weights of layers (linear, recurrent, attention) beside ``.weight``.
_WEIGHT = re.compile(r"(^|\.)(in_proj_weight|weight_ih_l\d+|weight_v|weight_orig)$")

#: Parts of the names of parameters that no answers go through.
_ASIDE = (
    "bias", "pos", "table", "mask", "token", "index", "freq", "anchor", "grid", "query",
    "running", "mean", "var", "std", "conf", "weight_hh", "weight_g", "original0",
)  # fmt: skip

#: Names of parameters that are multiplied the other way round: (D, K), as ArcFace has them.
_TURNED = re.compile(r"^(w|weights?|kernel|.*_(w|weights?|kernel))$", re.IGNORECASE)


@dataclass(frozen=True)
class _Part:
    """A tensor that is multiplied with something.

    Attributes:
        name: in the state dict.
        path: of the layer or parameter, in parts.
        gives: how many numbers it gives.
        takes: how many it takes.
        layer: whether it is the weight of a layer, not a parameter of its own.

    """

    name: str
    path: tuple[str, ...]
    gives: int
    takes: int
    layer: bool


def takers(checkpoint: Checkpoint, key: str) -> list[str]:
    """Return the names of the tensors that may take what a layer gives, in file order.

    Args:
        checkpoint: an opened checkpoint.
        key: of a layer in it; with as many rows as there are class names nothing takes its answers.

    """
    rows = checkpoint.tensors[f"{key}.weight"].shape[0]
    if rows == len(checkpoint.labels.class_names or ()):
        return []
    read = {name: _part(name, info) for name, info in checkpoint.tensors.items()}
    parts = {name: part for name, part in read.items() if part is not None}
    own = parts[f"{key}.weight"]
    groups: dict[tuple[str, ...], list[_Part]] = {}
    for part in parts.values():
        groups.setdefault(_group(own, part), []).append(part)
    kinds = Counter(map(_kind_in_block, parts.values()))
    possible = [
        part
        for part in parts.values()
        if _may_take(checkpoint, own, part) and not _is_of_body(part, kinds[_kind_in_block(part)])
    ]
    if not possible:
        return []
    givers = {name: _givers(own, group) for name, group in groups.items()}
    places = {name: place for place, name in enumerate(parts)} if order_tells(checkpoint) else None
    ends = None if places else _leading_elsewhere(parts, own)

    def takes_it(part: _Part) -> bool:
        group = groups[_group(own, part)]
        later = None if places is None else places[part.name] > places[own.name]
        if not part.layer:
            # The parameters of a module come before its layers, whatever the order of use.
            return len(part.path) == _shared(own, part) + 1 or (
                len(group) == 1 and later in (None, True)
            )
        if _is_named(part) and not _is_named(own):
            later = True
        numbered = _is_later(own, part)
        if numbered is not None:
            later = numbered
        elif ends is not None and later is None:
            later = part.gives in ends
        return bool(later) and not _explained(part, givers[_group(own, part)])

    return [part.name for part in possible if takes_it(part)]


def _part(name: str, info: TensorInfo) -> _Part | None:
    """Return what a tensor takes and gives; None for norms, biases, tables and the like."""
    if len(info.shape) < 2 or 0 in info.shape:
        return None
    layer = name.endswith((".weight", ".weight.original1")) or _WEIGHT.search(name)
    own = name.rpartition(".")[2].lower()
    if not layer and (len(info.shape) > 2 or any(word in own for word in _ASIDE)):
        return None
    path = tuple(module_of(name).split("."))
    return _Part(name, path, info.shape[0], info.shape[1], bool(layer))


def _may_take(checkpoint: Checkpoint, own: _Part, part: _Part) -> bool:
    """Tell whether the widths and the kind of a tensor let it take what the layer ``own`` gives."""
    if part is own:
        return False
    info = checkpoint.tensors[part.name]
    if not part.layer:
        turned = _TURNED.match(part.path[-1]) and part.gives == own.gives
        square = part.gives == part.takes
        as_own = (part.gives, part.takes) == (own.gives, own.takes)  # centres of the classes
        floats = info.dtype.startswith(("F", "BF"))
        return floats and not square and not as_own and bool(part.takes == own.gives or turned)
    if part.takes != own.gives or any(size != 1 for size in info.shape[2:]):
        return False
    if any("pos_emb" in own for own in part.path):
        return False
    bare = strip_prefixes(".".join(part.path))
    first = strip_prefixes(".".join(own.path))
    if any(pair in ((first, bare), (bare, first)) for pair in (*TWINS, *NO_TWINS)):
        return False
    if len(info.shape) > 2:  # those of the body are followed by norms, and have no bias
        return f"{'.'.join(part.path)}.bias" in checkpoint.tensors or _is_named(part)
    return not is_embedding(checkpoint, ".".join(part.path))


def _numbers(part: _Part) -> int:
    """Return how many numbered modules, with modules in them, a tensor is in."""
    return sum(own.isdecimal() for own in part.path[:-2])


def _kind_in_block(part: _Part) -> tuple[object, ...]:
    """Return what the same parts of equal blocks have in common."""
    names = tuple("#" if own.isdecimal() else own for own in part.path)
    return (*names, part.gives, part.takes)


def _is_of_body(part: _Part, alike: int) -> bool:
    """Tell whether a tensor is in one of the numbered blocks of the body.

    Either there are several ``alike``, or its block is itself in a numbered stage.
    """
    return _numbers(part) > 1 or (_numbers(part) == 1 and alike > 1)


def _is_named(part: _Part) -> bool:
    """Tell whether a layer has a name that heads commonly have."""
    return part.layer and strip_prefixes(".".join(part.path)) in COMMON_HEADS


def _shared(own: _Part, part: _Part) -> int:
    """Return how many parts of their paths two tensors share."""
    count = 0
    for first, then in zip(own.path[:-1], part.path, strict=False):
        if first != then:
            break
        count += 1
    return min(count, len(part.path) - 1)


def _stem(name: str) -> str:
    return name.rstrip("0123456789")


def _group(own: _Part, part: _Part) -> tuple[str, ...]:
    """Return the module with ``part`` that is beside ``own``; layer1, layer2, ... are one."""
    shared = _shared(own, part)
    return (*part.path[:shared], _stem(part.path[shared]))


def _is_later(own: _Part, part: _Part) -> bool | None:
    """Tell by their numbers whether a tensor comes after a layer; None where they have none."""
    shared = _shared(own, part)
    return _after(own.path[shared], part.path[shared])


def _after(first: str, then: str) -> bool | None:
    """Tell whether one of two numbered names comes after the other one, e.g. fc1 and fc2."""
    numbered = all(name[-1:].isdecimal() for name in (first, then))
    if _stem(first) != _stem(then) or not numbered or _number(first) == _number(then):
        return None
    return _number(then) > _number(first)


def _number(name: str) -> tuple[int, str]:
    """Return what orders numbered names: text, for a number in a file may be too long for int()."""
    digits = name[len(_stem(name)) :]
    digits = digits.lstrip("0") or digits[-1:]
    return len(digits), digits


def _givers(own: _Part, group: list[_Part]) -> list[_Part]:
    """Return what in a module gives as much as the layer ``own``, up to two of them.

    In a row of numbered layers only an earlier one explains a later one: it is the first of them.
    """
    others = [part for part in group if part is not own]
    found = [part for part in others if part.layer and part.gives == own.gives]
    if len({(part.path[:-1], _stem(part.path[-1])) for part in others}) > 1:
        return found[:2]
    return sorted(found, key=lambda part: _number(part.path[-1]))[:1]


def _explained(part: _Part, givers: list[_Part]) -> bool:
    """Tell whether something else in the module of a tensor gives what it takes."""
    return any(
        giver is not part
        and (giver.path[:-1] != part.path[:-1] or not _after(part.path[-1], giver.path[-1]))
        for giver in givers
    )


def _leading_elsewhere(parts: Mapping[str, _Part], own: _Part) -> set[int]:
    """Return the widths from which something leads to an end other than the layer ``own``.

    What leads to ``own`` alone comes before it.
    """
    inputs: dict[int, set[int]] = {}
    for part in parts.values():
        if part is not own:
            inputs.setdefault(part.gives, set()).add(part.takes)
    taken = {part.takes for part in parts.values()}
    reached = {gives for gives in inputs if gives not in taken}
    new = list(reached)
    while new:
        before = inputs.get(new.pop(), set()) - reached
        reached |= before
        new.extend(before)
    return reached

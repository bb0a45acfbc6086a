"""All that a loaded file of ``torch.save`` holds, looked at once before anything uses it.

The pickle of a stranger may hang attributes on dictionaries and tensors that hide their methods,
put classes where values belong, nest values thousands deep, or have one dictionary millions of
times in others. What comes through here is plain, each object once.
"""

from __future__ import annotations

import argparse
import datetime as dt
import pathlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from icis_cli.checkpoint.torch_values import (
    StoredArray,
    StoredNamespace,
    StoredType,
    UnsafeValueError,
)
from icis_cli.runtime import import_torch

#: Deeper than this, writing a checkpoint fails: the pickler of Python calls itself for each level.
DEEPEST = 100

#: Values without parts.
_VALUES = (
    type(None), bool, int, float, complex, str, bytes, bytearray, StoredType, StoredArray,
    dt.date, dt.datetime, dt.time, dt.timedelta, dt.timezone, pathlib.PosixPath,
)  # fmt: skip


class TooDeepError(ValueError):
    """Values lie too deep in each other."""


@dataclass
class _Open:
    """A container whose parts are being looked at."""

    key: int
    parts: Iterator[Any]
    height: int = 0


def require_plain(root: Any) -> list[Any]:
    """Return all containers and tensors in a value, each once; true namespaces from now on.

    Raises:
        UnsafeValueError: one is of a class that no checkpoint needs, or has odd attributes.
        TooDeepError: they lie more than :data:`DEEPEST` deep in each other.

    """
    known = _Known()
    found: list[Any] = []
    heights: dict[int, int] = {}
    opened = [_Open(0, iter((root,)))]
    while opened:
        last = opened[-1]
        part = next((one for one in last.parts if not known.is_value(one)), None)
        if part is None:  # all of them were looked at
            opened.pop()
            heights[last.key] = last.height
            height = last.height
        elif id(part) in heights:
            height = heights[id(part)]
        else:
            parts = known.parts_of(part)
            found.append(part)
            heights[id(part)] = 0
            opened.append(_Open(id(part), iter(parts)))
            continue
        if opened:
            opened[-1].height = max(opened[-1].height, height + 1)
        if height > DEEPEST or len(opened) > DEEPEST:
            raise TooDeepError
    for part in found:
        if type(part) is StoredNamespace:
            part.become_true()
    return found


class _Known:
    """The classes that objects of a checkpoint may have; torch is loaded to name some."""

    def __init__(self) -> None:
        torch = import_torch()
        self.values = {
            *_VALUES, torch.dtype, torch.device, torch.layout, torch.qscheme,
            torch.torch_version.TorchVersion,
        }  # fmt: skip
        self.mappings = {dict, OrderedDict, Counter}
        self.sequences = {list, tuple, set, torch.Size}
        self.tensors = {torch.Tensor, torch.nn.Parameter}
        self.storages = {torch.UntypedStorage, torch.storage.TypedStorage}

    def is_value(self, value: Any) -> bool:
        return type(value) in self.values or issubclass(type(value), np.generic)

    def parts_of(self, value: Any) -> Iterable[Any]:
        """Return what lies directly in an object: keys, values, attributes.

        Raises:
            UnsafeValueError: it is not of one of the classes, or has odd attributes.

        """
        kind: Any = type(value)
        if kind in self.sequences:
            return list(value)
        if kind is dict:
            return [*value.keys(), *value.values()]
        if kind in self.mappings:
            return [*kind.keys(value), *kind.values(value), *_attributes(value)]
        if kind in (StoredNamespace, argparse.Namespace):  # the latter were looked at before
            return _attributes(value)
        if kind in self.tensors:
            attributes = _attributes(value)
            _require_usual(value)
            strided = value.layout is import_torch().strided
            return [*attributes, *(_attributes(value.untyped_storage()) if strided else ())]
        if kind in self.storages:
            return _attributes(value)
        if isinstance(value, type):
            raise UnsafeValueError("a class")
        raise UnsafeValueError(f"an object of the class {kind.__name__[:80]}")


def _attributes(value: Any) -> list[Any]:
    """Return the values of an object's attributes, of which none hides what its class has."""
    kind = argparse.Namespace if type(value) is StoredNamespace else type(value)
    for name in vars(value):
        if type(name) is not str or hasattr(kind, name):
            shown = name[:80] if type(name) is str else type(name).__name__
            raise UnsafeValueError(f"an attribute {shown!r} that hides one of {kind.__name__}")
    return list(vars(value).values())


def _require_usual(tensor: Any) -> None:
    """Refuse tensors that other functions of torch fail on, or that have functions to be called."""
    if tensor.is_nested:
        raise UnsafeValueError("a nested tensor")
    # Newer versions of torch have no such names any more.
    if any(name is not None for name in getattr(tensor, "names", ())):
        raise UnsafeValueError("a tensor with names of dimensions")
    if tensor._backward_hooks:  # noqa: SLF001 - there is no public name
        raise UnsafeValueError("a tensor with hooks")

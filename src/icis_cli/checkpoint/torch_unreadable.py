"""Where in a file of ``torch.save`` the objects lie that may not be made, for the way out.

The file is read once more with something that does nothing in place of each of them. What comes of
that is looked at and thrown away.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from icis_cli.checkpoint.torch_choice import WRAPPERS
from icis_cli.checkpoint.torch_values import (
    STAND_INS,
    StoredArray,
    StoredType,
    UnsafeValueError,
    all_parts,
    allowed,
    load_allowing,
    new_array,
    plain,
)
from icis_cli.runtime import import_torch

#: Of these, entries are set; a pickle may do so to true dictionaries alone.
_DICTIONARIES = ("collections.defaultdict",)
_MARK = "icis: unreadable"


def unreadable_entries(path: Path) -> tuple[list[str], str | None]:
    """Return the entries of a file that objects lie in, and the one that is a whole network.

    There is none where that cannot be told.
    """
    torch = import_torch()
    try:
        with torch.serialization.safe_globals(allowed()):
            others = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        root = load_allowing(path, _allowed_to_look(others), legacy=False)
        if type(root) is not dict or not all(type(key) is str for key in root):
            return [], None
        entries = [key for key, value in root.items() if any(map(_is_unreadable, all_parts(value)))]
        whole = [key for key in entries if key in WRAPPERS and _is_unreadable(root[key])]
    except Exception:  # a damaged pickle can raise anything; what is wrong is known already
        return [], None
    return entries, whole[0] if whole else None


class _Unreadable(list[Any]):
    """In place of what may not be made, to see where in a file it lies; never handed on.

    It is a list only because a pickle may want to append to it.
    """

    def __init__(self, *_: object) -> None:
        super().__init__()

    def __setstate__(self, _: object) -> None:
        pass


def _dictionary(*_: object) -> OrderedDict[Any, Any]:
    """Return what stands in place of a dictionary of another class that is made by a call."""
    made: OrderedDict[Any, Any] = OrderedDict()
    made.__dict__[_MARK] = True
    return made


class _MaybeArray:
    """An array, to see where in a file one lies that is not plain."""

    plain = True

    def __setstate__(self, state: object) -> None:
        try:
            StoredArray().__setstate__(state)
        except UnsafeValueError:
            self.plain = False


def _maybe_array(*parts: object) -> _MaybeArray | _Unreadable:
    return _MaybeArray() if parts and parts[0] is _MaybeArray else _Unreadable()


def _maybe(make: Callable[..., Any]) -> Callable[..., Any]:
    def made(*parts: object) -> Any:
        try:
            return make(*parts)
        except UnsafeValueError:
            return _Unreadable()

    return made


def _allowed_to_look(others: list[str]) -> list[Any]:
    """Return what to allow to see where what may not be made lies: see :func:`_is_unreadable`.

    Args:
        others: names in the pickle of what is not allowed.

    """
    looks = {stands: _maybe(stands) for stands in STAND_INS.values()}
    looks |= {StoredArray: _MaybeArray, new_array: _maybe_array}
    names = {name: looks[stands] for name, stands in STAND_INS.items()}
    # What gets a state must be allowed itself, under any name.
    names |= {kind.__name__: kind for kind in (StoredType, _Unreadable)}
    names |= {name: _dictionary if name in _DICTIONARIES else _Unreadable for name in others}
    return [*plain(), *((stands, name) for name, stands in names.items())]


def _is_unreadable(value: Any) -> bool:
    """Tell whether a value that was read with :func:`_allowed_to_look` may not be made."""
    plain = not isinstance(value, _MaybeArray) or value.plain
    if isinstance(value, OrderedDict) and _MARK in value.__dict__:
        return True
    return value is _Unreadable or isinstance(value, _Unreadable) or not plain

"""What training scripts save beside tensors, numbers of numpy and times, read safely.

``torch.load(weights_only=True)`` refuses them, and allowing numpy's functions would not be safe:
a type of objects, or one with fields, makes numpy take bytes of the file for addresses. So the
names in the pickle stand for what is here: it takes plain types only, counts the bytes, and makes
arrays over a copy of them. A copy of the checkpoint holds what numpy would have written.
"""

from __future__ import annotations

import argparse
import datetime as dt
import math
import pathlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from icis_cli.runtime import import_torch

#: Types without objects or parts, as numpy's pickles spell them: truth values, numbers, texts.
_PLAIN_TYPE = re.compile(r"b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SU][1-9]\d{0,5}")
_ORDERS: tuple[Literal["<", ">", "|", "="], ...] = ("<", ">", "|", "=")

#: What other values lie in.
_CONTAINERS = (dict, list, tuple, set, argparse.Namespace)


class UnsafeValueError(ValueError):
    """A value of a file is not one of the plain ones."""


class StoredType:
    """What ``numpy.dtype`` in a pickle stands for.

    It has slots, so that no object of another class can be given this one by a pickle.

    Attributes:
        dtype: of numpy.

    """

    __slots__ = ("dtype",)
    dtype: np.dtype[Any]

    def __new__(cls, code: object = None, *_: object) -> Self:  # whether aligned, whether a copy
        if type(code) is not str or not _PLAIN_TYPE.fullmatch(code):
            raise UnsafeValueError(f"a numpy type {str(code)[:40]!r}")
        made = super().__new__(cls)
        try:
            made.dtype = np.dtype(code)
        except TypeError:  # not every machine has numbers of 16 bytes
            raise UnsafeValueError(f"a numpy type {code!r}") from None
        return made

    def __setstate__(self, state: object) -> None:
        """Take the order of bytes; all else that numpy would take must be that of a plain type."""
        fields = state if type(state) is tuple else ()
        # Version, order, subtype, names, fields: the latter three make a type of parts.
        if len(fields) < 5 or any(field is not None for field in fields[2:5]):
            raise UnsafeValueError("a numpy type with parts")
        order = next((one for one in _ORDERS if type(fields[1]) is str and one == fields[1]), None)
        if order is None:
            raise UnsafeValueError("a numpy type with parts")
        self.dtype = self.dtype.newbyteorder(order)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredType) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __reduce__(self) -> Any:
        return self.dtype.__reduce__()


def _plain_dtype(stored: object) -> np.dtype[Any]:
    """Return the type of numpy that a value stands for.

    Raises:
        UnsafeValueError: it stands for none, or for one that would make addresses of bytes.

    """
    dtype = stored.dtype if type(stored) is StoredType else None
    if not isinstance(dtype, np.dtype) or dtype.hasobject or dtype.kind not in "biufcSU":
        raise UnsafeValueError("a numpy array of objects")
    return dtype


class StoredArray:
    """What ``numpy.ndarray`` in a pickle stands for; it has slots as :class:`StoredType` has.

    Attributes:
        values: the array.

    """

    __slots__ = ("values",)
    values: np.ndarray[Any, Any]

    def __new__(cls) -> Self:
        made = super().__new__(cls)
        made.values = np.empty(0, np.uint8)
        return made

    @classmethod
    def of(cls, values: np.ndarray[Any, Any]) -> Self:
        """Return what a file that holds this array gives."""
        stored = cls()
        stored.values = values
        return stored

    def __setstate__(self, state: object) -> None:
        """Take shape, type, order of axes and bytes.

        Raises:
            UnsafeValueError: they are no plain array.

        """
        if type(state) is not tuple or len(state) != 5:
            raise UnsafeValueError("a damaged numpy array")
        _, shape, stored, by_column, data = state
        dtype = _plain_dtype(stored)
        if type(data) is not bytes:
            raise UnsafeValueError("a numpy array of objects")
        if type(shape) is not tuple or any(type(n) is not int or n < 0 for n in shape):
            raise UnsafeValueError("a damaged numpy array")
        if type(by_column) is not bool or math.prod(shape) * dtype.itemsize != len(data):
            raise UnsafeValueError("a damaged numpy array")
        order: Literal["F", "C"] = "F" if by_column else "C"
        try:
            values: np.ndarray[Any, Any] = np.ndarray(shape, dtype, data, order=order)
            self.values = _readable(values).copy(order="K")
        except (ValueError, TypeError, OverflowError):
            raise UnsafeValueError("a damaged numpy array") from None

    def __eq__(self, other: object) -> bool:
        """Tell whether type, shape and bytes are the same."""
        if not isinstance(other, StoredArray):
            return False
        one, two = self.values, other.values
        alike = one.dtype == two.dtype and one.shape == two.shape
        return alike and one.tobytes() == two.tobytes()

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return self.values.__reduce__()


class StoredNamespace(argparse.Namespace):
    """What ``argparse.Namespace`` in a pickle stands for, until all of the file was looked at.

    Of a true one a pickle can set anything, its class included.
    """

    def __init__(self) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Take options by their names.

        Raises:
            UnsafeValueError: they are something else.

        """
        if type(state) is not dict or any(type(name) is not str for name in state):
            raise UnsafeValueError("options that are none")
        vars(self).update(state)

    def become_true(self) -> None:
        """Be a true namespace from now on, in all places where it lies."""
        self.__class__ = argparse.Namespace  # type: ignore[assignment]


def _scalar(*parts: Any) -> Any:
    """Return a number of numpy of a type and its bytes."""
    if len(parts) != 2 or type(parts[0]) is not StoredType or type(parts[1]) is not bytes:
        raise UnsafeValueError("a numpy object")
    dtype, data = _plain_dtype(parts[0]), parts[1]
    if len(data) != dtype.itemsize:
        raise UnsafeValueError("a damaged numpy number")
    try:
        return _readable(np.frombuffer(data, dtype))[0]
    except ValueError:
        raise UnsafeValueError("a damaged numpy number") from None


def new_array(*parts: object) -> StoredArray:
    """Return an array that gets its values next."""
    if not parts or parts[0] is not StoredArray:
        raise UnsafeValueError("an array of another class than numpy's own")
    return StoredArray()


def _no_bytes() -> bytes:
    """Return no bytes: all others are pickled otherwise. ``bytes`` itself takes any amount."""
    return b""


def _readable(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array whose texts are such; numbers may be any.

    Raises:
        ValueError: a text has characters that there are not.

    """
    if values.dtype.kind == "U":
        values.tolist()
    return values


#: Name in a pickle -> what it stands for here.
STAND_INS: dict[str, Any] = {
    "numpy.dtype": StoredType,
    "numpy.ndarray": StoredArray,
    "builtins.bytes": _no_bytes,
} | {
    f"numpy.{core}.multiarray.{name}": stands
    for core in ("core", "_core")  # before numpy 2, and since
    for name, stands in (("scalar", _scalar), ("_reconstruct", new_array))
}

#: Classes of plain values whose objects a pickle makes by a call: paths, times.
_PLAIN: tuple[type, ...] = (
    pathlib.PosixPath,
    dt.date,
    dt.datetime,
    dt.time,
    dt.timedelta,
    dt.timezone,
)


def _calls(kind: Any) -> Any:
    """Return a function that makes such values, and nothing that could be changed afterwards."""

    def made(*parts: Any) -> Any:
        if kind is pathlib.PosixPath and any(type(part) is not str for part in parts):
            raise UnsafeValueError("a path that is no text")
        value = kind(*parts)
        # Of bytes, times are made that there are not: this one raises for them.
        return value.replace() if issubclass(kind, (dt.date, dt.time)) else value

    return made


_MADE = {f"{kind.__module__}.{kind.__name__}": _calls(kind) for kind in _PLAIN} | {
    name: _calls(pathlib.PosixPath)
    for name in ("pathlib.PosixPath", "pathlib._local.PosixPath")  # the latter: Python 3.13
}


def allowed() -> list[Any]:
    """Return what ``torch.serialization.safe_globals`` shall allow beside torch's own list."""
    return [*plain(), *((stands, name) for name, stands in STAND_INS.items())]


def plain() -> list[Any]:
    """Return those of them that stand for classes of plain values."""
    version = import_torch().torch_version.TorchVersion  # of torch.__version__, a text
    made = ((make, name) for name, make in _MADE.items())
    return [version, (StoredNamespace, "argparse.Namespace"), *made]


def load_allowing(path: Path, allowed: list[Any], *, legacy: bool) -> Any:
    """Load a file, with nothing but what torch allows and ``allowed``; see :func:`allowed`."""
    torch = import_torch()
    with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong is said once, by the error
        if legacy or path.name.endswith(".safetensors"):  # torch would believe the suffix
            with path.open("rb") as stream:
                return torch.load(stream, map_location="cpu", weights_only=True)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _parts_of(value: Any) -> Iterator[Any]:
    """Yield what lies directly in a container of a file: of dictionaries the keys, too."""
    inner = vars(value) if isinstance(value, argparse.Namespace) else value
    yield from inner
    if isinstance(inner, dict):
        yield from dict.values(inner)  # an attribute may hide the method of the object


def all_parts(root: Any) -> Iterator[Any]:
    """Yield a value and everything in it, each container once."""
    seen: set[int] = set()
    left = [root]
    while left:
        value = left.pop()
        yield value
        if isinstance(value, _CONTAINERS) and id(value) not in seen:
            seen.add(id(value))
            left += _parts_of(value)


def extra_classes(root: Any) -> set[type]:
    """Return the classes of what is in a value that ``torch.load`` alone would refuse."""
    extra = (StoredArray, np.generic, argparse.Namespace, *_PLAIN)
    return {type(part) for part in all_parts(root) if isinstance(part, extra)}

"""Writing an ONNX model as a stream: its frame (all but the stored tensors), then one by one these.

A protocol buffer is a row of fields, each with its number and length before it, so that it need not
lie in memory as one piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from icis_cli.checkpoint.base import Buffer

#: More does not fit into a protocol buffer.
LARGEST = (1 << 31) - 1

# Number and kind (a length and so many bytes) of the fields.
_GRAPH = bytes([7 << 3 | 2])  # of a model
_INITIALIZER = bytes([5 << 3 | 2])  # of a graph
_RAW_DATA = bytes([9 << 3 | 2])  # of a tensor

#: Where the bytes of a tensor can be.
_DATA = (
    "raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data",
    "external_data", "data_location",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A stored tensor as it will be written.

    Attributes:
        length: in bytes.
        pieces: its bytes, made while they are asked for, once.

    """

    length: int
    pieces: Iterable[Buffer]


def as_it_is(tensor: Any) -> Part:
    """Return a ``TensorProto`` that does not change."""
    return Part(tensor.ByteSize(), (one.SerializeToString() for one in (tensor,)))


def filled(tensor: Any, shape: Sequence[int], size: int, data: Iterable[Buffer]) -> Part:
    """Return a ``TensorProto`` of another ``shape``, with ``size`` bytes of ``data`` in it."""
    shell = type(tensor)()
    shell.CopyFrom(tensor)
    for field in _DATA:
        shell.ClearField(field)
    shell.dims[:] = shape
    start = shell.SerializeToString() + _RAW_DATA + _varint(size)

    def pieces() -> Iterator[Buffer]:
        yield start
        yield from data

    return Part(len(start) + size, pieces())


def model_size(frame: Any, parts: Sequence[Part]) -> int:
    """Return the bytes of a model, or a few more."""
    return int(frame.ByteSize()) + sum(part.length + 6 for part in parts) + 6


def write_model(stream: IO[bytes], frame: Any, parts: Sequence[Part]) -> None:
    """Write a model.

    Args:
        stream: where to.
        frame: a ``ModelProto`` whose graph has no initializer; the graph is taken out of it.
        parts: the initializers, in order.

    """
    graph = frame.graph.SerializeToString(deterministic=True)
    frame.ClearField("graph")
    starts = [_INITIALIZER + _varint(part.length) for part in parts]
    inside = sum(map(len, starts)) + sum(part.length for part in parts)
    stream.write(frame.SerializeToString(deterministic=True))
    stream.write(_GRAPH + _varint(len(graph) + inside) + graph)
    for start, part in zip(starts, parts, strict=True):
        stream.write(start)
        stream.writelines(part.pieces)


def _varint(number: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])

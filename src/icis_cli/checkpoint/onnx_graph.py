"""The final linear layer of an ONNX graph, found by going back from what the graph answers.

It is a Gemm, or a MatMul with or without an Add, whose weights are stored in the graph. What comes
between it and the output (Softmax and the like) must keep the classes on the last axis. Everything
else is refused with a reason: a wrong guess would rewrite the wrong layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icis_cli.arrays import HEAD_DTYPES
from icis_cli.checkpoint.base import TensorInfo
from icis_cli.checkpoint.onnx_tensors import branches, bytes_of, info_of
from icis_cli.errors import CheckpointError

#: What may come after the layer: one answer per class before, one per class on the last axis after.
_KEEPING = frozenset(
    {"Identity", "Cast", "Dropout", "Softmax", "LogSoftmax", "Sigmoid", "Squeeze", "Flatten"}
)
#: What may come between a stored tensor and the layer.
_PASSING = frozenset({"Identity", "Cast", "Transpose"})
#: Parts of the names of quantised layers.
_INTEGER = ("quantize", "qlinear", "qgemm", "integer", "nbits")
#: What follows an integer product to make numbers of it, and how many such steps there may be.
_SCALING, _FAR = frozenset({"Add", "Mul", "Cast"}), 8
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "FusedConv"})


@dataclass(frozen=True)
class Final:
    """The final linear layer.

    Attributes:
        weight: name of the stored weight.
        transposed: whether it is stored as (D, K) instead of (K, D).
        bias: name of the stored bias (K,), perhaps with axes of one before; or None.
        axes: name of each value that has one entry per class -> the axis of these.

    """

    weight: str
    transposed: bool
    bias: str | None
    axes: Mapping[str, int]


def find_final(path: Path, graph: Any, stored: Mapping[str, Any]) -> Final:
    """Find the final linear layer of a ``GraphProto``.

    Args:
        path: of the file, for messages.
        graph: without its stored tensors.
        stored: name -> ``TensorProto`` of these.

    Raises:
        CheckpointError: there is none that rows can be added to, or several; with the reason.

    """
    search = _Search(path, graph, stored)
    found: dict[str, Final] = {}
    reasons: list[CheckpointError] = []
    for output in graph.output:
        try:
            final = search.behind(output.name)
            found.setdefault(final.weight, final)
        except CheckpointError as error:
            reasons.append(error)
    if len(found) > 1:
        layers = ", ".join(map(repr, found))
        raise CheckpointError(
            path,
            f"its outputs come from several final layers: {layers}",
            "export the model with the output of one of them",
        )
    if not found:
        raise reasons[0] if reasons else CheckpointError(path, "its graph has no output")
    return next(iter(found.values()))


class _Search:
    """A graph with what makes and what uses each of its values."""

    def __init__(self, path: Path, graph: Any, stored: Mapping[str, Any]) -> None:
        self.path = path
        self.graph = graph
        self.stored = stored
        self.makers = {name: node for node in graph.node for name in node.output if name}
        self.users: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in set(_inputs(node)):
                self.users.setdefault(name, []).append(node)
        self.outputs = {output.name for output in graph.output}

    def behind(self, output: str) -> Final:
        """Return the layer that an output comes from.

        Raises:
            CheckpointError: it comes from another layer, or rows cannot be added to it.

        """
        value = output
        for _ in range(len(self.graph.node) + 1):  # a damaged graph may go in circles
            node = self.makers.get(value)
            if node is None or not self._keeps(node):
                break
            value = node.input[0]
        if node is None:
            raise self._no(f"its output {output!r} is an input")
        weight, bias = self._linear(node)
        weights = self._operand(weight[0], weight[1])
        matrix = self._info(weights.tensor)
        if len(matrix.shape) != 2:
            raise self._no(f"the weight {weights.tensor!r} of its final layer is no matrix")
        classes = matrix.shape[weights.axis]
        axes = dict(weights.axes)
        if bias is not None:
            added = self._operand(bias, -1)
            shape = self._info(added.tensor).shape
            if shape != (1,) * (len(shape) - 1) + (classes,):
                raise self._no(
                    f"the bias {added.tensor!r} of its final layer has the shape {shape}, expected "
                    f"({classes},)"
                )
            axes |= added.axes
        middle = () if node.op_type != "Add" else (self._product(node),)
        axes |= dict.fromkeys((*middle, *self._after(node.output[0])), -1)
        self._compare(axes, classes)
        return Final(
            weights.tensor, weights.axis == 1, None if bias is None else added.tensor, axes
        )

    def _linear(self, node: Any) -> tuple[tuple[str, int], str | None]:
        """Return (name, class axis) of the weight of a layer, and the name of its bias."""
        if _is(node, "Add") and len(node.input) == 2:
            product = self._product(node)
            constant = node.input[1 if product == node.input[0] else 0]
            before = self.makers.get(product)
            if before is not None and (_is(before, "MatMul") or _is(before, "Gemm")):
                if self._count(product) > 1 or product in self.outputs:
                    raise self._no("its final layer is used before the bias is added, too")
                weight, bias = self._linear(before)
                if bias is None:
                    return weight, constant
        elif _is(node, "MatMul") and len(node.input) == 2:
            return (node.input[1], 1), None
        elif _is(node, "Gemm") and len(node.input) >= 2:
            bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
            factors = {a.name: a.f for a in node.attribute if a.name in ("alpha", "beta")}
            flips = {a.name: a.i for a in node.attribute if a.name in ("transA", "transB")}
            if factors.get("alpha", 1) != 1 or (bias and factors.get("beta", 1) != 1):
                raise self._no("its final Gemm has factors (alpha, beta) other than one")
            if flips.get("transA"):
                raise self._no("its final Gemm transposes what goes into it")
            return (node.input[1], 0 if flips.get("transB") else 1), bias
        raise self._other(node)

    def _product(self, add: Any) -> str:
        """Return the input of an Add that a node makes of what went into the network."""
        names: list[str] = [name for name in add.input if self._is_computed(name)]
        return names[0] if len(names) == 1 else str(add.input[0])

    def _is_computed(self, name: str) -> bool:
        for _ in range(len(self.graph.node) + 1):
            node = self.makers.get(name)
            if node is None or node.op_type not in _PASSING:
                return node is not None
            name = node.input[0]
        return True

    def _operand(self, name: str, axis: int) -> _Operand:
        """Follow what a layer takes back to a stored tensor; ``axis`` is that of the classes."""
        axes: dict[str, int] = {}
        for _ in range(len(self.graph.node) + 1):
            axes[name] = axis
            if self._count(name) != 1 or name in self.outputs:
                raise self._no(f"{name!r} of its final layer is used elsewhere, too")
            if name in self.stored:
                return _Operand(name, axis, axes)
            node = self.makers.get(name)
            if node is None:
                raise self._no(
                    f"the weights of its final layer are an input, {name!r}, not in the file",
                    "export it with its weights",
                )
            if not any(_is(node, kind) for kind in _PASSING) or len(node.input) != 1:
                raise self._other(node, f"{name!r} of its final layer")
            if node.op_type == "Transpose":
                order = [number for a in node.attribute for number in a.ints] or [1, 0]
                if axis < 0 or sorted(order) != [0, 1]:
                    raise self._other(node, f"{name!r} of its final layer")
                axis = order[axis]
            name = node.input[0]
        raise self._no(f"{name!r} of its final layer is made of itself")

    def _after(self, value: str) -> list[str]:
        """Return all values that are made of what a layer answers, itself among them.

        Raises:
            CheckpointError: one is made in a way that may need a certain number of classes.

        """
        values = [value]
        for name in values:
            for node in self.users.get(name, ()):
                if not self._keeps(node) or node.input[0] != name:
                    raise self._no(
                        f"its final layer goes into {_named(node)}, which may not bear more classes"
                    )
                values += [out for out in node.output[:1] if out not in values]
        return values

    def _keeps(self, node: Any) -> bool:
        """Tell whether a node keeps the classes on the last axis."""
        if any(_is(node, kind) for kind in _KEEPING):
            return len(node.input) > 0
        if not _is(node, "Reshape") or len(node.input) != 2:
            return False
        shape = self._numbers(node.input[1])
        return shape is not None and len(shape) > 0 and shape[-1] in (-1, 0)

    def _numbers(self, name: str) -> Any:
        """Return a stored list of integers, None where it is not stored."""
        tensor = self.stored.get(name)
        node = self.makers.get(name)
        if tensor is None and node is not None and _is(node, "Constant"):
            tensor = next((a.t for a in node.attribute if a.name == "value"), None)
            if tensor is not None:
                named = type(tensor)()
                named.CopyFrom(tensor)  # it may have no name of its own
                named.name = name
                tensor = named
        info = None if tensor is None else info_of(self.path, tensor)
        if tensor is None or info is None or info.dtype != "I64":
            return None
        return np.frombuffer(bytes_of(self.path, tensor, info), dtype="<i8")

    def _compare(self, axes: Mapping[str, int], classes: int) -> None:
        """Refuse a graph that says another number of classes than its weights have."""
        for dimension in class_dimensions(self.graph, axes):
            if dimension.dim_value not in (0, classes):
                raise self._no(
                    f"its answers have {dimension.dim_value} entries, expected one for each of "
                    f"{classes} classes"
                )

    def _info(self, name: str) -> TensorInfo:
        info = info_of(self.path, self.stored[name])
        if info is None or info.dtype not in HEAD_DTYPES:
            raise self._no(f"{name!r} of its final layer is not of floats", _QUANTISED)
        return info

    def _count(self, name: str) -> int:
        return sum(list(_inputs(node)).count(name) for node in self.users.get(name, ()))

    def _other(self, node: Any, what: str = "its final layer") -> CheckpointError:
        hint = "expected a Gemm, or a MatMul and an Add, with weights that are stored in the file"
        if node.op_type in _CONVOLUTIONS:
            return self._no(f"{what} is a convolution ({_named(node)}), expected a Gemm or MatMul")
        quantised = self._quantised(node)
        if quantised is not None:
            return self._no(f"{what} is quantised ({_named(quantised)})", _QUANTISED)
        return self._no(f"{what} is {_named(node)}", hint)

    def _quantised(self, node: Any) -> Any:
        """Return the part of a quantised layer that a node is, or scales or shifts; or None."""
        for _ in range(_FAR):
            if any(part in str(node.op_type).lower() for part in _INTEGER):
                return node
            before = [self.makers[name] for name in node.input if name in self.makers]
            if node.op_type not in _SCALING or not before:
                return None
            node = next((one for one in before if one.op_type != "Mul"), before[0])
        return None

    def _no(self, reason: str, hint: str = "") -> CheckpointError:
        return CheckpointError(self.path, reason, hint)


@dataclass(frozen=True)
class _Operand:
    """A stored tensor that a layer takes: its class axis, and that of every value on the way."""

    tensor: str
    axis: int
    axes: Mapping[str, int]


_QUANTISED = "start from the model before it was quantised"


def class_dimensions(graph: Any, axes: Mapping[str, int]) -> Iterator[Any]:
    """Yield every dimension that counts classes in what a graph says about its values.

    Args:
        graph: a ``GraphProto``.
        axes: name of each value with one entry per class -> the axis of these.

    """
    for values in (graph.input, graph.output, graph.value_info):
        for value in values:
            axis = axes.get(value.name)
            dimensions = value.type.tensor_type.shape.dim
            if axis is not None and len(dimensions) > max(axis, 0):
                yield dimensions[axis]


def _is(node: Any, kind: str) -> bool:
    return node.op_type == kind and node.domain in ("", "ai.onnx")


def _named(node: Any) -> str:
    return (
        f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else f"{node.op_type}"
    )


def _inputs(node: Any) -> Iterator[str]:
    """Yield the names of all values that a node uses, also inside of its branches."""
    yield from node.input
    for attribute in node.attribute:
        for graph in branches(attribute):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from _inputs(inner)

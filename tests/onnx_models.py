"""Small ONNX models made by hand, able to hold what no exporter writes, and how rows get in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from icis_cli import (
    Expansion,
    Ridge,
    align,
    expand,
    find_head,
    fit,
    open_checkpoint,
    read_descriptors,
)

SEEN, UNSEEN, WIDTH = 12, 3, 8


def expanded(path: Path, attributes: Path, head_key: str | None = None) -> Expansion:
    checkpoint = open_checkpoint(path)
    head = find_head(checkpoint, head_key)
    classes = align(head.rows, read_descriptors(attributes))
    injector = fit(checkpoint, head, classes, Ridge())
    return expand(checkpoint, injector, calibration="none")


def weights(rows: int = SEEN, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(2).standard_normal((rows, width)).astype(np.float32)


def graph(
    path: Path,
    nodes: list[Any],
    stored: dict[str, np.ndarray | Any],
    outputs: dict[str, list[Any]] | None = None,
    metadata: dict[str, str] | None = None,
    inputs: dict[str, list[Any]] | None = None,
) -> Path:
    """Write a model with the input ``x`` (any, 8)."""

    def infos(values: dict[str, list[Any]]) -> list[Any]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in values.items()
        ]

    tensors = [
        numpy_helper.from_array(value, name) if isinstance(value, np.ndarray) else value
        for name, value in stored.items()
    ]
    made = helper.make_graph(
        nodes,
        "made",
        infos({"x": ["count", WIDTH], **(inputs or {})}),
        infos({"y": ["count", SEEN]} if outputs is None else outputs),
        tensors,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    path.write_bytes(model.SerializeToString())
    return path


def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), output.split(), **attributes)


def linear(path: Path, **options: Any) -> Path:
    """Write the smallest classifier."""
    bias = np.arange(SEEN, dtype=np.float32)
    stored = {"fc.weight": weights(), "fc.bias": bias}
    return graph(path, [node("Gemm", "x fc.weight fc.bias", "y", transB=1)], stored, **options)


BIAS = np.linspace(-1, 1, SEEN, dtype=np.float32)
TURNED = np.ascontiguousarray(weights().T)


def run_all(path: Path, x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


GEMM = node("Gemm", "x W b", "y", transB=1)
FC = {"W": weights(), "b": BIAS}

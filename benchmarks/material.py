"""Made-up checkpoints and descriptors of any size, written without holding them in memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icis_cli.arrays import FloatArray

#: A convolution of 67 MB, as many of which make a checkpoint as fit.
_BODY = (1024, 1820, 3, 3)


@dataclass(frozen=True)
class Problem:
    """Files of a classifier with K classes and of the descriptors of K+U classes, in row order.

    Attributes:
        weights: a ``.safetensors``.
        descriptors: a ``.npy`` (K+U, d).
        names: of its rows, one a line.
        seen: K.
        unseen: U.

    """

    weights: Path
    descriptors: Path
    names: Path
    seen: int
    unseen: int


def make_problem(
    folder: Path, size: int, *, seen: int = 1000, unseen: int = 200, d: int = 128, width: int = 2048
) -> Problem:
    """Write a classifier whose rows follow from descriptors, in ``size`` bytes or a bit more."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptors, rows = pairs(seen, unseen, d, width)
    problem = Problem(
        folder / "model.safetensors", folder / "all.npy", folder / "all.txt", seen, unseen
    )
    np.save(problem.descriptors, descriptors)
    write_names(problem.names, seen + unseen)
    write_checkpoint(problem.weights, rows, size)
    return problem


def pairs(seen: int, unseen: int, d: int, width: int) -> tuple[FloatArray, FloatArray]:
    """Return descriptors (K+U, d), and rows with biases (K, D+1) that follow from them."""
    generator = np.random.default_rng(0)
    descriptors = generator.standard_normal((seen + unseen, d), dtype=np.float32)
    mix = generator.standard_normal((d, width + 1), dtype=np.float32) / np.float32(d)
    noise = generator.standard_normal((seen, width + 1), dtype=np.float32) * np.float32(0.03)
    rows: FloatArray = descriptors[:seen] @ mix + noise
    return descriptors, rows


def write_names(path: Path, count: int, prefix: str = "class") -> None:
    """Write names, one a line."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{prefix} {number}\n" for number in range(count))


def write_checkpoint(path: Path, rows: FloatArray, size: int) -> None:
    """Write convolutions and then the head ``fc`` of rows (K, D+1) as one ``.safetensors``."""
    body = np.random.default_rng(1).standard_normal(_BODY, dtype=np.float32)
    count = max(1, -(-(size - rows.nbytes) // body.nbytes)) if size > rows.nbytes else 0
    tensors = {f"body.{n:03}.weight": body for n in range(count)}
    write_safetensors(path, {**tensors, **head_of(rows)})


def head_of(rows: FloatArray) -> dict[str, FloatArray]:
    """Return rows (K, D+1) as the tensors of a head ``fc``."""
    return {
        "fc.weight": np.ascontiguousarray(rows[:, :-1]),
        "fc.bias": np.ascontiguousarray(rows[:, -1]),
    }


def write_safetensors(path: Path, tensors: dict[str, FloatArray]) -> None:
    """Write float32 tensors one after the other; the package would first join all of them."""
    header: dict[str, object] = {}
    end = 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [end, end + tensor.nbytes],
        }
        end += tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.data)


def write_shards(folder: Path, rows: FloatArray, size: int, shards: int = 4) -> None:
    """Write the same as :func:`write_checkpoint` in several files with an index, the head last."""
    folder.mkdir(parents=True, exist_ok=True)
    body = np.random.default_rng(1).standard_normal(_BODY, dtype=np.float32)
    each = max(1, size // (shards - 1) // body.nbytes)
    where: dict[str, str] = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        last = shard == shards - 1
        tensors = (
            head_of(rows) if last else {f"body.{shard}.{n:03}.weight": body for n in range(each)}
        )
        write_safetensors(folder / name, tensors)
        where.update(dict.fromkeys(tensors, name))
    total = sum(path.stat().st_size for path in folder.iterdir())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")

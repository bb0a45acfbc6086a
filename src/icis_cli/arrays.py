"""Array types and the byte-level dtypes of checkpoints, without torch.

Rows are predicted in float32; a head may be stored in any float dtype. ``encode`` and ``decode``
convert between float32 values and the stored little-endian bytes, bfloat16 included (numpy has
none), so that both containers round in exactly the same way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

#: Bytes per element of the dtypes that a checkpoint may hold, by their safetensors code.
ITEM_SIZE: dict[str, int] = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip

#: The dtypes a head may have.
HEAD_DTYPES = ("F32", "F16", "BF16", "F64")

_NUMPY = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}


def decode(data: bytes | memoryview, dtype: str, shape: tuple[int, ...]) -> FloatArray:
    """Turn stored little-endian bytes of a float ``dtype`` into a float32 array of ``shape``."""
    if dtype == "BF16":
        upper = np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16
        return upper.view(np.float32).reshape(shape)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite
        return np.frombuffer(data, dtype=_NUMPY[dtype]).astype(np.float32).reshape(shape)


def encode(values: FloatArray, dtype: str) -> bytes:
    """Turn float32 ``values`` into little-endian bytes of ``dtype``, rounding to nearest even.

    Raises:
        OverflowError: a finite value does not fit into ``dtype``.

    """
    if dtype == "BF16":
        bits = np.ascontiguousarray(values, dtype="<f4").view(np.uint32).astype(np.uint64)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        stored = rounded.astype("<u2")
    else:
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(values, dtype=_NUMPY[dtype])
    data = stored.tobytes()
    if not np.isfinite(decode(data, dtype, values.shape)[np.isfinite(values)]).all():
        raise OverflowError(f"a predicted value is too large for {dtype}")
    return data


def unit_rows(values: FloatArray) -> FloatArray:
    """Divide each row of ``values`` (N, D) by its Euclidean norm; a zero row stays zero."""
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    unit: FloatArray = np.divide(values, norms, out=np.zeros_like(values), where=norms > 0)
    return unit

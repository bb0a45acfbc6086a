"""Files that people take for a checkpoint and that are none: told by their first bytes.

Each is refused by name with the way out, instead of by what a reader of something else says of it.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from icis_cli.errors import CheckpointError

_STATE_DICT = "torch.save(model.state_dict(), 'model.pt')"
_PORT = "load it into the PyTorch version of the network, then " + _STATE_DICT

_NO_CHECKPOINT = "give the classifier as --weights, descriptors as --attrs"

#: First bytes, where they lie, what the file then is, and the way out.
_STARTS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "is an HDF5 file (as Keras writes .h5)", _PORT),
    (0, b"GGUF", "is a GGUF file, mostly quantised", "use the checkpoint that it was made from"),
    (4, b"TFL3", "is a TensorFlow Lite model", _PORT),
    (0, b"\x93NUMPY", "is a numpy array, not a checkpoint", _NO_CHECKPOINT),
    (0, b"PAR1", "is a Parquet table, not a checkpoint", _NO_CHECKPOINT),
    (0, b"version https://git-lfs", "is a Git LFS pointer, not the file", "run git lfs pull"),
    (0, b"\x1f\x8b", "is compressed with gzip", "unpack it first: gunzip, or tar xzf"),
    (0, b"<!DOCTYPE", "is a web page, not a checkpoint", "download the file itself"),
    (0, b"<html", "is a web page, not a checkpoint", "download the file itself"),
)

#: What a zip archive without a pickle of PyTorch's is, by the end of a member's name.
_MEMBERS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("/archive_format", "serialized_exported_program.json"),
        "is a program made by torch.export (.pt2), not a state dict",
        "torch.save(torch.export.load(FILE).state_dict, 'model.pt'), and give that to icis",
    ),
    (("model.weights.h5",), "is a Keras model", _PORT),
    ((".npy",), "is an archive of numpy arrays, not a PyTorch checkpoint", _PORT),
    (
        (".pt", ".pth", ".bin", ".ckpt", ".safetensors"),
        "is a zip archive with a checkpoint in it",
        "unpack it first",
    ),
)
#: First bytes of the fields that follow the version of an ONNX model.
_AFTER_VERSION = frozenset({0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72})

_PICKLE, _SCRIPT = "data.pkl", "constants.pkl"


def refuse_others(path: Path, start: bytes) -> None:
    """Refuse a file that is of a known kind, but no checkpoint that can be read.

    Args:
        path: of the file.
        start: its first bytes, 24 or more where it has so many.

    Raises:
        CheckpointError: it is one; naming the kind and the way out.

    """
    for position, magic, problem, hint in _STARTS:
        if start[position : position + len(magic)] == magic:
            raise CheckpointError(path, problem, hint)
    if _is_msgpack(start):
        raise CheckpointError(path, "is a msgpack file (as Flax writes)", _PORT)
    if start[:4] == b"PK\x03\x04":
        _refuse_archive(path)


def refuse_misnamed(path: Path, start: bytes) -> None:
    """Refuse a file named as an ONNX model whose first bytes are those of another checkpoint.

    Raises:
        CheckpointError: it is one; naming the kind.

    """
    size = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and size < path.stat().st_size:
        raise _misnamed(path, "a safetensors file", ".safetensors")
    refuse_others(path, start)
    if start[:4] == b"PK\x03\x04" or start[:2] == b"\x80\x02":
        raise _misnamed(path, "a PyTorch file", ".pt")


def refuse_onnx(path: Path, start: bytes) -> None:
    """Refuse a file that begins as ONNX models do: the version, then who made it, or the graph.

    Raises:
        CheckpointError: it does.

    """
    if start[:1] == b"\x08" and 0 < start[1] < 0x80 and start[2] in _AFTER_VERSION:
        raise _misnamed(path, "an ONNX model", ".onnx")


def _misnamed(path: Path, what: str, suffix: str) -> CheckpointError:
    return CheckpointError(
        path, f"is {what}, whatever its name says", f"rename it to {path.stem}{suffix}"
    )


def _is_msgpack(start: bytes) -> bool:
    """Tell whether it starts with a map whose first key is a text; empty maps are no model."""
    body = {0xDE: 3, 0xDF: 5}.get(start[0], 1 if 0x81 <= start[0] <= 0x8F else 0) if start else 0
    key = start[body : body + 1]
    return bool(body and key) and (0xA1 <= key[0] <= 0xBF or key[0] == 0xD9)


def _refuse_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # a damaged archive can raise anything; torch tells of it
        return
    if any(name.endswith(f"/{_SCRIPT}") for name in names):
        raise CheckpointError(
            path,
            "is a TorchScript archive, not a state dict",
            "torch.save(torch.jit.load(FILE).state_dict(), 'model.pt'), and give that to icis",
        )
    if any(name.endswith(_PICKLE) for name in names):
        return
    for ends, problem, hint in _MEMBERS:
        if any(name.endswith(ends) for name in names):
            raise CheckpointError(path, problem, hint)

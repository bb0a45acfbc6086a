"""ONNX models (``.onnx``): a graph with its weights, whose final linear layer gets rows.

Read with the ``onnx`` package (extra ``onnx``), never run. To the rest of the package the stored
tensors are the state dict, and those of the final layer are ``KEY.weight`` (K, D) and ``KEY.bias``
(K,), however the graph keeps them. A new file has the same graph, with more classes in the shapes
that count them. It holds all weights itself, also those that lay in other files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from icis_cli.arrays import ITEM_SIZE
from icis_cli.checkpoint.base import Buffer, Checkpoint, Edit, Extras, Labels, TensorInfo
from icis_cli.checkpoint.onnx_fields import require_few_fields
from icis_cli.checkpoint.onnx_graph import Final, class_dimensions, find_final
from icis_cli.checkpoint.onnx_tensors import (
    bytes_of,
    info_of,
    is_external,
    place_of,
    require_own,
)
from icis_cli.checkpoint.onnx_writing import (
    LARGEST,
    Part,
    as_it_is,
    filled,
    model_size,
    write_model,
)
from icis_cli.errors import CheckpointError, OutputError, first_line
from icis_cli.files import sha256_of
from icis_cli.runtime import import_extra

_TOO_LARGE = (
    "an ONNX file holds 2 GB at most: give the PyTorch checkpoint to icis, and export the new one"
)


@dataclass(frozen=True)
class OnnxCheckpoint(Checkpoint):
    """An ONNX model.

    Attributes:
        frame: the ``ModelProto`` without the tensors that are stored in its graph.
        stored: name -> ``TensorProto`` of these, in file order.
        names: key -> name of the stored tensor. They differ in the final layer alone. Tensors of
            types that no other container knows have no key.
        final: the final layer.

    """

    container: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    frame: Any = None
    stored: Mapping[str, Any] = None  # type: ignore[assignment]
    names: Mapping[str, str] = None  # type: ignore[assignment]
    final: Final = None  # type: ignore[assignment]

    @classmethod
    def open(cls, path: Path) -> OnnxCheckpoint:
        """Read the model at ``path``; weights in other files stay there until they are asked for.

        Raises:
            CheckpointError: it is no ONNX model, or none whose final layer can get rows.
            InstallationError: the package ``onnx`` is not installed.

        """
        frame = _parse(path)
        tensors = list(frame.graph.initializer)
        frame.graph.ClearField("initializer")
        infos = {tensor.name: info_of(path, tensor) for tensor in tensors}
        if len(infos) < len(tensors):
            raise CheckpointError(path, "stores two tensors under one name", "export it again")
        known = {name: info for name, info in infos.items() if info is not None}
        if sum(info.size for info in known.values()) > LARGEST:
            raise CheckpointError(path, "has more than 2 GB of weights", _TOO_LARGE)
        require_own(path, frame, [tensor for tensor in tensors if tensor.name not in known])
        stored = {tensor.name: tensor for tensor in tensors}
        final = find_final(path, frame.graph, stored)
        key = _key(final, stored)
        own = {final.weight: f"{key}.weight", final.bias: f"{key}.bias"}
        names = {own.get(name, name): name for name in known}
        return cls(
            path,
            {key: _shown(final, name, known[name]) for key, name in names.items()},
            _metadata(path, frame),
            Labels(heads=(key,)),
            _notes(path, stored),
            frame,
            stored,
            names,
            final,
        )

    @property
    def key(self) -> str:
        """The key of the final layer."""
        return self.labels.heads[0]

    @property
    def files(self) -> tuple[Path, ...]:
        others = {
            place_of(self.path, self.stored[name], self.tensors[key]).file: None
            for key, name in self.names.items()
            if is_external(self.stored[name]) and key in self.tensors
        }
        return (self.path, *others)

    def sha256(self) -> str:
        """Return the sha256 of the file, or of all files where weights lie in others.

        It is then what ``sha256sum FILE... | LC_ALL=C sort | sha256sum`` prints in the folder.
        """
        if len(self.files) == 1:
            return sha256_of(self.path)
        folder = self.path.parent
        lines = sorted(
            f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in self.files
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def raw(self, key: str) -> Buffer:
        name, info = self.names[key], self.tensors[key]
        data = bytes_of(self.path, self.stored[name], info)
        if name == self.final.weight and self.final.transposed:
            return _transposed(data, info.dtype, info.shape[::-1])
        return data

    def write_copy(self, stream: IO[bytes], edits: Mapping[str, Edit], extras: Extras) -> None:
        head = {f"{self.key}.weight", f"{self.key}.bias"}
        others = sorted((set(edits) - head) | (set(self.names) - set(self.tensors)))
        if others:
            raise CheckpointError(
                self.path,
                f"{others[0]!r} cannot change: its graph can get rows in {self.key!r} alone",
                f"leave out --head, or name {self.key}",
            )
        frame = _copy(self.frame)
        if edits:
            for dimension in class_dimensions(frame.graph, self.final.axes):
                if dimension.dim_value:
                    dimension.dim_value = edits[f"{self.key}.weight"].info.shape[0]
        _put_metadata(frame, extras.metadata if extras.final is None else extras.final())
        keys = {name: key for key, name in self.names.items()}
        parts = [self._part(name, keys.get(name), edits) for name in self.stored]
        if model_size(frame, parts) > LARGEST:
            raise CheckpointError(self.path, "would have more than 2 GB with new rows", _TOO_LARGE)
        write_model(stream, frame, parts)

    @classmethod
    def write_converted(
        cls,
        stream: IO[bytes],
        source: Checkpoint,
        edits: Mapping[str, Edit],  # noqa: ARG003
        extras: Extras,  # noqa: ARG003
    ) -> None:
        raise OutputError(Path(stream.name), f"cannot be made of {source.path}: it has no graph")

    def frame_digest(self, without: str) -> str:
        """Return a sha256 of all that is no tensor: graph, types, metadata.

        It is the same where only the number of classes differs, and the metadata entry named by
        ``without``.
        """
        frame = _copy(self.frame)
        for dimension in class_dimensions(frame.graph, self.final.axes):
            dimension.ClearField("dim_value")
        _put_metadata(frame, {k: v for k, v in self.metadata.items() if k != without})
        digest = hashlib.sha256(frame.SerializeToString(deterministic=True))
        known = set(self.names.values())
        for name, tensor in self.stored.items():
            digest.update(name.encode() if name in known else tensor.SerializeToString())
        return digest.hexdigest()

    def _part(self, name: str, key: str | None, edits: Mapping[str, Edit]) -> Part:
        """Return a stored tensor as it will be written."""
        tensor = self.stored[name]
        if key is not None and key in edits:
            edit = edits[key]
            if name == self.final.weight and self.final.transposed:
                shape = edit.info.shape[::-1]
                data = _transposed(b"".join(edit.parts), edit.info.dtype, edit.info.shape)
                return filled(tensor, shape, edit.info.size, (data,))
            shape = (*tensor.dims[: len(tensor.dims) - len(edit.info.shape)], *edit.info.shape)
            return filled(tensor, shape, edit.info.size, edit.parts)
        if key is not None and is_external(tensor):
            return filled(tensor, tensor.dims, self.tensors[key].size, self._read(key))
        return as_it_is(tensor)

    def _read(self, key: str) -> Iterator[Buffer]:
        yield bytes_of(self.path, self.stored[self.names[key]], self.tensors[key])


def _parse(path: Path) -> Any:
    """Read an ONNX file into a ``ModelProto``."""
    onnx = import_extra("onnx", "onnx", f"{path.name}: an ONNX model")
    protobuf = import_extra("google.protobuf.message", "onnx", "an ONNX model")

    if path.stat().st_size > LARGEST:
        raise CheckpointError(path, "is larger than 2 GB", _TOO_LARGE)
    data = path.read_bytes()
    require_few_fields(path, data, onnx.ModelProto.DESCRIPTOR)
    try:
        model = onnx.ModelProto.FromString(data)
    except (protobuf.DecodeError, ValueError) as error:
        reason = first_line(error)
        raise CheckpointError(path, f"is no ONNX model ({reason})", "export it again") from None
    if not model.HasField("graph") or not model.graph.output:
        raise CheckpointError(path, "is no ONNX model: it has no graph", "export it again")
    return model


def _key(final: Final, stored: Mapping[str, Any]) -> str:
    """Return the key of the final layer: as in the network it was exported from, if it tells."""
    named = ((final.weight, ".weight"), (final.bias or "", ".bias"))
    own = {final.weight, final.bias}
    keys = [name.removesuffix(end) for name, end in named if name.endswith(end) and name != end]
    for key in (*keys, final.weight):
        others = {name for _, end in named if (name := f"{key}{end}") in stored} - own
        if not others and not key.endswith((".weight", ".bias", ".")):  # as --head takes it
            return key
    return f"{final.weight}.final"


def _shown(final: Final, name: str, info: TensorInfo) -> TensorInfo:
    """Return a stored tensor as other modules see it: weight (K, D), bias (K,)."""
    if name == final.weight and final.transposed:
        return TensorInfo(info.dtype, info.shape[::-1])
    if name == final.bias:
        return TensorInfo(info.dtype, info.shape[-1:])
    return info


def _notes(path: Path, stored: Mapping[str, Any]) -> tuple[str, ...]:
    if not any(map(is_external, stored.values())):
        return ()
    return (f"weights of {path.name} lie in another file; a new file will hold them itself",)


def _transposed(data: Buffer, dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return the bytes of a matrix of ``shape`` the other way round."""
    values = np.frombuffer(data, dtype=f"<u{ITEM_SIZE[dtype]}").reshape(shape)
    return np.ascontiguousarray(values.T).tobytes()


def _copy(frame: Any) -> Any:
    copy = type(frame)()
    copy.CopyFrom(frame)
    return copy


def _metadata(path: Path, model: Any) -> dict[str, str]:
    entries = {entry.key: entry.value for entry in model.metadata_props}
    if not all(isinstance(text, str) for text in (*entries, *entries.values())):
        raise CheckpointError(path, "has metadata that is no text (UTF-8)", "export it again")
    return entries


def _put_metadata(model: Any, metadata: Mapping[str, str]) -> None:
    """Make ``metadata`` the entries of a model: those that stay keep their places."""
    kept = {
        entry.key: metadata[entry.key] for entry in model.metadata_props if entry.key in metadata
    }
    model.ClearField("metadata_props")
    for key, value in {**kept, **metadata}.items():
        model.metadata_props.add(key=key, value=value)

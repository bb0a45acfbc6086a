"""What is in a file that a command wrote, as lines.

Old tensors and rows, those whose bytes are in the material, are told by their hash and must be the
same to the bit everywhere. What was computed is told in numbers, which may differ in their last
digits from processor to processor.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load

from tools.golden.normal import Normal, as_json, outline

#: Arrays of more computed numbers are told by their size.
SHOWN = 64

_MARKUP = re.compile(r"(<(?:style|script)\b.*?</(?:style|script)>|<[^>]*>)", re.DOTALL)
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_EMBEDDED = re.compile(r"data:[^\"')]*")


def short_hash(content: bytes) -> str:
    """Return the first digits of a sha256."""
    return hashlib.sha256(content).hexdigest()[:12]


def _plain(tensor: torch.Tensor) -> NDArray[Any]:
    """Return numbers as numpy has them; all of bfloat16 are float32, too."""
    small = tensor.is_floating_point() and tensor.element_size() <= 2
    return (tensor.float() if small else tensor).numpy()


def _safetensors(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return a header and the arrays that it lists."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, tensors = json.loads(content[8 : 8 + length]), load(content)
    return header, {key: _plain(tensors[key]) for key in header if key != "__metadata__"}


def _flattened(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what dictionaries in each other hold."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _flattened(part, f"{path} / {key}" if path else str(key))
    else:
        yield path, value


def arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file; none where it has none, or is not of a known kind."""
    suffix, start = path.suffix, path.read_bytes()[:4]
    try:
        if suffix == ".safetensors":
            return _safetensors(path)[1]
        if suffix == ".npy":
            return {"array": np.load(path)}
        if suffix == ".npz":
            with np.load(path) as archive:
                return dict(archive)
        if suffix == ".onnx":
            return _initializers(path)
        if start[:2] in (b"PK", b"\x80\x02"):
            loaded = torch.load(path, weights_only=True)
            found = _flattened(loaded)
            return {key: _plain(value) for key, value in found if torch.is_tensor(value)}
    except Exception:  # damaged on purpose
        return {}
    return {}


def _initializers(path: Path) -> dict[str, NDArray[Any]]:
    import onnx

    tensors = onnx.load(path).graph.initializer
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tensors}


def known_parts(folder: Path) -> frozenset[str]:
    """Return hashes of all arrays of a folder, and of their rows."""
    found = set()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            for array in arrays_of(path).values():
                found.add(short_hash(array.tobytes()))
                if array.ndim and array.dtype.kind == "f":
                    found.update(short_hash(row.tobytes()) for row in array)
    return frozenset(found)


class Contents:
    """Tells what is in files.

    Attributes:
        known: hashes of arrays and rows that are given, not computed.
        normal: takes what differs from run to run out of texts.

    """

    def __init__(self, known: frozenset[str], normal: Normal) -> None:
        self.known = known
        self.normal = normal

    def lines(self, path: Path) -> Iterator[str]:
        """Yield lines about a file."""
        content = path.read_bytes()
        if path.suffix == ".safetensors":
            yield from self._safetensors(path)
        elif path.suffix == ".html":
            yield from self._page(content.decode())
        elif path.suffix == ".onnx":
            yield from self._graph(path)
        elif content[:2] == b"PK":
            yield from self._archive(path)
        else:
            yield from self._text(content)

    def _text(self, content: bytes) -> Iterator[str]:
        try:
            text = content.decode()
        except UnicodeDecodeError:
            yield f"{len(content)} bytes {short_hash(content)}"
            return
        found = as_json(text)
        if found is not None:
            text = "\n".join(outline(found))
        elif has_times(content):
            text = _without_seconds(text)
        yield from self.normal.text(text).splitlines()

    def _safetensors(self, path: Path) -> Iterator[str]:
        header, arrays = _safetensors(path)
        for key, text in header.pop("__metadata__", {}).items():
            found = as_json(text)
            texts = [f"{key}: {line}" for line in outline(found)] if found else [f"{key}: {text}"]
            for line in texts:
                yield self.normal.text(line)
        for key, array in arrays.items():
            yield from self.array(key, header[key]["dtype"], array)

    def _archive(self, path: Path) -> Iterator[str]:
        """Tell of a zip, as torch and numpy write them."""
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                told = f"{entry.filename} {entry.file_size} bytes at {entry.header_offset}"
                data = entry.filename.endswith((".npy", "/.data/serialization_id"))
                data = data or "/data/" in entry.filename
                yield told if data else f"{told} {short_hash(archive.read(entry))}"
        if path.suffix == ".npz":
            values: Mapping[str, Any] = arrays_of(path)
        else:
            loaded = torch.load(path, weights_only=True)
            values = dict(_flattened(loaded))
        for key, value in values.items():
            if torch.is_tensor(value):
                yield from self.array(key, str(value.dtype)[6:], _plain(value))
            elif isinstance(value, np.ndarray):
                yield from self.array(key, str(value.dtype), value)
            else:
                yield f"{key} = {str(value)[:200]}"

    def _graph(self, path: Path) -> Iterator[str]:
        import onnx

        model = onnx.load(path)
        arrays = _initializers(path)
        for entry in model.metadata_props:
            found = as_json(entry.value)
            for line in outline(found) if found else [entry.value]:
                yield self.normal.text(f"{entry.key}: {line}")
        model.graph.ClearField("initializer")
        model.ClearField("metadata_props")
        yield from str(model).rstrip("\n").splitlines()
        for key, array in arrays.items():
            yield from self.array(key, str(array.dtype), array)

    def _page(self, text: str) -> Iterator[str]:
        """Tell the words of a page, and the hash of its markup without numbers."""
        parts = _MARKUP.split(_EMBEDDED.sub(_hashed, text))
        markup = "".join(parts[1::2])
        masked = _NUMBER.sub("#", self.normal.text(markup))
        yield f"markup {len(parts) // 2} tags {short_hash(masked.encode())}"
        words = (" ".join(html.unescape(part).split()) for part in parts[::2])
        told = "\n".join(filter(None, words))
        yield from self.normal.text(told).splitlines()

    def array(self, name: str, dtype: str, array: NDArray[Any]) -> Iterator[str]:
        """Yield lines about an array: a hash, or numbers where they are computed."""
        title = f"{name} {dtype} {'x'.join(map(str, array.shape)) or 'scalar'}"
        parts = array if array.ndim else array[None]
        if array.dtype.kind != "f" or self._given(array):
            yield f"{title} {short_hash(array.tobytes())}"
            return
        given = [self._given(row) for row in parts]
        old = given.index(False) if False in given else len(given)
        if old == len(given) or array.ndim == 0:
            old = 0
        if old and array.ndim:
            yield f"{title}, the first {old} {short_hash(parts[:old].tobytes())}, then"
        computed = parts[old:].astype(np.float64)
        size = float(np.sqrt(np.mean(computed**2))) if computed.size else 0.0
        if computed.size > SHOWN:
            yield f"{'    ' if old else title + ' '}computed, root mean square {size:.4g}"
            return
        if not old:
            yield f"{title} computed:"
        decimals = max(0, 2 - int(np.floor(np.log10(size)))) if size else 0
        for row in computed.reshape(len(computed) if array.ndim > 1 else 1, -1):
            yield "    " + " ".join(f"{value + 0.0:.{decimals}f}" for value in row)

    def _given(self, part: NDArray[Any]) -> bool:
        """Tell whether numbers are copied: they are in the material, or all sixty-fourths."""
        if short_hash(part.tobytes()) in self.known:
            return True
        scaled = part.astype(np.float64) * 64
        whole = bool(np.all(scaled == np.round(scaled)))
        return whole and part.dtype.itemsize >= 4


def _hashed(match: re.Match[str]) -> str:
    return "data:" + short_hash(match[0].encode())


def has_times(content: bytes) -> bool:
    """Tell whether a file is a table that has a column of times, which differ each time."""
    return b"_seconds" in content.partition(b"\n")[0]


def _without_seconds(text: str) -> str:
    """Return a CSV without the numbers in columns of seconds."""
    titles, *rows = csv.reader(io.StringIO(text))
    timed = ["seconds" in title for title in titles]
    lines = [",".join(titles)]
    for row in rows:
        cells = zip(timed, row, strict=True)
        lines.append(",".join("#" if hidden else value for hidden, value in cells))
    return "\n".join(lines)

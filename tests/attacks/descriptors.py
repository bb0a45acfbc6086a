"""Hostile descriptor files, lists, samples and images; as the checkpoints beside them."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from tests.attacks.checkpoints import CANARY, ESCAPE, Make, _header, _Runs, _tensor, _written


def _npy(values: Any, *, pickled: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=pickled)
    return stream.getvalue()


def _npy_header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


def _claims(shape: str, dtype: str = "<f4") -> bytes:
    return _npy_header(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n")


def _npz(compression: int = zipfile.ZIP_STORED, **parts: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def _mat(**values: Any) -> bytes:
    stream = io.BytesIO()
    scipy.io.savemat(stream, values)
    return stream.getvalue()


def _rows(names: list[str], width: int = 3) -> str:
    values = np.random.default_rng(0).standard_normal((len(names), width))
    return "".join(
        ",".join((name, *(f"{value:.3f}" for value in row))) + "\n"
        for name, row in zip(names, values, strict=True)
    )


GOOD = np.random.default_rng(0).standard_normal((12, 4)).astype("f4")
#: A column of 1e38 beside a column of 1e-44.
WILD = np.concatenate([GOOD, np.full((12, 1), np.nan)], axis=1)

NUMPY: dict[str, Make] = {
    "a header that claims 4 TB": _written("d.npy", lambda _: _claims("(1000000, 1000000)")),
    "a header that claims 2**70": _written("d.npy", lambda _: _claims(f"({2**35}, {2**35})")),
    "a negative shape": _written("d.npy", lambda _: _claims("(-1, 4)")),
    "a header that is code": _written(
        "d.npy", lambda folder: _npy_header(f"__import__('os').system('touch {folder / CANARY}')")
    ),
    "a header 10,000 deep": _written("d.npy", lambda _: _npy_header("(" * 10_000)),
    "objects": _written("d.npy", lambda _: _npy(np.array([[1, None]] * 12), pickled=True)),
    "objects that run code": _written(
        "d.npy", lambda folder: _npy(np.array([_Runs(folder)] * 12), pickled=True)
    ),
    "objects in an archive": _written(
        "d.npz", lambda folder: _npz(d=_npy(np.array([_Runs(folder)] * 12), pickled=True))
    ),
    "half a file": _written("d.npy", lambda _: _npy(GOOD)[:150]),
    "half an archive": _written("d.npz", lambda _: _npz(d=_npy(GOOD))[:150]),
    "a part that claims 4 TB": _written("d.npz", lambda _: _npz(d=_claims("(1000000, 1000000)"))),
    "a bomb of 4 GB": _written(
        "d.npz", lambda _: _npz(zipfile.ZIP_DEFLATED, d=_claims("(1000000, 1000)"))
    ),
    "text for numbers": _written("d.npy", lambda _: _npy(np.array([["a", "b"]] * 12))),
    "NaN": _written("d.npy", lambda _: _npy(WILD)),
    "infinity": _written("d.npy", lambda _: _npy(np.where(GOOD > 1, np.inf, GOOD))),
    "denormal numbers": _written("d.npy", lambda _: _npy(GOOD * np.float32(1e-42))),
    "complex numbers": _written("d.npy", lambda _: _npy(GOOD.astype(complex))),
    "records": _written("d.npy", lambda _: _npy(np.zeros(12, dtype=[("a", "f4"), ("b", "f4")]))),
    "no rows": _written("d.npy", lambda _: _npy(np.zeros((0, 4)))),
    "seven dimensions": _written("d.npy", lambda _: _npy(np.zeros((2,) * 7))),
}


def _bomb(folder: Path) -> str:
    """Make an archive whose part becomes 1000 times as large."""
    with (
        zipfile.ZipFile(folder / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("d.npy", "w", force_zip64=True) as part,
    ):
        part.write(_claims("(1000000, 400)"))
        for _ in range(400):
            part.write(bytes(4_000_000))
    return "d.npz"


NUMPY["a bomb of 1.6 GB in 1.6 MB"] = _bomb

TABLES: dict[str, Make] = {
    "a million columns": _written(
        "d.csv", lambda _: (b"a" + b",1" * 1_000_000 + b"\n" + b"b,1,2\n") * 1
    ),
    "broken encoding": _written("d.csv", lambda _: b"a,1,2\nb\xff\xfe,3,4\n" * 6),
    "zeros": _written("d.csv", lambda _: bytes(1000)),
    "an open quote": _written("d.csv", lambda _: b'"a,1,2\n' + b"b,1,2\n" * 50_000),
    "a field of a megabyte": _written("d.csv", lambda _: b"a," + b"9" * 1_000_000 + b"\nb,1\n"),
    "rows of other lengths": _written("d.csv", lambda _: b"a,1,2\nb,1\nc,1,2,3\n"),
    "words for numbers": _written("d.csv", lambda _: b"a,1,x\nb,1,2\n" * 6),
    "NaN": _written("d.csv", lambda _: b"a,1,nan\nb,1,2\n"),
    "a number beyond floats": _written("d.csv", lambda _: b"a,1,1e999\nb,1,2\n"),
    "escapes as names, twice": _written(
        "d.csv",
        lambda _: (
            _rows([json.dumps(ESCAPE)[1:-1].encode().decode("unicode_escape")] * 2)
            .replace("\r\n", " ")
            .encode("latin-1", "replace")
        ),
    ),
    "an empty file": _written("d.csv", lambda _: b""),
    "gzip named csv": _written("d.csv", lambda _: gzip.compress(b"a,1,2\n" * 1000)),
    "half of UTF-16": _written("d.csv", lambda _: "a,1,2\nb,3,4\n".encode("utf-16")[:-1]),
    "half a pair in UTF-16": _written("d.csv", lambda _: b"\xff\xfe\x00\xd8,\0" * 6),
    "a UTF-16 of zeros": _written("d.csv", lambda _: b"\xff\xfe" + bytes(1000)),
    "half a character": _written("d.csv", lambda _: "é".encode()[:1] * 5),
}

JSON: dict[str, Make] = {
    "10,000 deep": _written("d.json", lambda _: b"[" * 10_000 + b"]" * 10_000),
    "10,000 deep objects": _written("d.json", lambda _: b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    "a number of 100,000 digits": _written(
        "d.json", lambda _: b'{"a": [1, ' + b"9" * 100_000 + b'], "b": [1, 2]}'
    ),
    "NaN": _written("d.json", lambda _: b'{"a": [1, NaN], "b": [1, 2]}'),
    "a name twice": _written("d.json", lambda _: b'{"a": [1, 3], "a": [1, 2], "b": [2, 2]}'),
    "a string": _written("d.json", lambda _: b'"text"'),
    "half a file": _written("d.json", lambda _: b'{"a": [1, 2], "b": [1'),
    "no text": _written("d.json", lambda _: b"\xff\xfe\x00\x01"),
    "objects for numbers": _written("d.json", lambda _: b'{"a": [{}, {}], "b": [1, 2]}'),
}

MATLAB: dict[str, Make] = {
    "nested objects": _written("d.mat", lambda _: _mat(att={"a": {"b": np.ones(3)}})),
    "cells of cells of cells": _written(
        "d.mat",
        lambda _: _mat(att=np.ones((4, 12)), allclasses_names=_nested(9)),
    ),
    "a compressed bomb": _written("d.mat", lambda _: _mat_bomb()),
    "half a file": _written("d.mat", lambda _: _mat(att=np.ones((4, 12)))[:300]),
    "a size beyond the file": _written(
        "d.mat", lambda _: _mat(att=np.ones((4, 12)))[:132] + b"\xff\xff\xff\x7f" + bytes(400)
    ),
    "a header alone": _written("d.mat", lambda _: _mat(att=np.ones((4, 12)))[:128]),
    "no variable att": _written("d.mat", lambda _: _mat(other="text")),
    "complex numbers": _written("d.mat", lambda _: _mat(att=np.ones((4, 12)) * 1j)),
    "HDF5 magic and nothing else": _written("d.mat", lambda _: b"\x89HDF\r\n\x1a\n" + bytes(600)),
}


def _nested(depth: int) -> Any:
    cell: Any = "name"
    for _ in range(depth):
        inner = np.empty(1, dtype=object)
        inner[0] = cell
        cell = inner
    return cell


def _mat_bomb() -> bytes:
    head = _mat(att=np.ones((4, 12)))[:128]
    inner = struct.pack("<II", 14, 1 << 30) + bytes(1 << 22)
    packed = zlib.compress(inner)
    return head + struct.pack("<II", 15, len(packed)) + packed


def _pipe(folder: Path) -> str:
    os.mkfifo(folder / "d.csv")
    return "d.csv"


def _folder(folder: Path) -> str:
    (folder / "d.csv").mkdir()
    return "d.csv"


OTHERS: dict[str, Make] = {
    "safetensors out of range": _written(
        "d.safetensors", lambda _: _header({"d": _tensor(0, 4_000_000_000, [100_000, 10_000])})
    ),
    "safetensors of text": _written("d.safetensors", lambda _: b"nothing of this kind"),
    "parquet magic alone": _written("d.parquet", lambda _: b"PAR1" + bytes(100) + b"PAR1"),
    "parquet with a footer beyond the file": _written(
        "d.parquet", lambda _: b"PAR1" + bytes(10) + b"\xff\xff\xff\x7fPAR1"
    ),
    "vectors of other lengths": _written("d.vec", lambda _: b"a 1 2\nb 1 2 3\n" * 6),
    "vectors that claim a billion": _written("d.vec", lambda _: b"1000000000 300\na 1 2\n"),
    "an unknown suffix": _written("d.xyz", lambda _: b"1,2"),
    "a pipe": _pipe,
    "a folder": _folder,
}

DESCRIPTORS: dict[str, dict[str, Make]] = {
    "hostile numpy files": NUMPY,
    "hostile tables": TABLES,
    "hostile JSON": JSON,
    "hostile MATLAB files": MATLAB,
    "other hostile descriptor files": OTHERS,
}


def _png(folder: Path, *, size: tuple[int, int], keep: int | None = None) -> None:
    stream = io.BytesIO()
    Image.new("1", size).save(stream, "PNG")
    (folder / "class_0" / "i.png").write_bytes(stream.getvalue()[:keep])


def _image(fill: Callable[[Path], None]) -> Make:
    def make(folder: Path) -> str:
        (folder / "images" / "class_0").mkdir(parents=True)
        fill(folder / "images")
        return "images"

    return make


def _header_of_png(width: int, height: int) -> bytes:
    """Return a small PNG that claims to be of any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = (
        chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + content


IMAGES: dict[str, Make] = {
    "a picture bomb": _image(lambda folder: _png(folder, size=(20_000, 20_000))),
    "a picture that claims 2**31 pixels a side": _image(
        lambda folder: _put(folder, _header_of_png(2**31 - 1, 2**31 - 1))
    ),
    "half a picture": _image(lambda folder: _png(folder, size=(500, 500), keep=80)),
    "text named png": _image(lambda folder: _put(folder, b"no picture at all")),
    "an empty picture": _image(lambda folder: _put(folder, b"")),
}


def _put(folder: Path, content: bytes) -> None:
    (folder / "class_0" / "i.png").write_bytes(content)

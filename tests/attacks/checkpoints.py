"""Hostile checkpoints: each function makes one file in a folder and returns its name."""

from __future__ import annotations

import argparse
import datetime as dt
import io
import json
import os
import pathlib
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

Make = Callable[[Path], str]

#: What code in a pickle would make if it ran.
CANARY = "canary"


class _Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.folder / CANARY}",)


class _Makes:
    """Is unpickled by a function with these arguments, and a state where there is one."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


def _array(shape: tuple[int, ...], dtype: Any, data: Any) -> _Makes:
    """Return what numpy takes for an array of any type over any bytes."""
    return _Makes(*np.empty(0).__reduce__()[:2], (1, shape, dtype, False, data))


def _numpy(value: Callable[[Path], Any]) -> Make:
    return _written("m.pt", lambda folder: saved({"model": state(), "best": value(folder)}))


def state() -> dict[str, torch.Tensor]:
    """Return a small classifier."""
    generator = torch.Generator().manual_seed(0)
    return {
        "body.weight": torch.randn(4, 4, 3, 3, generator=generator),
        "fc.weight": torch.randn(10, 8, generator=generator),
        "fc.bias": torch.randn(10, generator=generator),
    }


def saved(value: Any, **options: Any) -> bytes:
    """Return what torch.save writes."""
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def _written(name: str, content: Callable[[Path], bytes]) -> Make:
    def make(folder: Path) -> str:
        (folder / name).write_bytes(content(folder))
        return name

    return make


def _beside(value: Callable[[], Any]) -> Make:
    """Return what makes a file with a value beside a good state dict."""
    return _numpy(lambda _: value())


def _odd_type() -> OrderedDict[str, Any]:
    """Return what numpy takes for a type of objects that takes eight bytes."""
    odd: OrderedDict[str, Any] = OrderedDict(names=["a"], formats=["O"])
    vars(odd)["itemsize"] = 8
    return odd


def _with_attribute(value: Any, name: Any, content: Any) -> Any:
    vars(value)[name] = content
    return value


def _deep(_: Path) -> bytes:
    """Return lists so deep in each other that Python could not write them."""
    content = saved({"model": state(), "log": 12345})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        before, after = archive.read(name).split(b"M\x39\x30")
    return _swapped(content, "data.pkl", before + b"]" * 3000 + b"a" * 2999 + after)


def _repeated(_: Path) -> bytes:
    """Return a file with the same dictionary in others 3 billion times."""
    inner: dict[str, Any] = {"x": 1}
    for _level in range(3):
        inner = {f"k{number}": inner for number in range(1500)}
    return saved({"a": inner})


def _by_rows(_: Path) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that such tensors are new to it
        return saved(state() | {"x.weight": torch.eye(2).to_sparse_csr()})


def _header(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _tensor(first: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, end]}


def _repacked(content: bytes, compression: int, extra: bytes = b"") -> bytes:
    """Pack the parts of a zip again, its largest part with more bytes after it."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(stream, "w", compression) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name) + (extra if "/data/" in name else b""))
    return stream.getvalue()


def _swapped(content: bytes, part: str, by: bytes) -> bytes:
    """Replace one part of a zip."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            new.writestr(name, by if name.endswith(part) else old.read(name))
    return stream.getvalue()


def _flipped(content: bytes, at: int) -> bytes:
    damaged = bytearray(content)
    damaged[at] ^= 0xFF
    return bytes(damaged)


PICKLES: dict[str, Make] = {
    "code in a zip": _written("m.pt", lambda folder: saved({"fc.weight": _Runs(folder)})),
    "code in a legacy file": _written(
        "m.pth",
        lambda folder: saved({"a": _Runs(folder)}, _use_new_zipfile_serialization=False),
    ),
    "code in a bare pickle": _written("m.ckpt", lambda folder: pickle.dumps(_Runs(folder))),
    "code beside a good state dict": _written(
        "m.tar", lambda folder: saved({"state_dict": state(), "callbacks": _Runs(folder)})
    ),
    "code in the pickle of a good zip": _written(
        "m.pt", lambda folder: _swapped(saved(state()), "data.pkl", pickle.dumps(_Runs(folder)))
    ),
    "a whole module": _written("m.pt", lambda _: saved(torch.nn.Linear(8, 10))),
    "a whole module, legacy": _written(
        "m.pt",
        lambda _: saved(torch.nn.Linear(8, 10), _use_new_zipfile_serialization=False),
    ),
    "a pickle of protocol 0": _written("m.pt", lambda folder: pickle.dumps(_Runs(folder), 0)),
    "a recursive pickle": _written("m.pt", lambda _: b"\x80\x02" + b"(" * 200_000 + b"."),
    "a pickle that claims 4 GB": _written("m.pt", lambda _: b"\x80\x02B\xff\xff\xff\xffabc"),
    "a pickle with a memo of 4 billion": _written("m.pt", lambda _: b"\x80\x02Nr\xff\xff\xff\xff."),
    "pickle bytes as safetensors": _written(
        "m.safetensors", lambda folder: pickle.dumps(_Runs(folder))
    ),
    "a numpy array of objects that run code": _numpy(
        lambda folder: np.array([_Runs(folder), 1], dtype=object)
    ),
    "a numpy number that is an object": _numpy(
        lambda folder: _Makes(np.float64(1).__reduce__()[0], (np.dtype("O"), _Runs(folder)))
    ),
    "a numpy array of addresses": _numpy(lambda _: _array((1,), np.dtype("O"), b"A" * 8)),
    "a numpy array with a field of addresses": _numpy(
        lambda _: _array((1,), np.dtype([("a", "O")]), b"A" * 8)
    ),
    "a plain numpy type that says it has objects": _numpy(
        lambda _: _array(
            (1,),
            _Makes(
                np.dtype,
                ("f8", False, True),
                (3, "<", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 8, 63),
            ),
            b"A" * 8,
        )
    ),
    "a numpy type from the file as a text with parts": _numpy(
        lambda _: _Makes(np.dtype, ("O,f8", False, True))
    ),
    "a numpy array larger than its bytes": _numpy(
        lambda _: _array((10**12,), np.dtype("f8"), b"A" * 8)
    ),
    "a numpy array of less than nothing": _numpy(
        lambda _: _array((-1, -1), np.dtype("f8"), b"A" * 8)
    ),
    "numpy texts of characters that there are not": _numpy(
        lambda _: _array((1,), np.dtype("<U1"), b"\xff" * 4)
    ),
    "another class of numpy's arrays": _numpy(lambda _: np.zeros(2).view(np.recarray)),
    "numpy's array itself": _numpy(lambda _: np.ndarray),
    "bytes of a terabyte": _numpy(lambda _: _Makes(bytes, (1 << 40,))),
    "a date made of code": _numpy(lambda folder: _Makes(dt.datetime, (_Runs(folder), 1, 1))),
    "a date that there is not": _beside(lambda: _Makes(dt.date, (b"\xff\xff\x01\xff",))),
    "options that turn into a numpy type of addresses": _beside(
        lambda: _array(
            (1,),
            _Makes(argparse.Namespace, (), ({"dtype": _odd_type()}, {"__class__": np.dtype})),
            b"A" * 8,
        )
    ),
    "options made as a tensor that turn into one": _beside(
        lambda: _array(
            (1,),
            _Makes(
                torch._tensor._rebuild_from_type_v2,
                (
                    argparse.Namespace,
                    argparse.Namespace,
                    (),
                    {"dtype": _odd_type(), "__class__": np.dtype},
                ),
            ),
            b"A" * 8,
        )
    ),
    "options with a number as name": _beside(lambda: _with_attribute(argparse.Namespace(), 5, 6)),
    "a path that is no text": _beside(
        lambda: _Makes(pathlib.PosixPath, ("a",), (None, {"_parts": 5}))
    ),
    "a bytearray of a gigabyte": _beside(lambda: _Makes(bytearray, (1 << 30,))),
    "a bytearray of a gigabyte, legacy": _written(
        "m.pth",
        lambda _: saved(
            state() | {"x": _Makes(bytearray, (np.int64(1 << 30),))},
            _use_new_zipfile_serialization=False,
        ),
    ),
    "a state dict whose copy is another class": _written(
        "m.pt",
        lambda _: saved(_with_attribute(OrderedDict(state()), "copy", OrderedDict)),
    ),
    "a numpy type among the versions of modules": _written(
        "m.pt",
        lambda _: saved(_with_attribute(OrderedDict(state()), "_metadata", {"a": np.dtype})),
    ),
    "a tensor that hides a method of tensors": _written(
        "m.pt",
        lambda _: saved(state() | {"fc.weight": _with_attribute(torch.ones(10, 8), "detach", 5)}),
    ),
    "a tensor of a gigabyte of a legacy file of none": _written(
        "m.pth",
        lambda _: saved(
            {"fc.weight": _Makes(torch.Tensor, (20_000, 20_000))},
            _use_new_zipfile_serialization=False,
        ),
    ),
    "lists 3,000 deep in each other": _written("m.pt", _deep),
    "a dictionary 3 billion times in others": _written("m.pt", _repeated),
    "a head of 1.6 GB that repeats one number": _written(
        "m.pt", lambda _: saved({"fc.weight": torch.ones(1).expand(20_000, 20_000)})
    ),
    "a tensor of rows without zeros": _written("m.pt", _by_rows),
}


def _scripted(folder: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, but people have such files
        module = torch.jit.trace(torch.nn.Linear(8, 10), torch.zeros(1, 8))
        torch.jit.save(module, folder / "m.pt")
    return "m.pt"


ARCHIVES: dict[str, Make] = {
    "TorchScript": _scripted,
    "a deflated zip": _written("m.pt", lambda _: _repacked(saved(state()), zipfile.ZIP_DEFLATED)),
    "a zip bomb of 300 MB": _written(
        "m.pt",
        lambda _: _repacked(saved(state()), zipfile.ZIP_DEFLATED, bytes(100_000_000)),
    ),
    "a zip without a pickle": _written("m.pt", lambda _: _swapped(saved(state()), "pkl", b"")),
    "a zip with another version": _written(
        "m.pt", lambda _: _swapped(saved(state()), "/version", b"999999999999")
    ),
    "a zip with a part that is too short": _written(
        "m.pt", lambda _: _swapped(saved(state()), "data/0", b"\0" * 8)
    ),
    "an empty zip": _written("m.pt", lambda _: b"PK\x05\x06" + bytes(18)),
    "half a zip": _written("m.pt", lambda _: saved(state())[: len(saved(state())) // 2]),
    "a zip cut at its end": _written("m.pt", lambda _: saved(state())[:-30]),
    "half a legacy file": _written(
        "m.pt",
        lambda _: saved(state(), _use_new_zipfile_serialization=False)[:500],
    ),
    "a legacy file without its last bytes": _written(
        "m.pt", lambda _: saved(state(), _use_new_zipfile_serialization=False)[:-4]
    ),
    "a flipped bit in the pickle": _written("m.pt", lambda _: _flipped(saved(state()), 80)),
}

SAFETENSORS: dict[str, Make] = {
    "overlapping tensors": _written(
        "m.safetensors",
        lambda _: _header(
            {"fc.weight": _tensor(0, 320, [10, 8]), "b": _tensor(160, 480, [10, 8])}, bytes(480)
        ),
    ),
    "a tensor out of range": _written(
        "m.safetensors", lambda _: _header({"fc.weight": _tensor(0, 320, [10, 8])}, bytes(100))
    ),
    "a tensor before the data": _written(
        "m.safetensors", lambda _: _header({"fc.weight": _tensor(-320, 0, [10, 8])}, bytes(320))
    ),
    "a tensor given twice": _written(
        "m.safetensors",
        lambda _: _header(
            b'{"fc.weight":{"dtype":"F32","shape":[10,8],"data_offsets":[0,320]},'
            b'"fc.weight":{"dtype":"F32","shape":[10,8],"data_offsets":[0,320]}}',
            bytes(320),
        ),
    ),
    "a gap between tensors": _written(
        "m.safetensors",
        lambda _: _header(
            {"fc.weight": _tensor(0, 320, [10, 8]), "b": _tensor(400, 720, [10, 8])}, bytes(720)
        ),
    ),
    "a header of 101 MB": _written(
        "m.safetensors", lambda _: _header(b"{" + b" " * 101_000_000 + b"}")
    ),
    "a header that claims 2**63": _written("m.safetensors", lambda _: _header({}, length=2**63)),
    "a header longer than the file": _written(
        "m.safetensors", lambda _: _header({}, length=10_000)
    ),
    "a header 10,000 deep": _written(
        "m.safetensors", lambda _: _header(b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}")
    ),
    "a header that is no JSON": _written("m.safetensors", lambda _: _header(b"{nonsense]")),
    "a header that is no text": _written("m.safetensors", lambda _: _header(b'{"\xff\xfe":1}')),
    "a shape beyond 64 bits": _written(
        "m.safetensors",
        lambda _: _header({"fc.weight": _tensor(0, 320, [2**40, 2**40])}, bytes(320)),
    ),
    "an unknown dtype": _written(
        "m.safetensors",
        lambda _: _header({"fc.weight": _tensor(0, 320, [10, 8], "F99")}, bytes(320)),
    ),
    "half a file": _written("m.safetensors", lambda _: save(state())[:400]),
    "no tensor at all": _written("m.safetensors", lambda _: _header({})),
    "NaN in the head": _written(
        "m.safetensors", lambda _: save(state() | {"fc.bias": torch.full((10,), torch.nan)})
    ),
    "infinity in the head": _written(
        "m.safetensors", lambda _: save(state() | {"fc.bias": torch.full((10,), -torch.inf)})
    ),
    "huge values in the head": _written(
        "m.safetensors",
        lambda _: save(state() | {"fc.weight": torch.full((10, 8), 1e30)}),
    ),
    "a damaged record": _written("m.safetensors", lambda _: save(state(), {"icis": "[" * 100_000})),
    "a record of other rows": _written(
        "m.safetensors", lambda _: save(state(), {"icis": '{"class_names": 3}'})
    ),
}

ESCAPE = "\x1b[31m\x1b]0;owned\x07\x9b2J\r\n"

NAMES: dict[str, Make] = {
    "escapes in the names of layers": _written(
        "m.safetensors",
        lambda _: save({f"{ESCAPE}{n}.weight": torch.randn(10, 8) for n in range(3)}),
    ),
    "paths as names of layers": _written(
        "m.safetensors",
        lambda _: save({f"../../../{n}.weight": torch.randn(10, 8) for n in range(3)}),
    ),
    "a megabyte as name of a layer": _written(
        "m.safetensors",
        lambda _: save({f"{'x' * 1_000_000}{n}.weight": torch.randn(10, 8) for n in range(2)}),
    ),
    "escapes in the name of the file": _written("\x1b[31mm.pt", lambda _: b"nothing"),
}


def _fifo(folder: Path) -> str:
    os.mkfifo(folder / "m.pt")
    return "m.pt"


def _loop(folder: Path) -> str:
    (folder / "m.pt").symlink_to("m.pt")
    return "m.pt"


def _dangling(folder: Path) -> str:
    (folder / "m.pt").symlink_to("nowhere.pt")
    return "m.pt"


def _index(content: Any) -> Make:
    def make(folder: Path) -> str:
        (folder / "shards").mkdir()
        (folder / "shards" / "part.safetensors").write_bytes(save(state()))
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / "shards" / "model.safetensors.index.json").write_text(text)
        return "shards"

    return make


KINDS: dict[str, Make] = {
    "a pipe": _fifo,
    "a device": lambda _: "/dev/zero",
    "a link to itself": _loop,
    "a link to nothing": _dangling,
    "an empty file": _written("m.pt", lambda _: b""),
    "zeros": _written("m.pt", lambda _: bytes(10_000)),
    "a shard outside of its folder": _index({"weight_map": {"fc.weight": "../../../etc/passwd"}}),
    "a shard that is a device": _index({"weight_map": {"fc.weight": "/dev/zero"}}),
    "a shard that is a pickle": _index({"weight_map": {"fc.weight": "part.bin"}}),
    "an index 10,000 deep": _index("[" * 10_000 + "]" * 10_000),
    "an index that is no object": _index([1, 2]),
    "an index of other tensors": _index({"weight_map": {"other": "part.safetensors"}}),
}

CHECKPOINTS: dict[str, dict[str, Make]] = {
    "pickles that run code or hold objects": PICKLES,
    "damaged or hostile PyTorch archives": ARCHIVES,
    "damaged or hostile safetensors": SAFETENSORS,
    "names that are escapes or paths": NAMES,
    "no regular files, hostile indexes": KINDS,
}

"""Copies are the same bytes whatever way the system offers, and none of them fills the memory."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from icis_cli import Expansion, open_checkpoint
from icis_cli.arrays import ITEM_SIZE
from icis_cli.background import in_background
from icis_cli.checkpoint import safetensors, torch_tensors
from icis_cli.checkpoint.base import Buffer, Edit, TensorInfo
from icis_cli.checkpoint.copying import copy_stretch
from icis_cli.errors import CheckpointError, OutputError
from icis_cli.files import new_stream
from icis_cli.injection.record import PENDING
from tests.conftest import World
from tests.records import record_of, sha256
from tests.test_expansion import full_state, header_of, plan, save

WAYS = ("copy_file_range", "sendfile")


def refuse(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], code: int) -> None:
    def refused(*_):
        raise OSError(code, os.strerror(code))

    for name in names:
        monkeypatch.setattr(os, name, refused)


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("refused", [(), WAYS[:1], WAYS])
def test_every_way_copies_the_same_bytes(tmp_path, monkeypatch, refused, code):
    data = np.random.default_rng(0).bytes(300_000)
    (tmp_path / "source").write_bytes(data)
    refuse(monkeypatch, refused, code)
    monkeypatch.setattr("icis_cli.checkpoint.copying._STRETCH", 50_000)
    with (tmp_path / "source").open("rb") as source, new_stream(tmp_path / "new") as target:
        target.write(b"before")
        copy_stretch(source, target, 1000, 200_001)
        target.write(b"between")
        copy_stretch(source, target, 0, 0)
        copy_stretch(source, target, 299_999, 1)
        target.write(b"after")
        assert target.tell() == 6 + 200_001 + 7 + 1 + 5
    expected = b"before" + data[1000:201_001] + b"between" + data[-1:] + b"after"
    assert (tmp_path / "new").read_bytes() == expected


def test_a_system_that_refuses_after_a_while(tmp_path, monkeypatch):
    data = np.random.default_rng(0).bytes(300_000)
    (tmp_path / "source").write_bytes(data)
    monkeypatch.setattr("icis_cli.checkpoint.copying._STRETCH", 100_000)
    copy, calls = os.copy_file_range, []

    def twice(*arguments):
        calls.append(arguments)
        if len(calls) > 2:
            raise OSError(errno.EINVAL, "")
        return copy(*arguments)

    monkeypatch.setattr(os, "copy_file_range", twice)
    monkeypatch.delattr(os, "sendfile")  # a system without it
    with (tmp_path / "source").open("rb") as source, new_stream(tmp_path / "new") as target:
        copy_stretch(source, target, 0, len(data))
    assert len(calls) == 3
    assert (tmp_path / "new").read_bytes() == data


@pytest.mark.parametrize("refused", [(), WAYS])
def test_a_source_that_became_shorter(folder, world, monkeypatch, refused):
    path = save(full_state(world), folder, "safetensors")
    expansion, before = plan(path, folder), sorted(folder.iterdir())
    refuse(monkeypatch, refused, errno.EXDEV)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(CheckpointError, match="became shorter while it was read"):
        expansion.write(folder / "new.safetensors")
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("how", ["safetensors", "zip"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_a_copy_that_stops_leaves_nothing(folder, world, monkeypatch, how, error):
    path = save(full_state(world), folder, how)
    expansion, before = plan(path, folder), sorted(folder.iterdir())

    def fail() -> Iterator[Buffer]:
        yield b"some"
        raise error

    class Failing:
        def __iter__(self):
            return fail()

    edits = {k: Edit(edit.info, Failing()) for k, edit in expansion.edits.items()}
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OutputError
    monkeypatch.setattr(torch_tensors, "_LARGE", 0)
    with pytest.raises(expected):
        replace(expansion, edits=edits).write(folder / f"new{path.suffix}")
    assert sorted(folder.iterdir()) == before


def slowly_written(path: Path, expansion: Expansion, metadata: dict[str, str]) -> bytes:
    """What a new safetensors file must be, made in memory: header and data in the old order."""
    old, data = header_of(path), path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    spans = {k: entry["data_offsets"] for k, entry in old.items() if k != "__metadata__"}
    parts, places, end = [], {}, 0
    for key in sorted(spans, key=lambda key: spans[key]):
        first, last = spans[key]
        part = data[start + first : start + last]
        if key in expansion.edits:
            part = b"".join(expansion.edits[key].parts)
        parts.append(part)
        places[key] = [end, end + len(part)]
        end += len(part)
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    for key in spans:
        info = expansion.checkpoint.tensors[key]
        if key in expansion.edits:
            info = expansion.edits[key].info
        assert places[key][1] - places[key][0] == ITEM_SIZE[info.dtype] * int(np.prod(info.shape))
        header[key] = {
            "dtype": info.dtype, "shape": list(info.shape), "data_offsets": places[key],
        }  # fmt: skip
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


def test_the_bytes_are_those_of_a_plain_writer(folder, world):
    path = save(full_state(world), folder, "safetensors")
    expansion = plan(path, folder)
    assert expansion.record is not None
    pending = replace(
        expansion,
        record=replace(expansion.record, original_sha256=PENDING).with_digest(PENDING),
    )
    assert pending.record is not None
    assert pending.record.is_pending
    record = pending.record.with_digest(sha256(path))
    assert not record.is_pending
    assert record.original_sha256 == sha256(path)
    for number, made in enumerate((pending, replace(expansion, record=record))):
        side, out = made.write(folder / f"new{number}.safetensors")
        metadata = {**made.checkpoint.metadata, "icis": record.to_json()}
        assert out.read_bytes() == slowly_written(path, expansion, metadata)
        assert side.read_text() == record.to_json() + "\n"
        assert open_checkpoint(out).metadata["icis"] == record.to_json()


def test_only_a_pending_digest_of_the_original_is_replaced(folder, world):
    path = save(full_state(world), folder, "safetensors")
    record = plan(path, folder).record
    assert record is not None
    known = replace(record, original_sha256="a" * 64).with_digest("b" * 64)
    assert (known.original_sha256, known.rounds[-1].weights_sha256) == ("a" * 64, "b" * 64)


def test_a_record_that_no_header_has_room_for_is_in_the_side_file_only(folder, world, monkeypatch):
    path = save(full_state(world), folder, "safetensors")
    expansion = plan(path, folder)
    out = folder / "new.safetensors"
    size = len(expansion.write(out)[-1].read_bytes()) - sum(
        entry["data_offsets"][1] - entry["data_offsets"][0]
        for key, entry in header_of(out).items()
        if key != "__metadata__"
    )
    for limit, fits in ((size - 8, True), (size - 9, False)):
        monkeypatch.setattr(safetensors, "_LONGEST_HEADER", limit)
        assert any("record is too long" in note for note in expansion.losses(out)) != fits
        side, _ = expansion.write(out, force=True)
        opened = open_checkpoint(out)
        assert ("icis" in opened.metadata) == fits
        assert {k: v for k, v in opened.metadata.items() if k != "icis"} == (
            expansion.checkpoint.metadata
        )
        assert record_of(out)["class_names"] == list(world.names)
        assert json.loads(side.read_text()) == record_of(out)


@dataclass(frozen=True)
class Counted:
    """Parts that are made while they are asked for, like rows that are predicted block by block."""

    blocks: int

    def __iter__(self) -> Iterator[Buffer]:
        return (np.full(96, n, dtype="<f4").tobytes() for n in range(self.blocks))


@pytest.mark.parametrize("how", ["zip", "safetensors"])
def test_the_bytes_do_not_depend_on_how_a_large_head_is_held(folder, world, monkeypatch, how):
    path = save(full_state(world), folder, how)
    parts = Counted(70)
    info = TensorInfo("F32", (280, 24))
    expansion = plan(path, folder)
    written = []
    for limit in (1 << 26, 0):
        monkeypatch.setattr(torch_tensors, "_LARGE", limit)
        for suffix in (".pt", ".safetensors"):
            edits = {**expansion.edits, "fc.weight": Edit(info, parts)}
            out = replace(expansion, edits=edits).write(folder / f"new{suffix}", force=True)[-1]
            written.append(out.read_bytes())
            assert bytes(open_checkpoint(out).raw("fc.weight")) == b"".join(parts)
    assert written[:2] == written[2:]


def test_a_part_of_the_head_is_read_and_not_mapped(tmp_path):
    save_file({"fc.weight": torch.ones(2, 3), "none": torch.empty(0)}, tmp_path / "m.safetensors")
    checkpoint = open_checkpoint(tmp_path / "m.safetensors")
    assert isinstance(checkpoint.raw("fc.weight"), bytes)
    assert b"".join(checkpoint.blocks("fc.weight")) == checkpoint.raw("fc.weight")
    assert bytes(checkpoint.mapped("fc.weight")) == checkpoint.raw("fc.weight")
    assert checkpoint.raw("none") == checkpoint.mapped("none") == b""
    os.truncate(tmp_path / "m.safetensors", (tmp_path / "m.safetensors").stat().st_size - 1)
    with pytest.raises(CheckpointError, match="became shorter"):
        checkpoint.raw("fc.weight")


def test_work_in_the_background():
    def fail() -> int:
        raise ValueError("x")

    assert in_background(lambda: 3).result() == 3
    with pytest.raises(ValueError, match="x"):
        in_background(fail).result()


def test_a_source_that_vanished(folder, world: World):
    path = save(full_state(world), folder, "safetensors")
    expansion, before = plan(path, folder), sorted(folder.iterdir())
    path.unlink()
    with pytest.raises(CheckpointError, match="vanished meanwhile") as caught:
        expansion.write(folder / "new.safetensors")
    assert caught.value.path == path
    assert sorted(folder.iterdir()) == [file for file in before if file != path]

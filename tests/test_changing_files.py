"""Checkpoints that change while they are read, and commands that are stopped while they write."""

from __future__ import annotations

import mmap
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from icis_cli import (
    Injector,
    Ridge,
    align,
    expand,
    find_head,
    fit,
    open_checkpoint,
    read_descriptors,
)
from icis_cli import files as file_module
from icis_cli.errors import CheckpointError, OutputError
from tests.conftest import World, icis
from tests.test_expansion import plan
from tests.test_sharded import INDEX, SHARDS, make
from tests.test_signals import stopped


def checkpoint(folder: Path, world: World, kind: str) -> Path:
    """Make a checkpoint of one of three kinds; return it."""
    if kind == "shards":
        make(folder / "model", world)
        return folder / "model"
    if kind == ".pt":
        torch.save(world.state(), folder / "model.pt")
        return folder / "model.pt"
    save_file(world.state(), folder / "model.safetensors")
    return folder / "model.safetensors"


@pytest.mark.parametrize("kind", [".safetensors", ".pt", "shards"])
@pytest.mark.parametrize("change", ["another", "touched", "shorter", "gone"])
def test_a_source_that_is_no_longer_what_was_opened(folder, world, kind, change):
    path = checkpoint(folder, world, kind)
    expansion = plan(path, folder)
    file = path / SHARDS[0] if kind == "shards" else path  # the head is in other shards
    if change == "another":
        shutil.copy(file, folder / "copy")
        (folder / "copy").replace(file)
    elif change == "touched":
        os.utime(file, ns=(1, 1))
    elif change == "shorter":
        os.truncate(file, file.stat().st_size - 8)
    else:
        file.unlink()
    before = sorted(folder.iterdir())
    words = {"shorter": "became shorter while it", "gone": "vanished"}.get(change, "changed while")
    with pytest.raises(CheckpointError, match=f"{file}: {words}"):
        expansion.write(folder / ("new" + path.suffix))
    assert sorted(folder.iterdir()) == before


def test_a_source_that_changes_while_it_is_copied(folder, world, monkeypatch):
    path = checkpoint(folder, world, ".safetensors")
    expansion = plan(path, folder)
    sound = type(expansion.checkpoint).write_copy

    def slow(*arguments: Any) -> None:
        sound(*arguments)
        os.utime(path, ns=(1, 1))

    monkeypatch.setattr(type(expansion.checkpoint), "write_copy", slow)
    with pytest.raises(CheckpointError, match="changed while it was read"):
        expansion.write(folder / "new.safetensors")
    assert not list(folder.glob("*new*"))


def test_ctrl_c_within_torch_is_ctrl_c(folder, world, monkeypatch):
    path = checkpoint(folder, world, ".pt")
    expansion = plan(path, folder)

    def stopped(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(file_module._EarlyFile, "write", stopped)
    with pytest.raises(KeyboardInterrupt):
        expansion.write(folder / "new.pt")
    monkeypatch.undo()
    assert not list(folder.glob("*new*"))


def test_a_file_of_many_tensors_is_mapped_once(folder, world, monkeypatch):
    state = {f"body.{n}": torch.full((3,), float(n)) for n in range(300)} | world.state()
    save_file(state, folder / "model.safetensors")
    maps = []

    class Counted(mmap.mmap):
        def __new__(cls, *arguments, **options):
            maps.append(arguments)
            return super().__new__(cls, *arguments, **options)

    monkeypatch.setattr("icis_cli.checkpoint.safetensors.mmap.mmap", Counted)
    out = plan(folder / "model.safetensors", folder).write(folder / "new.pt")[-1]
    assert len(maps) == 1
    assert torch.equal(torch.load(out, weights_only=True)["body.299"], state["body.299"])


@pytest.mark.parametrize("name", [".", "..", "model/new", "model/new.safetensors"])
def test_outputs_that_are_no_new_name_beside_a_sharded_checkpoint(folder, world, monkeypatch, name):
    path = checkpoint(folder, world, "shards")
    expansion = plan(path, folder)
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder / "empty" if name.startswith(".") else folder)
    words = "expected a new name" if name.startswith(".") else "lies in the folder of the checkp"
    with pytest.raises(OutputError, match=words):
        expansion.write(Path(name))
    assert not list((folder / "empty").iterdir())


def test_of_two_indexes_the_one_that_was_fitted_is_found_again(folder, world):
    path = checkpoint(folder, world, "shards")
    other = path / "model.fp16.safetensors.index.json"
    other.write_text((path / INDEX).read_text())
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert caught.value.hint == f"name one of them, e.g. {other}"
    opened = open_checkpoint(path / INDEX)
    head = find_head(opened)
    np.save(folder / "d.npy", world.descriptors)
    classes = align(head.rows, read_descriptors(folder / "d.npy"))
    fit(opened, head, classes, Ridge()).save(folder / "i.safetensors")
    loaded = Injector.load(folder / "i.safetensors")
    again = open_checkpoint(loaded.source.path)
    assert again.path == path
    assert len(expand(again, loaded).class_names) == 46


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system knows no closed terminals")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_command_that_is_stopped_leaves_nothing(folder, world, number):
    save_file(world.state(), folder / "model.safetensors")
    np.save(folder / "d.npy", world.descriptors)
    done = icis(
        *("fit", "--weights", "model.safetensors", "--attrs", "d.npy", "--method", "ridge"),
        cwd=folder,
    )
    assert done.code == 0
    before = sorted(folder.iterdir())
    point = f"{getattr(signal, number):d} 1 call os.fsync"  # all is written, nothing is in place
    assert stopped(folder, "module", point, "inject") == (130, "", "icis: interrupted\n")
    assert sorted(folder.iterdir()) == before

"""Checkpoints in several files: the index is not trusted; only shards that change are written."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from icis_cli import expand, find_head, open_checkpoint, remove, verify
from icis_cli.errors import CheckpointError, OutputError
from tests.conftest import World, icis
from tests.records import record_of, sha256
from tests.test_expansion import bits, injector_for, plan
from tests.test_verify_records import inception

INDEX = "model.safetensors.index.json"
SHARDS = tuple(f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3))


def make(path: Path, world: World) -> dict[str, torch.Tensor]:
    """A body in two shards, the bias of the head in the second, its weight in the third."""
    state = world.state()
    parts = (
        {"body.weight": state["body.weight"]},
        {"body.count": state["body.count"], "fc.bias": state["fc.bias"]},
        {"fc.weight": state["fc.weight"]},
    )
    path.mkdir()
    where: dict[str, str] = {}
    for name, part in zip(SHARDS, parts, strict=True):
        save_file(part, path / name, {"format": "pt"})
        where |= dict.fromkeys(part, name)
    size = sum(tensor.nbytes for tensor in state.values())
    count = sum(tensor.numel() for tensor in state.values())
    write_index(path, {"metadata": {"total_parameters": count, "total_size": size}} | mapped(where))
    return state


def mapped(where: object) -> dict[str, Any]:
    return {"weight_map": where}


def write_index(path: Path, content: object) -> None:
    (path / INDEX).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def loaded(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for name in SHARDS:
        state |= load_file(path / name)
    return {key: bits(tensor) for key, tensor in state.items()}


@pytest.fixture
def source(folder: Path, world: World) -> Path:
    make(folder / "net-1.5", world)
    return folder / "net-1.5"


@pytest.mark.parametrize("opened", ["", INDEX])
def test_it_is_read_as_one(source, world, opened):
    checkpoint = open_checkpoint(source / opened)
    assert checkpoint.container == "sharded safetensors"
    assert checkpoint.path == source
    head = find_head(checkpoint)
    assert head.rows.tolist() == world.rows[:40].tolist()
    assert {k: bytes(checkpoint.raw(k)) for k in checkpoint.tensors} == {
        k: bits(t)[2] for k, t in world.state().items()
    }
    lines = sorted(f"{sha256(f)}  {f.name}\n" for f in source.iterdir())
    assert checkpoint.sha256() == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("shards", ["copy", "link"])
def test_only_what_changes_is_written_anew(source, world, folder, shards):
    (source / "notes.txt").write_text("x")
    before = contents(source)
    expansion = plan(source, folder)
    out = folder / "new.5"
    assert expansion.losses(out, shards) == (f"not carried over from {source}: notes.txt",)
    assert expansion.write(out, shards=shards) == (folder / "new.5.icis.json", out)

    assert contents(source) == before
    assert set(contents(out)) == {INDEX, *SHARDS}
    assert (out / SHARDS[0]).samefile(source / SHARDS[0]) == (shards == "link")
    assert (out / SHARDS[0]).read_bytes() == before[SHARDS[0]]
    new = load_file(out / SHARDS[2])["fc.weight"]
    assert new.shape == (46, 24)
    assert bits(new[:40]) == bits(world.state()["fc.weight"])
    old, index = json.loads(before[INDEX]), json.loads((out / INDEX).read_text())
    assert index["weight_map"] == old["weight_map"]
    for name, each in (("total_size", 4), ("total_parameters", 1)):
        assert index["metadata"][name] == old["metadata"][name] + 6 * 25 * each

    checkpoint = open_checkpoint(out)
    assert checkpoint.metadata["icis"] + "\n" == (folder / "new.5.icis.json").read_text()
    assert record_of(out)["original_sha256"] == open_checkpoint(source).sha256()
    back = remove(checkpoint).write(folder / "back")[-1]
    assert contents(back) == {k: v for k, v in before.items() if k != "notes.txt"}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_into_one_file(source, world, folder, suffix):
    out = plan(source, folder).write(folder / f"one{suffix}")[-1]
    one = open_checkpoint(out)
    assert one.tensors["fc.weight"].shape == (46, 24)
    for key in ("body.weight", "body.count"):
        assert bytes(one.raw(key)) == bits(world.state()[key])[2]
    assert record_of(out) == record_of(plan(source, folder).write(folder / "s")[-1])


def test_another_file_system_means_a_copy(source, folder):
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == folder.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=memory) as elsewhere:
        expansion, new = plan(source, folder), Path(elsewhere) / "new"
        assert "they are copied" in expansion.losses(new, "link")[0]
        out = expansion.write(new, shards="link", force=True)[-1]
        assert (out / SHARDS[0]).read_bytes() == (source / SHARDS[0]).read_bytes()
        assert not (out / SHARDS[0]).samefile(source / SHARDS[0])


def test_a_file_system_without_links_means_a_copy(source, folder, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    expansion = plan(source, folder)
    monkeypatch.setattr(os, "link", refuse)
    out = expansion.write(folder / "new", shards="link", force=True)[-1]
    assert (out / SHARDS[0]).read_bytes() == (source / SHARDS[0]).read_bytes()
    assert not (out / SHARDS[0]).samefile(source / SHARDS[0])


def test_a_folder_with_something_in_it_is_never_replaced(source, folder):
    expansion = plan(source, folder)
    (folder / "new").mkdir()
    (folder / "new" / "mine").write_text("x")
    (folder / "taken").write_text("x")
    for out, words in ((folder / "new", "never replaced"), (source, "is the input itself")):
        with pytest.raises(OutputError, match=words):
            expansion.write(out, force=True)
    with pytest.raises(OutputError, match="is a file, expected a new folder"):
        expansion.write(folder / "taken", force=True)
    with pytest.raises(OutputError, match="is the input itself"):
        expansion.write(source / SHARDS[0], force=True)
    (folder / "new" / "mine").unlink()
    assert set(contents(expansion.write(folder / "new")[-1])) == {INDEX, *SHARDS}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_copy_that_stops_leaves_nothing(source, folder, monkeypatch, error):
    expansion, before = plan(source, folder), sorted(folder.iterdir())

    def fail(*_):
        raise error

    for way in ("copy_file_range", "sendfile"):
        monkeypatch.setattr(os, way, fail)
    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        expansion.write(folder / "new")
    assert sorted(folder.iterdir()) == before


def test_a_folder_that_appeared_meanwhile_is_kept(source, folder, monkeypatch):
    expansion, before = plan(source, folder), sorted(folder.iterdir())

    fsync = os.fsync

    def appear(descriptor):
        (folder / "new").mkdir(exist_ok=True)
        (folder / "new" / "theirs").write_text("x")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", appear)
    with pytest.raises(OutputError, match="cannot be put in place"):
        expansion.write(folder / "new")
    assert sorted(folder.iterdir()) == sorted([*before, folder / "new"])
    assert set(contents(folder / "new")) == {"theirs"}


def refused(path: Path, words: str) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert words in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil.safetensors", "expected a plain file name"),
        ("/etc/passwd", "expected a plain file name"),
        ("..", "expected a plain file name"),
        ("", "expected a plain file name"),
        ("sub/x.safetensors", "expected a plain file name"),
        ("a\0b", "expected a plain file name"),
        ("model-00001.bin", "is a pickle"),
        ("absent.safetensors", "the index names it"),
        ("dangling.safetensors", "the index names it"),
        ("pipe.safetensors", "the index names it"),
    ],
)
def test_shards_that_an_index_may_not_name(source, folder, name, words):
    save_file({"x": torch.ones(1)}, folder / "evil.safetensors")
    (source / "dangling.safetensors").symlink_to(folder / "nothing")
    os.mkfifo(source / "pipe.safetensors")
    write_index(source, mapped({"x": name}))
    refused(source, words)


@pytest.mark.parametrize("shards", ["copy", "link"])
def test_a_snapshot_of_links_as_download_caches_have_is_read_and_written_as_files(
    source, folder, shards
):
    (folder / "blobs").mkdir()
    snapshot = folder / "snapshot"
    snapshot.mkdir()
    for number, file in enumerate(sorted(source.iterdir())):
        file.rename(folder / "blobs" / str(number))
        (snapshot / file.name).symlink_to(Path("..") / "blobs" / str(number))
    expansion = plan(snapshot, folder)
    out = expansion.write(folder / "new", shards=shards)[-1]
    assert not any(path.is_symlink() for path in out.iterdir())
    assert (out / SHARDS[0]).samefile(snapshot / SHARDS[0]) == (shards == "link")
    assert len(find_head(open_checkpoint(out)).weight) == len(expansion.class_names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read as an index"),
        ("[" * 100_000, "cannot be read as an index"),
        ('{"weight_map": ' + "9" * 10_000 + "}", "cannot be read as an index"),
        ("[]", "expected a weight_map"),
        ('{"weight_map": {}}', "expected a weight_map"),
        ('{"weight_map": {"x": NaN}}', "NaN is no JSON"),
        ('{"x": ' * 200 + "0" + "}" * 200, "nested too deeply"),
        ('{"weight_map": {"x": 1}}', "something else than file names"),
        ('{"weight_map": {"x": "y"}, "metadata": 3}', "metadata that is no object"),
        (b"\xff\xfe\x00", "cannot be read as an index"),
    ],
)
def test_an_index_that_is_none(source, text, words):
    (source / INDEX).write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(source, words)


def test_a_huge_index(source):
    os.truncate(source / INDEX, 100_000_001)
    refused(source, "is too large")


def test_index_and_shards_must_agree(source):
    index = json.loads((source / INDEX).read_text())
    where = index["weight_map"]
    write_index(source, mapped({**where, "ghost": SHARDS[0]}))
    refused(source, f"'ghost' is in {SHARDS[0]}, but it is not")
    write_index(source, mapped({k: v for k, v in where.items() if k != "body.count"}))
    refused(source, f"'body.count' is in {SHARDS[1]}, but it is")
    write_index(source, mapped({**where, "fc.bias": SHARDS[0]}))
    refused(source, "'fc.bias'")


def test_folders_without_one_index(source, tmp_path):
    (source / "other.safetensors.index.json").write_text("{}")
    assert "name one of them" in refused(source, "holds 2 indexes").hint
    for names, hint in (
        (("weights.bin",), "name the file"),
        (("model-1.bin", "model-2.bin"), "its shards are pickles"),
        (("notes.txt",), "needs a *.safetensors or *.safetensors.index.json"),
    ):
        path = tmp_path / f"with {names[0]}"
        path.mkdir()
        for name in names:
            (path / name).write_bytes(b"")
        assert hint in refused(path, "expected one checkpoint file in it").hint


@pytest.mark.parametrize("alone", [True, False])
def test_heads_for_training_alone_are_left_out_of_their_shards(folder, world, alone):
    """With a shard of their own, and in one that holds other tensors, too."""
    state = inception(world)
    path = folder / "net"
    path.mkdir()
    sides = {key for key in state if key.startswith("AuxLogits.")}
    own = sides if alone else sides | {"Conv2d_1a_3x3.conv.weight"}
    where = {key: SHARDS[0] if key in own else SHARDS[1] for key in state}
    for name in SHARDS[:2]:
        save_file({key: state[key] for key in state if where[key] == name}, path / name)
    size = sum(tensor.nbytes for tensor in state.values())
    write_index(path, {"metadata": {"total_size": size}} | mapped(where))
    injector = injector_for(path, folder)
    expansion = expand(open_checkpoint(path), injector, auxiliary="drop")
    out = expansion.write(folder / "new", shards="link")[-1]
    assert set(contents(out)) == {INDEX, *SHARDS[alone:2]}
    kept = {key: name for key, name in where.items() if key not in sides}
    index = json.loads((out / INDEX).read_text())
    assert index["weight_map"] == kept
    assert index["metadata"]["total_size"] == 6 * 25 * 4 + sum(state[key].nbytes for key in kept)
    assert set(open_checkpoint(out).tensors) == set(kept)
    verify(path, out).require()
    write_index(out, {**index, "metadata": {"total_size": size + 6 * 25 * 4}})
    assert "metadata in " in str(verify(path, out).difference)


def test_the_whole_way_by_the_command_line(source, folder, world):
    (folder / "config.json").write_text("{}")

    def done(*arguments: object) -> str:
        result = icis(*arguments, cwd=folder)
        assert result.code == 0, result.err
        return result.err

    done("fit", "--weights", source.name, "--attrs", "attrs.csv", "--method", "ridge")
    assert icis("inject", "--shards", "move", cwd=folder).code == 2
    done("inject", "--shards", "link")
    first = folder / "net-1.5.injected"
    assert set(contents(first)) == {INDEX, *SHARDS}
    lines = (folder / "attrs.csv").read_text().splitlines()
    later = [f"later {n}," + line.partition(",")[2] for n, line in enumerate(lines[3:6])]
    (folder / "later.csv").write_text("\n".join([lines[0], *later]) + "\n")
    done("inject", "--weights", first, "--attrs", "later.csv", "--out", "second")
    generator = np.random.default_rng(0)
    labels = np.arange(46).repeat(2)
    features = world.rows[labels, :-1] + 0.1 * generator.standard_normal((92, 24))
    np.savez(
        folder / "test.npz",
        features=features.astype(np.float32),
        labels=np.array(world.names)[labels],
    )
    assert icis(
        "eval", "--weights", "second", "--features", "test.npz", "--quiet", cwd=folder
    ).out.startswith("harmonic ")
    done("inject", "--remove", "--weights", "second", "--out", "back")
    assert contents(folder / "back") == contents(source)
    assert loaded(folder / "back") == {k: bits(t) for k, t in world.state().items()}

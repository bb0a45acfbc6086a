"""``icis inspect``: what a checkpoint holds is told without reading, running or trusting it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from icis_cli import Checkpoint, inspect_checkpoint, open_checkpoint
from icis_cli.errors import CheckpointError, HeadError
from tests.conftest import run
from tests.records import side_file

from .conftest import Completed, World

HOSTILE = "\x1b[31mred\x1b[0m\x07\r\n\u202e[bold]x"


def save(
    path: Path, state: dict[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path, metadata=metadata)
    else:
        torch.save(state, path)
    return path


Call = Callable[..., Completed]


def shown(icis: Call, *arguments: object) -> list[str]:
    """Return the lines of the report."""
    done = icis(*arguments)
    assert (done.code, done.err) == (0, "")
    return [line.rstrip() for line in done.out.splitlines()]


@pytest.fixture
def icis(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run ``icis inspect`` in this process, which has torch already, 80 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object) -> Completed:
        capsys.readouterr()
        code = run(["inspect", *map(str, arguments)])
        return Completed(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, world: World) -> Path:
    """A checkpoint of 40 trained rows and rows of two injections."""
    folder = tmp_path_factory.mktemp("two")
    torch.save(world.state(), folder / "model.pt")
    np.savez(folder / "attrs.npz", values=world.descriptors, names=np.array(world.names))
    (folder / "first.txt").write_text("kind a20\nkind b20\n")
    (folder / "second.txt").write_text("kind a22\n")

    def do(command: str) -> None:
        words = [str(folder / w) if "." in w and w[0].isalpha() else w for w in command.split()]
        assert run([*words, "--quiet"]) == 0

    do("fit --weights model.pt --attrs attrs.npz --method ridge --out i.safetensors")
    inject = "inject --injector i.safetensors"
    do(f"{inject} --unseen first.txt --calibration none --out one.safetensors")
    do(
        f"{inject} --weights one.safetensors --unseen second.txt --calibration 1.5 "
        "--out two.safetensors"
    )
    return folder / "two.safetensors"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_both_containers_tell_the_same(suffix, tmp_path, world):
    path = save(tmp_path / f"m{suffix}", world.state(torch.float16))
    inspection = inspect_checkpoint(path)
    assert inspection.container == {".pt": "torch", ".safetensors": "safetensors"}[suffix]
    assert inspection.size == path.stat().st_size
    assert inspection.tensors == 4
    assert inspection.parameters == {"F16": 40 * 24 + 40, "F32": 24, "I64": 1}
    head: Any = inspection.head
    assert (head.layer.key, head.layer.rows, head.layer.width) == ("fc", 40, 24)
    assert (head.layer.dtype, head.layer.bias, head.found) == ("F16", True, "the only linear layer")
    weight = world.rows[:40, :-1].astype(np.float16).astype(np.float64)
    norms = np.sqrt((weight**2).sum(axis=1))
    expected = (norms.min(), np.median(norms), norms.max())
    np.testing.assert_allclose(list(vars(head.norms).values()), expected, rtol=1e-12)
    assert inspection.class_names is None
    assert inspection.trained is None
    assert inspection.rounds == ()
    assert inspect_checkpoint(open_checkpoint(path)) == inspection


def test_only_the_head_is_read(tmp_path, monkeypatch):
    state = {f"layer{n}.weight": torch.randn(5, 5) for n in range(4)}
    state |= {"fc.weight": torch.randn(3, 5), "fc.bias": torch.randn(3)}
    path = save(tmp_path / "m.safetensors", state)
    kind = type(open_checkpoint(path))
    read: list[str] = []
    raw = kind.raw

    def noting(checkpoint: Checkpoint, key: str) -> Any:
        read.append(key)
        return raw(checkpoint, key)

    monkeypatch.setattr(kind, "raw", noting)
    assert "found" in vars(inspect_checkpoint(path).head)
    assert sorted(read) == ["fc.bias", "fc.weight"]


def test_several_candidates_are_listed_and_the_found_one_is_marked(icis, tmp_path):
    state = {
        "body.weight": torch.ones(7, 5),
        "fc.weight": torch.ones(3, 7),
        "fc.bias": torch.ones(3),
    }
    path = save(tmp_path / "m.safetensors", state)
    inspection = inspect_checkpoint(path)
    layers = [(layer.key, layer.rows, layer.width, layer.bias) for layer in inspection.layers]
    assert layers == [("body", 7, 5, False), ("fc", 3, 7, True)]
    text = shown(icis, path)
    assert [line[-30:].strip() for line in text if "head" in line] == [
        "head         fc [by its name]"
    ]
    assert sum("* " in line for line in text) == 1
    assert next(line for line in text if "* " in line).strip() == "* 3 x 7 F32         fc"
    assert "7 x 5 F32 no bias body" in "\n".join(text)


def test_of_many_candidates_the_last_are_shown(icis, tmp_path):
    state = {f"block{n:03}.weight": torch.ones(4, 4) for n in range(150)}
    path = save(tmp_path / "m.safetensors", state)
    assert len(inspect_checkpoint(path).layers) == 150
    text = "\n".join(shown(icis, path))
    assert text.count("4 x 4 F32 no bias block") == 8
    assert "no bias block142" in text
    assert "no bias block149" in text
    assert "and 142 more" in text
    text = "\n".join(shown(icis, path, "--head", "block003"))
    assert "*   4 x 4 F32 no bias block003" in text
    assert "and 141 more" in text


@pytest.mark.parametrize(
    ("state", "reason", "hint"),
    [
        ({"conv.weight": torch.ones(2, 2, 1, 1)}, "expected a linear layer", "is this the"),
        (
            {"a.weight": torch.ones(3, 2), "b.weight": torch.ones(4, 2)},
            "2 linear layers could be the head: a (3, 2), b (4, 2)",
            "name it, e.g. --head b",
        ),
        ({"fc.weight": torch.full((3, 2), torch.nan)}, "head 'fc' holds NaN", "is damaged"),
    ],
)
def test_where_no_head_is_found_that_is_told_and_no_failure(icis, tmp_path, state, reason, hint):
    path = save(tmp_path / "m.safetensors", state)
    head: Any = inspect_checkpoint(path).head
    assert head.reason.startswith(reason)
    assert hint in head.hint
    done = icis(path)
    assert (done.code, done.err) == (0, "")
    assert f"not found: {reason[:20]}" in done.out
    quiet = icis(path, "--quiet")
    assert quiet.out.startswith("classes unknown width unknown dtype unknown bias unknown")
    content = json.loads(icis(path, "--json").out)
    assert content["head"] is None
    assert content["why_no_head"] == {"reason": head.reason, "hint": head.hint}


def test_the_head_that_is_given(icis, tmp_path):
    state = {"a.weight": torch.ones(3, 4), "b.weight": torch.ones(4, 3), "c.weight": torch.ones(2)}
    path = save(tmp_path / "m.safetensors", state)
    done = icis(path, "--head", "a", "--quiet")
    assert done.out == "classes 3 width 4 dtype F32 bias no injected 0 head a\n"
    assert "* 3 x 4 F32 no bias a" in icis(path, "--head", "a").out
    done = icis(path, "--head", "x")
    assert done.code == 1
    assert "no layer 'x'" in done.err
    with pytest.raises(HeadError, match="expected a float matrix"):
        inspect_checkpoint(path, "c")


def test_a_record_of_two_injections(icis, two):
    inspection = inspect_checkpoint(two)
    assert inspection.trained == 40
    rounds = [
        (part.classes, part.method, part.calibration, part.gamma) for part in inspection.rounds
    ]
    assert rounds == [(2, "ridge", "none", 0.0), (1, "ridge", "fixed", 1.5)]
    assert inspection.class_names is not None
    assert inspection.class_names.source == "record"
    assert inspection.class_names.names[40:] == ("kind a20", "kind b20", "kind a22")
    assert inspection.metadata == ("icis",)
    assert inspection.notes == ()
    text = "\n".join(shown(icis, two))
    assert "43 from the record: kind a0, kind b0, kind a1, ..." in text
    assert "trained      40 classes" in text
    assert "injected     2 by ridge, calibration none: kind a20, kind b20\n" in text
    assert "             1 by ridge, calibration fixed +1.5: kind a22\n" in text
    assert icis(two, "--quiet").out.endswith("injected 3 head fc\n")


def test_a_record_that_does_not_fit_the_head_is_noted(two, tmp_path):
    other = save(tmp_path / "other.pt", {"fc.weight": torch.ones(5, 4)})
    side_file(other).write_text(side_file(two).read_text())
    notes = inspect_checkpoint(other).notes
    assert notes == ("the head has 5 rows, but the record names 43 classes",)
    save(other, {"last.weight": torch.ones(43, 4)})
    assert inspect_checkpoint(other).notes == ("the record is about the head 'fc', not 'last'",)


@pytest.mark.parametrize("value", ["NaN", "1e999", '"x"', "null", "[]"])
def test_a_record_with_an_offset_that_is_none_is_refused(icis, two, tmp_path, value):
    other = save(tmp_path / "other.pt", {"fc.weight": torch.ones(43, 4)})
    damaged = side_file(two).read_text().replace('"calibration": 1.5', f'"calibration": {value}')
    side_file(other).write_text(damaged)
    done = icis(other, "--json")
    assert done.code == 1
    assert "damaged icis record" in done.err
    assert done.err.count("\n") == 1


def test_names_and_architecture_beside_a_state_dict(icis, tmp_path, world):
    root = {"state_dict": world.state(), "classes": list(world.names[:40]), "arch": "resnet50"}
    torch.save(root, tmp_path / "m.pt")
    inspection = inspect_checkpoint(tmp_path / "m.pt")
    assert inspection.class_names is not None
    assert inspection.class_names.source == "checkpoint"
    text = "\n".join(shown(icis, tmp_path / "m.pt"))
    assert "network      resnet50" in text
    assert "40 in the checkpoint: kind a0, kind b0, kind a1, ..." in text
    assert "notes        the state dict was found under 'state_dict'" in text
    torch.save({**root, "classes": ["only", "two"]}, tmp_path / "m.pt")
    assert "the head has 40 rows, but the checkpoint names 2 classes" in "\n".join(
        inspect_checkpoint(tmp_path / "m.pt").notes
    )


@pytest.mark.parametrize("mode", [[], ["--json"], ["--quiet"], ["--head", "nothing"]])
def test_nothing_in_a_file_steers_the_terminal(icis, mode, tmp_path):
    key = f"{HOSTILE}.weight"
    save(tmp_path / "a.safetensors", {key: torch.ones(3, 2)}, {HOSTILE: HOSTILE})
    wrapped = {"state_dict": {key: torch.ones(3, 2)}, "classes": [HOSTILE] * 3, "arch": HOSTILE}
    torch.save(wrapped, tmp_path / "b.pt")
    for name in ("a.safetensors", "b.pt"):
        done = icis(tmp_path / name, *mode)
        assert done.code == (1 if "nothing" in mode else 0), done.err
        for text in (done.out, done.err):
            assert all(c.isprintable() for c in text.replace("\n", ""))
        if mode != ["--json"]:
            assert "\\x1b[31mred" in done.out + done.err
            assert "[bold]x" in done.out + done.err


def test_long_names_are_cut_and_lines_keep_to_the_terminal(icis, tmp_path):
    torch.save({"state_dict": {"fc.weight": torch.ones(2, 2)}, "classes": ["n" * 5000, "b"]},
               tmp_path / "m.pt")  # fmt: skip
    text = shown(icis, tmp_path / "m.pt")
    assert max(map(len, text)) <= 80
    assert sum(line.count("n" * 20) for line in text) < 5
    assert any(line.endswith("..., b") for line in text)


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors"])
@pytest.mark.parametrize("length", [0, 5, 40, -1])
def test_a_truncated_file_is_refused_in_one_line(icis, name, length, tmp_path, world):
    whole = save(tmp_path / name, world.state()).read_bytes()
    (tmp_path / name).write_bytes(whole[:length])
    done = icis(tmp_path / name)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"icis: error: {tmp_path / name}: ")
    assert done.err.count("\n") == 1
    content = json.loads(icis(tmp_path / name, "--json").out)
    assert content["error"]["type"] == "CheckpointError"


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        inspect_checkpoint(tmp_path / "m.pt")


def test_the_json_object(icis, two):
    done = icis(two, "--json")
    assert done.err == ""
    assert done.out.isascii()
    content = json.loads(done.out)
    assert list(content) == [
        "schema_version", "command", "weights", "container", "bytes", "tensors", "parameters",
        "candidates", "head", "why_no_head", "class_names", "trained_rows", "rounds", "arch",
        "metadata", "notes",
    ]  # fmt: skip
    assert content["schema_version"] == 1
    assert content["command"] == "inspect"
    assert content["weights"] == str(two)
    assert content["class_names"]["count"] == len(content["class_names"]["names"]) == 43
    assert content["head"].keys() == {
        "key", "classes", "width", "bias", "dtype", "found", "norms", "twins", "auxiliary"
    }  # fmt: skip
    assert content["rounds"][1] == {
        "classes": 1,
        "method": "ridge",
        "calibration": "fixed",
        "gamma": 1.5,
        "version": content["rounds"][0]["version"],
    }
    assert content["candidates"][0]["key"] == "fc"


def test_a_folder_of_shards_is_one_checkpoint(tmp_path):
    parts = {
        "m-1.safetensors": {"body.weight": torch.ones(7, 5)},
        "m-2.safetensors": {"fc.weight": torch.ones(3, 7), "fc.bias": torch.ones(3)},
    }
    where = {key: name for name, state in parts.items() for key in state}
    for name, state in parts.items():
        save(tmp_path / name, state)
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    whole = sum(path.stat().st_size for path in tmp_path.iterdir())
    (tmp_path / "config.json").write_text("{}")
    inspection = inspect_checkpoint(tmp_path)
    assert inspection.size == whole
    assert inspection.parameters == {"F32": 7 * 5 + 3 * 7 + 3}
    head: Any = inspection.head
    assert head.layer.key == "fc"
    (tmp_path / "m-1.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"m-1\.safetensors"):
        inspect_checkpoint(tmp_path)

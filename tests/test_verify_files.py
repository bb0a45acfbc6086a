"""``icis verify`` and all that is beside the head: tied tensors, entries, shards, graphs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from icis_cli import expand, open_checkpoint, remove, verify
from tests.conftest import run

from .conftest import World, icis
from .test_verify import State, failed, injected, injector_for, save


@pytest.fixture
def descriptors(tmp_path: Path, world: World) -> Path:
    np.savez(tmp_path / "attrs.npz", values=world.descriptors, names=np.array(world.names))
    return tmp_path / "attrs.npz"


def tied(world: World) -> State:
    """A network whose head is its embedding, too."""
    state = world.state()
    return {"embed.weight": state["fc.weight"], **state}


def test_a_tensor_that_is_one_with_the_head_has_its_rows(tmp_path, world, descriptors):
    old = save(tmp_path / "old.pt", tied(world))
    new = injected(old, tmp_path / "new.pt", descriptors)
    found = verify(old, new)
    assert found.difference is None
    assert [c.found for c in found.checks if c.name == "tied tensors"] == [
        "the same rows: embed.weight with fc.weight"
    ]
    written = torch.load(new, weights_only=True)
    assert written["embed.weight"].data_ptr() == written["fc.weight"].data_ptr()
    assert len(written["embed.weight"]) == 46

    for change, checks, reason in (
        (lambda rows: torch.cat([rows[:45], rows[45:] + 1]), ["tied tensors"], "in row 45"),
        (lambda rows: torch.cat([rows[:3], rows[3:] + 1]), ["tied tensors"], "in row 3"),
        (lambda rows: rows[:40].clone(), ["tensors"], "F32 (40, 24), expected F32 (46, 24)"),
        (lambda rows: rows[:43].clone(), ["tensors"], "F32 (43, 24), expected F32 (46, 24)"),
    ):
        torch.save({**written, "embed.weight": change(written["embed.weight"])}, new)
        found = verify(old, new)
        assert failed(found) == checks
        assert reason in str(found.difference)


def test_other_formats_keep_no_tensors_that_are_one(tmp_path, world, descriptors):
    old = save(tmp_path / "old.pt", tied(world))
    assert verify(old, injected(old, tmp_path / "new.safetensors", descriptors)).passed
    injector = injector_for(old, descriptors)
    for number, suffixes in enumerate(((".safetensors", ".pt"), (".pt", ".safetensors"))):
        one, two = (tmp_path / f"{number}{step}{s}" for step, s in enumerate(suffixes))
        expand(open_checkpoint(old), injector, unseen=("kind a20", "kind b20")).write(one)
        expand(open_checkpoint(one), injector, unseen=("kind a22",)).write(two)
        for first, second in ((old, one), (one, two), (old, two)):
            assert verify(first, second).difference is None


def test_inject_tells_of_tensors_that_get_rows_with_the_head(tmp_path, world, descriptors):
    old = save(tmp_path / "old.pt", tied(world))
    plan = expand(open_checkpoint(old), injector_for(old, descriptors))
    text = "'embed.weight' shares its values with 'fc.weight', and gets the new rows, too"
    assert text in plan.losses(tmp_path / "new.pt")
    assert text not in plan.losses(tmp_path / "new.safetensors")
    new = plan.write(tmp_path / "new.pt")[-1]
    back = remove(open_checkpoint(new))
    assert "loses the new rows, too" in str(back.losses(tmp_path / "back.pt"))
    back.write(tmp_path / "back.pt")
    assert len(torch.load(tmp_path / "back.pt", weights_only=True)["embed.weight"]) == 40
    done = icis("fit", "--weights", "old.pt", "--attrs", "attrs.npz", "--method", "ridge",
                cwd=tmp_path)  # fmt: skip
    assert done.code == 0, done.err
    done = icis("inject", "--out", "other.pt", cwd=tmp_path)
    assert f"note: {text}" in done.err
    assert icis("verify", "old.pt", "other.pt", "--quiet", cwd=tmp_path).code == 0


@pytest.fixture
def training(tmp_path: Path, world: World) -> Path:
    """A training checkpoint with two networks, whose averaged copy is another one."""
    state = world.state()
    average = {f"module.{key}": value + 1 for key, value in state.items()}
    root = {
        "model": state,
        "model_ema": average,
        "optimizer": {"state": {}, "param_groups": []},
        "epoch": 3,
        "classes": list(world.names[:40]),
        "args": argparse.Namespace(num_classes=40, lr=0.1),
        "scores": {
            "history": [0.5, float("nan")],
            "best": torch.ones(2),
            "zero": 0.0,
            "found": {1},
        },
        1: "a key that is a number",
    }
    torch.save(root, tmp_path / "train.pth")
    return tmp_path / "train.pth"


@pytest.mark.parametrize("entry", ["model", "model_ema"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_network_of_a_training_checkpoint(training, descriptors, entry, suffix, capsys):
    fit = ["fit", "--weights", str(training), "--state", entry, "--attrs", str(descriptors)]
    injector = training.parent / "injector.safetensors"
    new = str(training.parent / f"new{suffix}")
    fit += ["--out", str(injector), "--method", "ridge", "--quiet"]
    assert run(fit) == 0
    inject = ["inject", "--injector", str(injector), "--weights", str(training), "--state", entry]
    assert run([*inject, "--out", new, "--quiet"]) == 0
    capsys.readouterr()
    other = {"model": "model_ema", "model_ema": "model"}[entry]
    for more in ([], ["--state", entry]):
        assert run(["verify", str(training), new, *more]) == 0
        assert f"{entry!r} of train.pth (not {other!r})" in capsys.readouterr().out
    assert run(["verify", str(training), new, "--state", other]) == 1
    assert capsys.readouterr().err.endswith(f"- did you mean --state {entry}?\n")
    assert run(["verify", new, str(training)]) == 1
    assert capsys.readouterr().err.endswith("- the order is icis verify OLD NEW\n")


def test_a_changed_network_is_told_where_there_are_several(training, descriptors):
    checkpoint = open_checkpoint(training, "model")
    plan = expand(checkpoint, injector_for_entry(training, descriptors, "model"))
    new = plan.write(training.parent / "new.pth")[-1]
    root = torch.load(new, weights_only=False)
    root["model"]["body.weight"][0] += 1
    torch.save(root, new)
    found = verify(training, new)
    assert failed(found) == ["other tensors"]
    assert found.hint == "make it again with icis inject"


def injector_for_entry(path: Path, descriptors: Path, entry: str) -> Any:
    """Fit on one network of a training checkpoint, saved alone."""
    state = torch.load(path, weights_only=False)[entry]
    return injector_for(save(path.parent / "alone.pt", state), descriptors)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r.update(epoch=4), "its entry 'epoch' is not what follows"),
        (lambda r: r.pop("epoch"), "its entry 'epoch' is missing"),
        (lambda r: r.update(more=[1]), "its entry 'more' is more than follows"),
        (lambda r: r.update(optimizer={"state": {}, "param_groups": []}), "its entry 'optimizer'"),
        (lambda r: setattr(r["args"], "num_classes", 40), "its entry 'args' is not what follows"),
        (lambda r: setattr(r["args"], "lr", 1), "its entry 'args' is not what follows"),
        (lambda r: r["scores"]["best"].add_(1), "its entry 'scores' is not what follows"),
        (lambda r: r["scores"]["history"].append(1), "its entry 'scores' is not what follows"),
        (lambda r: r["model"].update(step=1), "its entry 'step' is more than follows"),
        (lambda r: r["scores"].update(zero=-0.0), "its entry 'scores' is not what follows"),
        (lambda r: r["scores"].update(found={True}), "its entry 'scores' is not what follows"),
        (lambda r: r["scores"]["best"].requires_grad_(), "its entry 'scores' is not what follows"),
        (lambda r: r["model"]["fc.bias"].requires_grad_(), "its tensor 'fc.bias' is to be trained"),
        (lambda r: r.update({True: r.pop(1)}), "its entry 1 is missing"),
    ],
)
def test_entries_beside_the_network(training, descriptors, change, reason):
    plan = expand(
        open_checkpoint(training, "model"), injector_for_entry(training, descriptors, "model")
    )
    new = plan.write(training.parent / "new.pth")[-1]
    assert verify(training, new).difference is None
    root = torch.load(new, weights_only=False)
    change(root)
    torch.save(root, new)
    found = verify(training, new)
    assert failed(found) == ["beside"]
    assert reason in str(found.difference)


@pytest.mark.parametrize(
    "entries",
    [
        {"names": ["run"]},
        {"labels": ["loss", "accuracy"]},
        {"classes": [f"c{n}" for n in range(39)]},
        {"hyper_parameters": {"names": ["a", "b"]}},
    ],
)
def test_lists_that_are_not_of_the_classes(tmp_path, world, descriptors, entries):
    torch.save({"state_dict": world.state(), **entries}, tmp_path / "old.pt")
    new = injected(tmp_path / "old.pt", tmp_path / "new.pt", descriptors)
    assert verify(tmp_path / "old.pt", new).difference is None


def test_a_state_dict_that_was_put_elsewhere(tmp_path, world, descriptors):
    for name in ("old.pt", "old.safetensors"):
        old = save(tmp_path / name, world.state())
        new = injected(old, tmp_path / f"{name}.new.pt", descriptors)
        torch.save({"state_dict": torch.load(new, weights_only=True), "evil": 1}, new)
        found = verify(old, new)
        assert failed(found) == ["beside"]
        assert "lies under 'state_dict', expected at its top" in str(found.difference)


def test_metadata_that_a_conversion_does_not_write(tmp_path, world, descriptors):
    old = save(tmp_path / "old.pt", world.state())
    new = injected(old, tmp_path / "new.safetensors", descriptors)
    data, keys = new.read_bytes(), len(open_checkpoint(new).metadata)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"]["author"] = "x"
    text = json.dumps(header).encode()
    new.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    assert len(open_checkpoint(new).metadata) == keys + 1
    assert verify(old, new).difference == "its metadata differs in 'author'"


def test_shards_and_their_index(tmp_path, world, descriptors):
    old = save(tmp_path / "old", world.state())
    index = "model.safetensors.index.json"
    content = json.loads((old / index).read_text())
    content["metadata"] = {"total_size": 24 * 4 + 8 + 40 * 25 * 4}
    (old / index).write_text(json.dumps(content))
    new = injected(old, tmp_path / "new", descriptors)
    assert verify(old, new).difference is None
    names = [index, "model-0.safetensors", "model-1.safetensors"]
    written = {name: (new / name).read_bytes() for name in names}

    def tell(reason: str) -> None:
        found = verify(old, new)
        assert "folder" in failed(found)
        assert reason in str(found.difference)
        for name, data in written.items():
            (new / name).write_bytes(data)

    grown = json.loads(written[index])
    (new / index).write_text(json.dumps({**grown, "metadata": {"total_size": 1}}))
    tell(f"metadata in {index} is not what follows")
    (new / index).write_text(json.dumps({**grown, "auto_map": "evil.py"}))
    tell(f"auto_map in {index} is not what follows")

    parts = []
    for name in names[1:]:
        with safe_open(new / name, "pt") as file:
            parts.append(({k: file.get_tensor(k) for k in file.keys()}, file.metadata()))  # noqa: SIM118
    key = next(iter(parts[0][0].keys() - {"fc.weight", "fc.bias"}))
    parts[1][0][key] = parts[0][0].pop(key)
    for name, (state, metadata) in zip(names[1:], parts, strict=True):
        save_file(state, new / name, metadata)
    moved = {**grown, "weight_map": {**grown["weight_map"], key: names[2]}}
    (new / index).write_text(json.dumps(moved))
    tell(f"{key!r} is in model-1.safetensors, it was in model-0.safetensors")


def test_a_file_that_became_a_folder(tmp_path, world, descriptors):
    old = save(tmp_path / "old", world.state())
    (old / "config.json").write_text(json.dumps({"num_labels": 40}))
    (old / "README.md").write_text("text")
    new = injected(old, tmp_path / "new", descriptors)
    assert verify(old, new).passed
    (new / "config.json").write_text(json.dumps({"num_labels": 46.0}))
    assert str(verify(old, new).difference).startswith("num_labels in ")
    (new / "config.json").write_text(json.dumps({"num_labels": 46}))
    assert verify(old, new).passed
    (new / "README.md").unlink()
    (new / "README.md").mkdir()
    assert verify(old, new).difference == "README.md differs"


def test_what_an_onnx_graph_tells_of_classes_stays_told(tmp_path, world, descriptors):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    info = helper.make_tensor_value_info
    stored = [
        numpy_helper.from_array(np.ascontiguousarray(world.rows[:40, :-1]), "fc.weight"),
        numpy_helper.from_array(np.ascontiguousarray(world.rows[:40, -1]), "fc.bias"),
    ]
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["y"], transB=1)],
        "g",
        [info("x", TensorProto.FLOAT, ["n", 24])],
        [info("y", TensorProto.FLOAT, ["n", 40])],
        stored,
    )
    old = tmp_path / "old.onnx"
    onnx.save(helper.make_model(graph), old)
    new = injected(old, tmp_path / "new.onnx", descriptors)
    assert verify(old, new).passed
    for change in (
        lambda m: m.graph.output[0].type.tensor_type.shape.dim[1].ClearField("dim_value"),
        lambda m: setattr(m.graph.initializer[0], "doc_string", "x"),
    ):
        model = onnx.load(new)
        change(model)
        onnx.save(model, tmp_path / "changed.onnx")
        assert failed(verify(old, tmp_path / "changed.onnx")) == ["graph"]

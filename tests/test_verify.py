"""``icis verify``: a new checkpoint is the old one plus rows, or the first difference is told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from icis_cli import (
    Injector,
    Ridge,
    Verification,
    align,
    expand,
    find_head,
    fit,
    open_checkpoint,
    read_descriptors,
    remove,
    verify,
)
from icis_cli.errors import CheckpointError, VerificationError
from icis_cli.verification import stretches
from tests.conftest import run

from .conftest import World

State = dict[str, torch.Tensor]


@pytest.fixture
def descriptors(tmp_path: Path, world: World) -> Path:
    np.savez(tmp_path / "attrs.npz", values=world.descriptors, names=np.array(world.names))
    return tmp_path / "attrs.npz"


def save(path: Path, state: State) -> Path:
    """Save a state dict as a file, or as a folder of two shards with a configuration."""
    if path.suffix == ".safetensors":
        save_file(state, path)
    elif path.suffix:
        torch.save(state, path)
    else:
        path.mkdir()
        shards = {key: f"model-{n % 2}.safetensors" for n, key in enumerate(state)}
        for name in set(shards.values()):
            save_file({k: v for k, v in state.items() if shards[k] == name}, path / name)
        index = {"metadata": {}, "weight_map": shards}
        (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


def injector_for(path: Path, descriptors: Path, head: str | None = None) -> Injector:
    checkpoint = open_checkpoint(path)
    found = find_head(checkpoint, head)
    return fit(checkpoint, found, align(found.rows, read_descriptors(descriptors)), Ridge())


def injected(old: Path, new: Path, descriptors: Path, **options: Any) -> Path:
    injector = injector_for(old, descriptors)
    return expand(open_checkpoint(old), injector, **options).write(new)[-1]


@pytest.fixture
def pair(tmp_path: Path, world: World, descriptors: Path) -> tuple[Path, Path]:
    """Old and new checkpoint as PyTorch files; the record is beside the new one alone."""
    old = save(tmp_path / "old.pt", world.state())
    return old, injected(old, tmp_path / "new.pt", descriptors)


@pytest.fixture
def stored(tmp_path: Path, world: World, descriptors: Path) -> tuple[Path, Path]:
    """Old and new checkpoint as safetensors files."""
    old = save(tmp_path / "old.safetensors", world.state())
    return old, injected(old, tmp_path / "new.safetensors", descriptors)


def failed(verification: Verification) -> list[str]:
    return [check.name for check in verification.checks if not check.passed]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("old", "new"),
    [("a.pt", "b.pt"), ("a.pt", "b.safetensors"), ("a.safetensors", "b.pt"),
     ("a.safetensors", "b.safetensors"), ("a", "b"), ("a", "b.pt"), ("a", "b.safetensors")],
)  # fmt: skip
def test_what_inject_wrote_is_the_old_checkpoint_plus_rows(
    tmp_path, world, descriptors, old, new, dtype
):
    first = save(tmp_path / old, world.state(dtype))
    second = injected(first, tmp_path / new, descriptors)
    seen: list[tuple[int, int]] = []
    found = verify(first, second, lambda done, total, _: seen.append((done, total)))
    assert found.difference is None
    assert (found.head, found.rows_before, found.rows_after) == ("fc", 40, 46)
    beside = ["beside"] if second.suffix == ".pt" else ["metadata"]
    beside += [] if second.suffix else ["folder"]
    assert [check.name for check in found.checks] == [
        "record", "record fields", "side file", "injections", "tensors", "other tensors",
        "old rows", "new rows", "offsets", "class names", *beside, "sha256 of old",
    ]  # fmt: skip
    width = 4 if dtype is torch.float32 else 2
    total = 24 * 4 + 8 + 46 * 25 * width
    assert seen[-1] == (total, total)
    found.require()


def test_several_injections_are_verified_one_by_one_and_together(tmp_path, world, descriptors):
    old = save(tmp_path / "old.safetensors", world.state())
    injector = injector_for(old, descriptors)
    one, two = tmp_path / "one.safetensors", tmp_path / "two.pt"
    expand(open_checkpoint(old), injector, unseen=("kind a20", "kind b20")).write(one)
    expand(open_checkpoint(one), injector, unseen=("kind a22",)).write(two)
    for first, second, rows in ((old, one, (40, 42)), (one, two, (42, 43)), (old, two, (40, 43))):
        found = verify(first, second)
        assert found.difference is None
        assert (found.rows_before, found.rows_after) == rows
    other = tmp_path / "other.safetensors"
    expand(open_checkpoint(old), injector, unseen=("kind b22", "kind b20")).write(other)
    assert failed(verify(other, two)) == [
        "injections", "old rows", "class names", "sha256 of old",
    ]  # fmt: skip
    assert verify(other, two).difference == (
        "its first injections are not those of the old checkpoint"
    )
    back = remove(open_checkpoint(two)).write(tmp_path / "back.safetensors")[-1]
    assert str(verify(old, back).difference).startswith("it has no record of injected rows, and")


def test_without_bias_and_in_a_wrapped_file(tmp_path, world, descriptors):
    names = list(world.names[:40])
    state = {"epoch": 3, "classes": names, "state_dict": world.state(bias=False)}
    torch.save(state, tmp_path / "old.pt")
    new = injected(tmp_path / "old.pt", tmp_path / "new.pt", descriptors)
    assert verify(tmp_path / "old.pt", new).difference is None
    root = torch.load(new, weights_only=True)
    root["classes"][45] = "another"
    torch.save(root, new)
    assert failed(verify(tmp_path / "old.pt", new)) == ["class names", "beside"]


def nan(state: State) -> None:
    state["fc.bias"][43] = float("nan")


def reordered(state: State) -> None:
    state["body.weight"] = state.pop("body.weight")


Change = Callable[[State], object]


@pytest.mark.parametrize(
    ("change", "checks", "reason"),
    [
        (lambda s: s["body.weight"].view(-1)[7:].add_(1e-6), ["other tensors"],
         "'body.weight' differs, first in number 7 of 24"),
        (lambda s: s["body.count"].sub_(8), ["other tensors"], "'body.count' differs"),
        (lambda s: s["fc.weight"][39, 23].neg_(), ["old rows"],
         "'fc.weight' differs in old row 39"),
        (lambda s: s["fc.bias"][0:1].add_(1), ["old rows"], "'fc.bias' differs in old row 0"),
        (nan, ["new rows"], "'fc.bias' has a number in row 43 that is not finite"),
        (lambda s: s["fc.weight"][45, 0].fill_(float("inf")), ["new rows"], "in row 45 that is"),
        (lambda s: s.pop("body.count"), ["tensors"], "tensor 'body.count' is missing"),
        (lambda s: s.update(x=torch.ones(1)), ["tensors"], "tensor 'x' is not in the old"),
        (lambda s: s.update({"body.weight": s["body.weight"].double()}), ["tensors"],
         "'body.weight' is F64 (2, 3, 2, 2), expected F32 (2, 3, 2, 2)"),
        (lambda s: s.update({"body.weight": s["body.weight"].reshape(4, 6)}), ["tensors"],
         "'body.weight' is F32 (4, 6)"),
        (lambda s: s.update({"fc.weight": s["fc.weight"][:45]}), ["record", "tensors"],
         "its head has 45 rows, but its record lists 46 classes"),
        (lambda s: s.update({"fc.bias": s["fc.bias"][:45].clone()}), ["tensors"],
         "'fc.bias' is F32 (45,), expected F32 (46,)"),
        (reordered, ["tensors"], "the order differs: 'body.count' comes where 'body.weight' was"),
    ],
)  # fmt: skip
def test_any_other_tensor_is_told(pair, change: Change, checks, reason):
    old, new = pair
    state = torch.load(new, weights_only=True)
    change(state)
    torch.save(state, new)
    found = verify(old, new)
    assert failed(found) == checks
    assert found.difference is not None
    assert reason in found.difference
    with pytest.raises(VerificationError, match=r"new\.pt: is not .*old\.pt plus new rows: "):
        found.require()


def test_any_changed_byte_of_the_old_checkpoint_is_found(stored):
    old, new = stored
    data = new.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    width = 4 * 24
    ends = {"fc.weight": 40 * width, "fc.bias": 160}
    generator = np.random.default_rng(0)
    for key in header.keys() - {"__metadata__"}:
        first, end = (start + offset for offset in header[key]["data_offsets"])
        for place in generator.integers(first, first + ends.get(key, end - first), 5):
            changed = bytearray(data)
            changed[place] ^= 1 << int(generator.integers(8))
            new.write_bytes(changed)
            expected = "old rows" if key in ends else "other tensors"
            assert failed(verify(old, new)) == [expected]


Record = dict[str, Any]


@pytest.mark.parametrize(
    ("change", "checks", "reason"),
    [
        (lambda r: r.update(original_sha256="0" * 64), ["sha256 of old"], "the record says 000"),
        (lambda r: r["rounds"][0].update(weights_sha256=["x"]),
         ["record fields", "sha256 of old"], "has weights_sha256 ['x'] in injection 1"),
        (lambda r: r["class_names"].__setitem__(45, r["class_names"][0]), ["record"],
         "its class 'kind a0' is new and old"),
        (lambda r: r.update(seen=39) or r["rounds"][0].update(classes=7), ["record"],
         "tells of 39 trained rows, the old checkpoint has 40"),
        (lambda r: r.update(seen_descriptor_rows=[0]), ["record"], "describes 1 trained rows"),
        (lambda r: r["rounds"][0].update(descriptor_rows=[1]), ["record"], "as many rows as were"),
        (lambda r: r["class_names"].pop() and r["rounds"][0].update(classes=5),
         ["record", "tensors"], "its head has 46 rows, but its record lists 45 classes"),
        (lambda r: r.update(dropped=["body"]), ["tensors"], "leaves out 'body', which has no"),
        (lambda r: r.update(auxiliary=["body"]), ["tensors"], "widens 'body', which is no"),
        (lambda r: r.update(head="fd"), ["head"], "its record tells of another head"),
        (lambda r: r.update(head="body"), ["head"], "its record tells of another head"),
        (lambda r: r.pop("seen"), ["record"], "it holds a damaged icis record"),
    ],
)  # fmt: skip
def test_a_record_that_does_not_tell_the_truth(pair, change, checks, reason):
    old, new = pair
    beside = Path(f"{new}.icis.json")
    record = json.loads(beside.read_text())
    change(record)
    beside.write_text(json.dumps(record))
    found = verify(old, new)
    assert failed(found) == checks
    assert found.difference is not None
    assert reason in found.difference


def test_both_copies_of_the_record_must_say_the_same(stored):
    old, new = stored
    beside = Path(f"{new}.icis.json")
    text = beside.read_text()
    beside.write_text(text.replace("kind a22", "kind c22"))
    assert failed(verify(old, new)) == ["side file"]
    beside.write_text("{")
    assert failed(verify(old, new)) == ["side file"]
    beside.unlink()
    assert verify(old, new).passed
    save_file(load_file(new), new.parent / "none.safetensors")
    found = verify(old, new.parent / "none.safetensors")
    assert str(found.difference).startswith("it has no record of injected rows, and there is no")
    assert "icis" in open_checkpoint(new).metadata


def test_another_old_checkpoint_with_the_same_tensors_is_told(pair, world):
    old, new = pair
    torch.save(world.state(), old, _use_new_zipfile_serialization=False)
    assert failed(verify(old, new)) == ["sha256 of old"]


def test_labels_in_a_folder_must_fit_to_the_record(tmp_path, world, descriptors):
    old = save(tmp_path / "old", world.state())
    labels = {str(n): name for n, name in enumerate(world.names[:40])}
    config = {
        "architectures": ["ViTForImageClassification"],
        "id2label": labels,
        "label2id": {name: int(n) for n, name in labels.items()},
    }
    (old / "config.json").write_text(json.dumps(config))
    new = injected(old, tmp_path / "new", descriptors)
    assert verify(old, new).passed
    written = json.loads((new / "config.json").read_text())
    assert len(written["id2label"]) == 46
    for key, label, value in (("id2label", "45", "zebra"), ("label2id", "kind b22", 3)):
        changed = {**written, key: {**written[key], label: value}}
        (new / "config.json").write_text(json.dumps(changed))
        found = verify(old, new)
        assert failed(found)[-1] == "folder"
        assert key in str(found.difference) or "other new classes" in str(found.difference)
    (new / "config.json").unlink()
    assert verify(old, new).difference == "new lacks config.json"


def test_all_else_in_a_folder_must_be_the_same(tmp_path, world, descriptors):
    old = save(tmp_path / "old", world.state())
    (old / "config.json").write_text(json.dumps({"hidden_act": "gelu", "layers": [1, 2]}))
    (old / "preprocessor_config.json").write_text('{"size": 224}')
    new = injected(old, tmp_path / "new", descriptors)
    written = {path.name: path.read_text() for path in new.glob("*.json")}
    assert verify(old, new).passed
    config = json.loads(written["config.json"])
    for name, text, words in (
        ("config.json", json.dumps({**config, "hidden_act": "relu"}), "hidden_act in "),
        ("config.json", json.dumps({**config, "auto_map": {"A": "evil.Model"}}), "auto_map in "),
        ("preprocessor_config.json", '{"size": 32}', "preprocessor_config.json differs"),
        ("more.py", "print()", "new has more.py"),
        ("pytorch_model.bin", "", "new has pytorch_model.bin"),
    ):
        (new / name).write_text(text)
        found = verify(old, new)
        assert failed(found) == ["folder"]
        assert str(found.difference).startswith(words)
        (new / name).unlink()
        if name in written:
            (new / name).write_text(written[name])
    assert verify(old, new).passed


def pickled(path: Path, root: Any) -> Path:
    """Save anything as a folder with ``pytorch_model.bin``."""
    path.mkdir()
    torch.save(root, path / "pytorch_model.bin")
    return path


def evil(root: Any) -> Any:
    return {**root, "evil": {"x": [1, 2, 3]}}


def wrapped(root: Any) -> Any:
    return {"state_dict": root, "classes": ["WRONG"] * 46, "args": {"x": 1}}


def of_versions(root: Any) -> Any:
    changed = OrderedDict(root)
    vars(changed)["_metadata"] = {"": {"version": 99}}
    return changed


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (evil, "its entry 'evil' is more than follows"),
        (wrapped, "its state dict lies under 'state_dict', expected at its top"),
        (of_versions, "the versions of its modules differ"),
    ],
)
@pytest.mark.parametrize("name", ["", "pytorch_model.bin"])
def test_all_else_in_the_pickle_of_a_folder_must_be_the_same(
    tmp_path, world, descriptors, name, change, reason
):
    state = OrderedDict(world.state())
    vars(state)["_metadata"] = {"": {"version": 1}}
    old = pickled(tmp_path / "old", state)
    new = injected(old, tmp_path / "new", descriptors)
    assert verify(old / name, new).difference is None
    root = torch.load(new / "pytorch_model.bin", weights_only=True)
    torch.save(change(root), new / "pytorch_model.bin")
    found = verify(old / name, new)
    assert "beside" in failed(found)
    assert reason in str([check.difference for check in found.checks])


def test_entries_in_the_pickle_of_a_folder_follow_the_record(tmp_path, world, descriptors):
    root = {"state_dict": world.state(), "args": {"num_classes": 40}, "epoch": 3}
    old = pickled(tmp_path / "old", root)
    new = injected(old, tmp_path / "new", descriptors)
    assert verify(old, new).difference is None
    written = torch.load(new / "pytorch_model.bin", weights_only=True)
    assert written["args"] == {"num_classes": 46}
    torch.save({**written, "epoch": 4}, new / "pytorch_model.bin")
    assert failed(verify(old, new)) == ["beside"]
    for name in ("one.pt", "one.safetensors"):  # a single file gets the tensors alone
        assert verify(old, injected(old, tmp_path / name, descriptors)).difference is None


def test_tensors_that_are_one_in_the_pickle_of_a_folder(tmp_path, world, descriptors):
    state = world.state()
    old = pickled(tmp_path / "old", {"embed.weight": state["fc.weight"], **state})
    plan = expand(open_checkpoint(old), injector_for(old, descriptors))
    new = tmp_path / "new"
    assert "'embed.weight' shares its values with 'fc.weight'" in str(plan.losses(new))
    plan.write(new)
    found = verify(old, new)
    assert found.difference is None
    assert "tied tensors" in [check.name for check in found.checks]
    written = torch.load(new / "pytorch_model.bin", weights_only=True)
    assert written["embed.weight"].data_ptr() == written["fc.weight"].data_ptr()
    written["embed.weight"] = written["embed.weight"].clone()
    written["embed.weight"][42, 0] += 1
    torch.save(written, new / "pytorch_model.bin")
    assert failed(verify(old, new)) == ["tied tensors"]
    for name in ("one.pt", "one.safetensors"):  # there they are two
        file = plan.write(tmp_path / name)[-1]
        assert open_checkpoint(file).tensors["embed.weight"].shape == (40, 24)
        assert verify(old, file).difference is None


def test_a_format_without_entries_in_between(tmp_path, world, descriptors):
    state = OrderedDict(world.state())
    vars(state)["_metadata"] = {"": {"version": 1}}
    for number, root in enumerate((state, {"state_dict": state, "epoch": 3})):
        old = tmp_path / f"{number}.pt"
        torch.save(root, old)
        injector = injector_for(old, descriptors)
        one, two = tmp_path / f"{number}one.safetensors", tmp_path / f"{number}two.pt"
        expand(open_checkpoint(old), injector, unseen=("kind a20",)).write(one)
        expand(open_checkpoint(one), injector, unseen=("kind b20",)).write(two)
        for first, second in ((old, one), (one, two), (old, two)):
            assert verify(first, second).difference is None
        # But nothing may have come in on the way, and one injection loses no entry.
        bare = torch.load(two, weights_only=True)
        torch.save(evil(bare), two)
        assert failed(verify(old, two)) == ["beside"]
        new = injected(old, tmp_path / f"{number}new.pt", descriptors)
        written = torch.load(new, weights_only=True)
        torch.save(dict(written.get("state_dict", written)), new)
        assert failed(verify(old, new)) == ["beside"]


def test_a_later_injection_alone_had_no_other_format_in_between(tmp_path, world, descriptors):
    old = tmp_path / "old.pt"
    torch.save({"state_dict": world.state(), "epoch": 3}, old)
    injector = injector_for(old, descriptors)
    one, two = tmp_path / "one.pt", tmp_path / "two.pt"
    expand(open_checkpoint(old), injector, unseen=("kind a20",)).write(one)
    expand(open_checkpoint(one), injector, unseen=("kind b20",)).write(two)
    torch.save(torch.load(two, weights_only=True)["state_dict"], two)
    assert failed(verify(one, two)) == ["beside"]


def test_metadata_must_be_the_same(tmp_path, world, descriptors):
    old = tmp_path / "old.safetensors"
    save_file(world.state(), old, {"mean": "0.5"})
    new = injected(old, tmp_path / "new.safetensors", descriptors)
    with safe_open(new, "pt") as content:
        metadata = content.metadata()
        state = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118
    save_file(state, new, {**metadata, "mean": "9"})
    found = verify(old, new)
    assert "metadata" in failed(found)


@pytest.mark.parametrize("name", ["kind a20", "  "])
def test_a_new_class_twice_or_without_a_name(tmp_path, world, descriptors, name):
    old = save(tmp_path / "old.safetensors", world.state())
    new = injected(old, tmp_path / "new.pt", descriptors)
    side = Path(f"{new}.icis.json")
    record = json.loads(side.read_text())
    record["class_names"][-1] = name
    side.write_text(json.dumps(record))
    assert "a new class twice, or without a name" in str(verify(old, new).difference)


def test_twins_and_heads_for_training_alone(tmp_path, world, descriptors):
    rows = torch.from_numpy(world.rows[:40])
    old = save(
        tmp_path / "twins.pt",
        {f"{key}.{part}": value.clone() for key in ("head", "head_dist")
         for part, value in (("weight", rows[:, :-1]), ("bias", rows[:, -1]))},
    )  # fmt: skip
    new = injected(old, tmp_path / "new.pt", descriptors)
    assert verify(old, new).passed
    state = torch.load(new, weights_only=True)
    state["head_dist.weight"][2] += 1
    torch.save(state, new)
    assert verify(old, new).difference == "'head_dist.weight' differs in old row 2"

    inception = {
        "AuxLogits.conv.weight": torch.ones(3),
        "AuxLogits.fc.weight": torch.randn(40, 5),
        "AuxLogits.fc.bias": torch.randn(40),
        "Conv2d_1a_3x3.conv.weight": torch.ones(2, 3, 3, 3),
        "Mixed_5b.branch1x1.conv.weight": torch.ones(2, 2, 1, 1),
    }
    head = {key: value for key, value in world.state().items() if key.startswith("fc")}
    old = save(tmp_path / "inception.pt", {**inception, **head})
    for kind in ("widen", "drop"):
        new = injected(old, tmp_path / f"{kind}.safetensors", descriptors, auxiliary=kind)
        found = verify(old, new)
        assert found.difference is None
        table = next(check for check in found.checks if check.name == "tensors")
        assert ("left out: AuxLogits" in table.found) == (kind == "drop")
    np.savez(tmp_path / "more.npz", values=world.descriptors[:2], names=np.array(["x", "y"]))
    further = read_descriptors(tmp_path / "more.npz")
    dropped = open_checkpoint(tmp_path / "drop.safetensors")
    expand(dropped, injector_for(old, descriptors), further).write(tmp_path / "more.safetensors")
    assert verify(old, tmp_path / "more.safetensors").passed
    assert verify(tmp_path / "drop.safetensors", tmp_path / "more.safetensors").passed


def test_an_onnx_model_keeps_its_graph(tmp_path, world, descriptors):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    stored = [
        numpy_helper.from_array(np.ascontiguousarray(world.rows[:40, :-1]), "fc.weight"),
        numpy_helper.from_array(np.ascontiguousarray(world.rows[:40, -1]), "fc.bias"),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["h"]),
            helper.make_node("Gemm", ["h", "fc.weight", "fc.bias"], ["y"], transB=1),
        ],
        "g",
        [info("x", TensorProto.FLOAT, ["n", 24])],
        [info("y", TensorProto.FLOAT, ["n", 40])],
        stored,
    )
    onnx.save(helper.make_model(graph), tmp_path / "old.onnx")
    new = injected(tmp_path / "old.onnx", tmp_path / "new.onnx", descriptors)
    found = verify(tmp_path / "old.onnx", new)
    assert found.passed
    assert "graph" in [check.name for check in found.checks]
    changed = onnx.load(new)
    changed.graph.node[0].op_type = "Sigmoid"
    onnx.save(changed, new)
    assert failed(verify(tmp_path / "old.onnx", new)) == ["graph"]


def test_stretches_of_any_size_tell_the_same(pair, monkeypatch):
    old, new = pair
    state = torch.load(new, weights_only=True)
    state["fc.weight"][44, 1] = float("nan")
    state["fc.weight"][17, 5] += 1
    state["body.weight"].view(-1)[13] = 0
    torch.save(state, new)
    whole = verify(old, new)
    assert failed(whole) == ["other tensors", "old rows", "new rows"]
    for size in (8, 64, 1000):
        monkeypatch.setattr(stretches, "_STRETCH", size)
        assert verify(old, new) == whole


def test_only_short_stretches_are_in_memory():
    old = [bytes(1 << 20)] * 40
    new = [bytes(3 << 19)] * 27
    found = list(stretches.stretches(old, new))
    assert sum(len(part.new) for part in found) == 27 * (3 << 19)
    assert sum(len(part.old) for part in found if part.old is not None) == 40 << 20
    assert max(len(part.new) for part in found) <= 3 << 19
    assert [part.first for part in found] == sorted(part.first for part in found)


def test_safetensors_are_compared_without_torch(stored):
    check = (
        "import sys; from icis_cli import verify; verify(*sys.argv[1:]).require(); "
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", check, *map(str, stored)]
    assert subprocess.run(command, check=False).returncode == 0


def test_a_checkpoint_that_changes_meanwhile_is_refused(stored):
    old, new = stored

    def touch(done: int, total: int, tensor: str) -> None:
        if done == total:
            old.write_bytes(old.read_bytes())

    with pytest.raises(CheckpointError, match=r"old\.safetensors: changed while it was read"):
        verify(old, new, touch)


def test_the_command_in_every_mode(pair, capsys, monkeypatch):
    monkeypatch.chdir(pair[0].parent)
    assert run(["verify", "old.pt", "new.pt"]) == 0
    out, err = capsys.readouterr()
    assert "new.pt is old.pt plus 6 rows, and nothing else" in out
    assert "WRONG" not in out
    assert err == ""
    assert run(["verify", "old.pt", "new.pt", "--quiet"]) == 0
    assert capsys.readouterr().out == "verified yes rows_before 40 rows_after 46 head fc\n"
    assert run(["verify", "old.pt", "new.pt", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["command"], content["passed"], content["difference"]) == ("verify", True, None)
    assert (content["rows_before"], content["rows_after"], content["head"]) == (40, 46, "fc")
    assert content["checks"][0] == {
        "name": "record", "passed": True, "found": "40 trained and 6 injected rows",
    }  # fmt: skip

    state = torch.load("new.pt", weights_only=True)
    state["fc.weight"][3] = 0
    torch.save(state, "new.pt")
    assert run(["verify", "old.pt", "new.pt"]) == 1
    out, err = capsys.readouterr()
    assert [line.split()[:3] for line in out.splitlines() if "WRONG" in line] == [
        ["old", "rows", "WRONG"]
    ]
    assert err == (
        "icis: error: new.pt: is not old.pt plus new rows: 'fc.weight' differs in old row 3 - "
        "make it again with icis inject\n"
    )
    assert run(["verify", "old.pt", "new.pt", "--json"]) == 1
    content = json.loads(capsys.readouterr().out)  # one object, also where it fails
    assert content["passed"] is False
    assert content["difference"] == "'fc.weight' differs in old row 3"
    assert run(["verify", "new.pt", "old.pt", "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert out == "verified no rows_before 0 rows_after 0 head unknown\n"
    assert err.endswith("- the order is icis verify OLD NEW\n")
    assert run(["verify", "old.pt", "none.pt"]) == 1
    assert "none.pt: no such file" in capsys.readouterr().err

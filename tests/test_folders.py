"""Model folders: ``config.json`` gets the new classes, what belongs to the model goes with it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from icis_cli import (
    Expansion,
    Ridge,
    align,
    expand,
    find_head,
    fit,
    open_checkpoint,
    read_descriptors,
    remove,
    verify,
)
from icis_cli.errors import CheckpointError, OutputError
from tests.conftest import World, icis
from tests.records import record_of, sha256
from tests.test_expansion import bits, injector_for, plan
from tests.test_sharded import contents, refused
from tests.test_verify_records import inception


def config_of(world: World, **changes: Any) -> dict[str, Any]:
    names = world.names[: world.seen]
    return {
        "architectures": ["NetForImageClassification"],
        "zoom": 1e-12,
        "id2label": {str(row): name for row, name in enumerate(names)},
        "deep": {"a": [1, None, True, "ü"]},
        "label2id": {name: row for row, name in enumerate(names)},
        "num_labels": 40,
        **changes,
    }


def write_config(path: Path, content: object) -> None:
    (path / "config.json").write_text(json.dumps(content, indent=2) + "\n")


def read_config(path: Path) -> Any:
    return json.loads((path / "config.json").read_text())


@pytest.fixture
def source(folder: Path, world: World) -> Path:
    """A folder with one file, its configuration, what belongs to it and what does not."""
    path = folder / "net.v2"
    path.mkdir()
    save_file(world.state(), path / "model.safetensors", {"format": "pt"})
    write_config(path, config_of(world))
    for name in ("preprocessor_config.json", "README.md", "LICENSE", "modeling.py"):
        (path / name).write_text(f"{{}} of {name}")
    for name in ("pytorch_model.bin", "optimizer.pt", "model.onnx", "tf_model.h5",
                 "trainer_state.json", "eval_results.json", "model.safetensors.icis.json",
                 "pytorch_model.bin.index.json", "other.safetensors"):  # fmt: skip
        (path / name).write_text("old")
    (path / "checkpoint-5.json").mkdir()
    return path


CARRIED = {"model.safetensors", "config.json", "preprocessor_config.json", "README.md", "LICENSE",
           "modeling.py"}  # fmt: skip


def test_a_folder_becomes_a_folder(source, folder, world):
    before = {name: (source / name).read_bytes() for name in CARRIED}
    checkpoint = open_checkpoint(source)
    assert checkpoint.container == "safetensors folder"
    assert checkpoint.labels.class_names == world.names[:40]
    assert checkpoint.labels.arch == "transformers/NetForImageClassification"
    assert checkpoint.sha256() == sha256(source / "model.safetensors")
    expansion = plan(source, folder)
    out = folder / "new.v2"
    (note,) = expansion.losses(out)
    assert note == (
        f"not carried over from {source}: checkpoint-5.json, eval_results.json, model.onnx, "
        "model.safetensors.icis.json, optimizer.pt, other.safetensors, pytorch_model.bin, "
        "pytorch_model.bin.index.json, ... (10 in all)"
    )
    assert expansion.write(out) == (folder / "new.v2.icis.json", out)

    new = contents(out)
    assert set(new) == CARRIED
    for name in CARRIED - {"config.json", "model.safetensors"}:
        assert new[name] == before[name]
    config = read_config(out)
    assert list(config) == list(config_of(world))
    assert list(config["id2label"].items()) == [(str(n), k) for n, k in enumerate(world.names)]
    assert config["label2id"] == {name: row for row, name in enumerate(world.names)}
    assert config["num_labels"] == 46
    assert config["deep"] == config_of(world)["deep"]
    weight = load_file(out / "model.safetensors")["fc.weight"]
    assert weight.shape == (46, 24)
    assert bits(weight[:40]) == bits(world.state()["fc.weight"])
    opened = open_checkpoint(out)
    assert opened.labels.class_names == world.names
    assert record_of(out)["class_names"] == list(world.names)
    assert contents(remove(opened).write(folder / "back")[-1]) == before


def test_a_folder_without_configuration_is_its_tensors_alone(source, folder):
    (source / "config.json").unlink()
    assert open_checkpoint(source).labels.class_names is None
    out = plan(source, folder).write(folder / "new")[-1]
    assert set(contents(out)) == {"model.safetensors"}


def test_any_name_will_do_where_it_is_the_only_one(source, folder):
    (source / "other.safetensors").unlink()
    (source / "model.safetensors").rename(source / "weights.safetensors")
    out = plan(source, folder).write(folder / "new")[-1]
    assert (out / "weights.safetensors").is_file()
    save_file({"x": torch.ones(1)}, source / "third.safetensors")
    assert (
        "name one of them" in refused(source, "found third.safetensors, weights.safetensors").hint
    )


@pytest.fixture
def pickled(source: Path, world: World) -> Path:
    """The same folder with its tensors in ``pytorch_model.bin`` alone."""
    for path in source.glob("*.safetensors"):
        path.unlink()
    (source / "pytorch_model.bin.index.json").unlink()
    torch.save(world.state(), source / "pytorch_model.bin")
    (source / "training_args.bin").write_bytes(b"old")
    return source


def test_a_folder_with_a_pickle_of_tensors(pickled, folder, world):
    checkpoint = open_checkpoint(pickled)
    assert checkpoint.container == "torch folder"
    assert checkpoint.labels.class_names == world.names[:40]
    assert checkpoint.sha256() == sha256(pickled / "pytorch_model.bin")
    before = {name: (pickled / name).read_bytes() for name in CARRIED if "safe" not in name}
    expansion = plan(pickled, folder)
    out = folder / "new"
    (note,) = expansion.losses(out)
    assert "training_args.bin" in note
    assert expansion.write(out) == (folder / "new.icis.json", out)
    new = contents(out)
    assert set(new) == {"pytorch_model.bin", *before}
    assert {n for n in before if new[n] != before[n]} == {"config.json"}
    assert list(read_config(out)["label2id"]) == list(world.names)
    state = torch.load(out / "pytorch_model.bin", weights_only=True)
    assert state["fc.weight"].shape == (46, 24)
    assert bits(state["fc.weight"][:40]) == bits(world.state()["fc.weight"])
    opened = open_checkpoint(out)
    assert record_of(out)["class_names"] == list(world.names)
    verify(pickled, out).require()
    back = remove(opened).write(folder / "back")[-1]
    assert {**contents(back), "pytorch_model.bin": b""} == {**before, "pytorch_model.bin": b""}
    for suffix in (".safetensors", ".pt"):
        assert find_head(open_checkpoint(plan(pickled, folder).write(folder / f"m{suffix}")[-1]))


def training(world: World, **more: Any) -> dict[str, Any]:
    """What a training script saves: two networks, and what goes with them."""
    return {
        "state_dict": world.state(),
        "model_ema": world.state(),
        "classes": list(world.names[:40]),
        "optimizer": {"param_groups": []},
        **more,
    }


@pytest.mark.parametrize("config", [None, {"hidden_size": 3}])
def test_what_the_file_of_a_folder_says_is_read(pickled, folder, world, config):
    (pickled / "config.json").unlink()
    if config is not None:
        write_config(pickled, config)
    file = pickled / "pytorch_model.bin"
    torch.save(training(world, arch="resnet18"), file)
    checkpoint = open_checkpoint(pickled)
    assert checkpoint.labels.class_names == world.names[:40]
    assert checkpoint.labels.arch == "resnet18"
    found, stale = checkpoint.notes
    assert "under 'model_ema' (there is 'state_dict', too" in found
    way = f"--weights {file} --state state_dict"
    assert way in found
    assert open_checkpoint(file, "state_dict").entry == "state_dict"  # that way leads there
    assert "'state_dict', 'optimizer' belong to the old head" in stale
    plan = plan_by_name(pickled, folder)
    lost = str(plan.losses(folder / "new.safetensors"))
    assert "'state_dict', 'classes', 'optimizer', 'arch'" in lost
    assert "'classes'" not in str(plan.losses(folder / "new"))
    out = plan.write(folder / "new")[-1]
    assert plan.class_names == world.names
    root = torch.load(out / "pytorch_model.bin", weights_only=True)
    assert list(root) == ["model_ema", "classes", "arch"]
    assert tuple(root["classes"]) == world.names
    verify(pickled, out).require()


def plan_by_name(source: Path, folder: Path) -> Expansion:
    """Plan with descriptors in another order than the head's rows."""
    first, *lines = (folder / "attrs.csv").read_text().splitlines()
    (folder / "attrs.csv").write_text("\n".join([first, *lines[3:], *lines[:3]]) + "\n")
    return plan(source, folder)


def test_a_configuration_counts_before_the_file_beside_it(pickled, world):
    file = pickled / "pytorch_model.bin"
    torch.save(training(world, classes=[f"z{n}" for n in range(40)]), file)
    checkpoint = open_checkpoint(pickled)
    assert checkpoint.labels.class_names == world.names[:40]
    assert checkpoint.labels.arch == "transformers/NetForImageClassification"
    text = "pytorch_model.bin has other class names than config.json: those of config.json are used"
    assert text in checkpoint.notes
    alone = open_checkpoint(file)
    assert alone.labels.class_names == tuple(f"z{n}" for n in range(40))
    text = "config.json has other class names than pytorch_model.bin: those of pytorch_model.bin"
    assert any(text in note for note in alone.notes)
    torch.save(training(world), file)
    assert "other class names" not in str(open_checkpoint(pickled).notes + alone.notes[:2])


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_heads_for_training_alone_are_left_out_of_a_folder(source, folder, world, name):
    state = inception(world)
    (source / "model.safetensors").unlink()
    (source / "pytorch_model.bin").unlink()
    (source / "other.safetensors").unlink()
    (save_file if name == "model.safetensors" else torch.save)(state, source / name)
    injector = injector_for(source, folder)
    out = expand(open_checkpoint(source), injector, auxiliary="drop").write(folder / "new")[-1]
    kept = {key for key in state if not key.startswith("AuxLogits.")}
    assert set(open_checkpoint(out).tensors) == kept
    assert len(kept) == len(state) - 3
    verify(source, out).require()


def test_safetensors_are_taken_before_a_pickle(pickled, world):
    save_file(world.state(), pickled / "model.safetensors")
    assert open_checkpoint(pickled).container == "safetensors folder"


def test_a_folder_with_a_pickle_that_runs_code(pickled):
    torch.save({"fc.weight": torch.nn.Linear(2, 2)}, pickled / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="only running code from the file could load"):
        open_checkpoint(pickled)


def test_transformers_reads_the_folder_with_a_pickle(tmp_path):
    transformers = pytest.importorskip("transformers")
    labels = {row: f"c{row}" for row in range(12)}
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        image_size=32, patch_size=16, id2label=labels,
        label2id={name: row for row, name in labels.items()},
        architectures=["ViTForImageClassification"],
    )  # fmt: skip
    old = transformers.ViTForImageClassification(config).eval()
    source = tmp_path / "old"
    config.save_pretrained(source)
    torch.save(old.state_dict(), source / "pytorch_model.bin")
    rows = [f"c{n},{n % 5 + 1},{n * n % 7},{n * 3 % 4}\n" for n in range(15)]
    (tmp_path / "a.csv").write_text("".join(rows))
    checkpoint = open_checkpoint(source)
    head = find_head(checkpoint)
    classes = align(
        head.rows, read_descriptors(tmp_path / "a.csv"), head_names=checkpoint.labels.class_names
    )
    out = expand(checkpoint, fit(checkpoint, head, classes, Ridge())).write(tmp_path / "new")[-1]
    new = transformers.AutoModelForImageClassification.from_pretrained(out).eval()
    assert list(new.config.id2label.values()) == [f"c{n}" for n in range(15)]
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before, after = old(images).logits, new(images).logits
    assert after.shape == (1, 15)
    torch.testing.assert_close(after[:, :12], before)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_into_one_file(source, folder, suffix):
    expansion = plan(source, folder)
    losses = expansion.losses(folder / f"new{suffix}")
    assert losses[1].startswith("not carried over into a single file: config.json, LICENSE")
    out = expansion.write(folder / f"new{suffix}")[-1]
    assert open_checkpoint(out).tensors["fc.weight"].shape == (46, 24)


def test_outputs_that_are_refused(source, folder):
    expansion = plan(source, folder)
    (folder / "full").mkdir()
    (folder / "full" / "mine").write_text("x")
    for out, words in (
        (source, "the output is the input itself"),
        (source / "new", "lies in the folder of the checkpoint"),
        (folder / "full", "never replaced"),
    ):
        with pytest.raises(OutputError, match=words):
            expansion.write(out, force=True)


def test_a_snapshot_of_a_download_cache(source, folder):
    snapshot, blobs = folder / "models--a--b" / "snapshots" / "1", folder / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, name in enumerate(sorted(CARRIED)):
        (source / name).rename(blobs / str(number))
        (snapshot / name).symlink_to(Path("../../blobs") / str(number))
    out = plan(snapshot, folder).write(folder / "new")[-1]
    assert set(contents(out)) == CARRIED
    assert not any(path.is_symlink() for path in out.iterdir())


def test_links_to_elsewhere_are_not_copied(source, folder):
    (folder / "secret.json").write_text('{"token": "x"}')
    (source / "README.md").unlink()
    (source / "README.md").symlink_to(folder / "secret.json")
    os.mkfifo(source / "pipe.json")
    out = plan(source, folder).write(folder / "new")[-1]
    assert set(contents(out)) == CARRIED - {"README.md"}
    (source / "config.json").unlink()
    (source / "config.json").symlink_to(folder / "secret.json")
    refused(source, "is a link to")


def test_large_files_and_such_that_grow_are_not_copied(source, folder, monkeypatch):
    os.truncate(source / "README.md", (1 << 24) + 1)
    out = plan(source, folder).write(folder / "new")[-1]
    assert set(contents(out)) == CARRIED - {"README.md"}
    monkeypatch.setattr("icis_cli.checkpoint.folder._LARGEST_TEXT", 3)
    monkeypatch.setattr("icis_cli.checkpoint.folder._is_text", lambda path: path.name == "LICENSE")
    before = sorted(folder.iterdir())
    with pytest.raises(CheckpointError, match="changed while it was read"):
        plan(source, folder).write(folder / "later")
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read as a configuration"),
        ("{", "cannot be read as a configuration"),
        (b"\xff\xfe\x00", "cannot be read as a configuration"),
        ("[]", "holds no object"),
        ('{"x": NaN}', "NaN is no JSON"),
        ('{"x": -Infinity}', "-Infinity is no JSON"),
        ('{"x": 1e999}', "1e999 is too large"),
        ('{"x": ' + "9" * 10_000 + "}", "cannot be read as a configuration"),
        ('{"x": ' * 200 + "0" + "}" * 200, "nested too deeply"),
        ("[" * 100_000, "cannot be read as a configuration"),
    ],
)
def test_damaged_configurations(source, folder, text, words):
    (source / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert "name the file with the tensors" in refused(source, words).hint
    (note,) = open_checkpoint(source / "model.safetensors").notes
    assert "config.json is not used" in note
    assert words in note


def test_a_huge_configuration(source):
    os.truncate(source / "config.json", 100_000_001)
    refused(source, "is too large for a configuration")


@pytest.mark.parametrize(
    "wrong", [3, "x", True, {"a": "b"}, {"-1": "b"}, {"0": "b", "x": "c"}, {"9" * 5000: "b"}]
)
def test_tables_that_are_none_stay_as_they_are(source, folder, world, wrong):
    write_config(source, config_of(world, id2label=wrong, label2id=wrong))
    checkpoint = open_checkpoint(source)
    assert checkpoint.labels.class_names is None
    assert "is no table of labels by number" in checkpoint.notes[0]
    config = read_config(plan(source, folder).write(folder / "new")[-1])
    assert config["id2label"] == wrong
    assert config["num_labels"] == 46


@pytest.mark.parametrize(
    "odd",
    [
        {"architectures": 3, "model_type": [], "id2label": {"0": None, "1": 7}, "label2id": []},
        {"architectures": [], "id2label": [], "label2id": {"a": None, "b": "x", "c": {}}},
        {"architectures": [{}], "id2label": {"0": "\ud800"}, "label2id": {"\ud800": 0}},
        {"architecture": "x" * 99, "pretrained_cfg": [], "label_names": {"5": 1}, "model_args": 1},
        {"architecture": "", "pretrained_cfg": {"classifier": [None, {}, "fc", "gone"]}},
        {"architecture": 1, "num_classes": True, "label_descriptions": {"a": 1}, "labels": "a"},
        {"id2label": {str(row): f"l{row}" for row in range(99)}, "problem_type": {}},
    ],
)
def test_odd_values_never_break_anything(source, folder, world, odd):
    write_config(source, odd)
    out = plan(source, folder).write(folder / "new")[-1]
    back = remove(open_checkpoint(out)).write(folder / "back")[-1]
    assert load_file(back / "model.safetensors")["fc.weight"].shape == (40, 24)
    assert {**read_config(out), **odd}.keys() == read_config(out).keys()


def test_labels_that_are_no_names(source, folder, world):
    made_up = {str(row): f"LABEL_{row}" for row in range(40)}
    write_config(source, config_of(world, id2label=made_up, label2id={}))
    assert open_checkpoint(source).labels.class_names is None
    config = read_config(plan(source, folder).write(folder / "new")[-1])
    assert list(config["id2label"].values()) == [*made_up.values(), *world.names[40:]]
    assert config["label2id"] == {name: 40 + n for n, name in enumerate(world.names[40:])}


def test_labels_of_two_classes(source, folder, world):
    twice = {str(row): "crane" if row in (3, 7) else f"bird {row}" for row in range(40)}
    numbers = {name: row for row, name in twice.items()}  # rows as texts, as some have them
    write_config(source, config_of(world, id2label=twice, label2id=numbers))
    checkpoint = open_checkpoint(source)
    assert checkpoint.labels.class_names is None
    assert "'crane' to several classes" in checkpoint.notes[0]
    out = plan(source, folder).write(folder / "new")[-1]
    config = read_config(out)
    assert list(config["id2label"].values()) == [*twice.values(), *world.names[40:]]
    new = {name: str(40 + n) for n, name in enumerate(world.names[40:])}
    assert config["label2id"] == numbers | new
    back = remove(open_checkpoint(out)).write(folder / "back")[-1]
    assert (back / "config.json").read_bytes() == (source / "config.json").read_bytes()


def test_text_stays_as_it_was_written(source, folder, world):
    text = json.dumps(config_of(world), indent=2, ensure_ascii=False)  # without an end of line
    (source / "config.json").write_text(text, encoding="utf-8")
    out = plan(source, folder).write(folder / "new")[-1]
    assert '"ü"' in (out / "config.json").read_text(encoding="utf-8")
    back = remove(open_checkpoint(out)).write(folder / "back")[-1]
    assert (back / "config.json").read_text(encoding="utf-8") == text


def test_problem_types_are_told(source, world):
    write_config(source, config_of(world, problem_type="multi_label_classification"))
    assert "expects classes that compete" in open_checkpoint(source).notes[0]


TIMM = {
    "architecture": "net_tiny",
    "num_classes": 40,
    "pretrained_cfg": {"classifier": ["fc", "head_dist"], "num_classes": 40, "crop_pct": 0.9},
    "model_args": {"num_classes": 40, "depth": 2},
}


def test_timm(source, folder, world):
    labels = [f"n{row}" for row in range(40)]
    described = {name: f"about {name}" for name in labels}
    write_config(source, {**TIMM, "label_names": labels, "label_descriptions": described})
    before = (source / "config.json").read_bytes()
    checkpoint = open_checkpoint(source)
    assert checkpoint.labels.arch == "timm/net_tiny"
    assert checkpoint.labels.heads == ("fc",)  # the other is not there
    assert checkpoint.labels.class_names == tuple(labels)
    head = find_head(checkpoint)
    assert head.found == "as the checkpoint says"
    out = plan_by_position(source, folder).write(folder / "new")[-1]
    config, new = read_config(out), list(world.names[40:])
    assert [config["num_classes"], config["pretrained_cfg"]["num_classes"]] == [46, 46]
    assert config["model_args"] == {"num_classes": 46, "depth": 2}
    assert config["label_names"] == labels + new
    assert config["label_descriptions"] == described | {name: name for name in new}
    assert config["pretrained_cfg"]["crop_pct"] == 0.9
    back = remove(open_checkpoint(out)).write(folder / "back")[-1]
    assert (back / "config.json").read_bytes() == before


def plan_by_position(source: Path, folder: Path) -> Any:
    checkpoint = open_checkpoint(source)
    head = find_head(checkpoint)
    seen = [str(row) for row in range(len(head.rows))]
    classes = align(head.rows, read_descriptors(folder / "attrs.csv"), seen=seen)
    return expand(checkpoint, fit(checkpoint, head, classes, Ridge()), calibration="none")


def test_timm_without_labels_gets_some(source, folder, world):
    write_config(source, TIMM)
    out = plan(source, folder).write(folder / "new")[-1]
    assert read_config(out)["label_names"] == list(world.names)


def test_old_and_odd_forms_of_timm(source, folder, world):
    labels = [f"n{row}" for row in range(40)]
    old = {"architecture": "net", "num_classes": 40, "classifier": "fc", "labels": labels}
    write_config(source, old)
    found = open_checkpoint(source).labels
    assert found.heads == ("fc",)
    assert found.class_names == tuple(labels)
    out = plan_by_position(source, folder).write(folder / "new")[-1]
    new = list(world.names[40:])
    assert read_config(out) == {**old, "num_classes": 46, "labels": labels + new}


def test_names_of_some_rows_in_a_table_are_completed(source, folder, world):
    write_config(source, {**TIMM, "label_names": {"0": "a", "2": "c"}})
    assert open_checkpoint(source).labels.class_names is None
    names = read_config(plan(source, folder).write(folder / "new")[-1])["label_names"]
    assert list(names)[:2] == ["0", "2"]
    assert (names["0"], names["1"], names["2"]) == ("a", world.names[1], "c")
    assert [names[str(row)] for row in range(3, 46)] == list(world.names[3:])


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.pt"])
def test_a_file_beside_its_configuration(source, folder, world, name):
    path = source / name
    (source / "model.safetensors.icis.json").unlink()
    if name != "model.safetensors":
        torch.save(world.state(), path)
    checkpoint = open_checkpoint(path)
    assert checkpoint.path == path
    if name == "model.pt":
        assert checkpoint.labels.class_names is None
        assert not checkpoint.notes
        return
    assert checkpoint.labels.class_names == world.names[:40]
    (note,) = checkpoint.notes
    assert ("--weights" in note) == (name == "model.safetensors")
    before = (source / "config.json").read_bytes()
    out = plan(path, folder).write(folder / f"new{path.suffix}")[-1]
    assert open_checkpoint(out).tensors["fc.weight"].shape == (46, 24)
    assert (source / "config.json").read_bytes() == before


def test_the_command_line(source, folder, world):
    def done(*arguments: object) -> str:
        result = icis(*arguments, cwd=folder)
        assert result.code == 0, result.err
        return result.out + result.err

    said = done("fit", "--weights", "net.v2", "--attrs", "attrs.csv", "--method", "ridge")
    assert "by name" in said
    assert "would write net.v2.injected" in done("inject", "--dry-run")
    assert not (folder / "net.v2.injected").exists()
    assert "wrote net.v2.injected" in done("inject")
    assert icis("inject", cwd=folder).code == 1
    assert read_config(folder / "net.v2.injected")["id2label"]["45"] == world.names[45]
    inspection = json.loads(icis("inspect", "net.v2.injected", "--json", cwd=folder).out)
    assert inspection["container"] == "safetensors folder"
    done("inject", "--remove", "--weights", "net.v2.injected", "--out", "back")
    assert contents(folder / "back")["config.json"] == (source / "config.json").read_bytes()

"""The model card: valid front matter, names that mean nothing but themselves, lines that load."""

from __future__ import annotations

import argparse
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

import icis_cli as icis
from icis_cli.checkpoint.base import TensorInfo
from icis_cli.errors import OutputError
from icis_cli.evaluation.networks.telling import network_of
from icis_cli.report.card import card_file, model_card
from icis_cli.report.loading import loading_lines
from icis_cli.report.outlook import Outlook, outlook_of
from icis_cli.report.verdict import verdict_of
from tests import onnx_models
from tests.conftest import World, run
from tests.image_networks import CLASSES, forbid_network
from tests.test_image_network_folders import timm_folder, transformers_folder

NEW = 2
MODELS = torchvision.models


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """No network, and what lines let torch load is forgotten again."""
    forbid_network(monkeypatch)
    known = list(torch.serialization.get_safe_globals())
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(known)


def planned(path, names=None, **options):
    """An expansion by two classes."""
    checkpoint = icis.open_checkpoint(path)
    head = icis.find_head(checkpoint)
    count = len(head.weight) + NEW
    values = np.random.default_rng(0).standard_normal((count, 3))
    named = [f"kind {n}" for n in range(count)] if names is None else names
    np.savez(path.parent / "described.npz", descriptors=values, names=np.array(named))
    table = icis.read_descriptors(path.parent / "described.npz")
    injector = icis.fit(checkpoint, head, icis.align(head.rows, table), icis.Ridge())
    return icis.expand(checkpoint, injector, **options)


def card_of(expansion, out, network=None):
    """The card of rows of which nothing is known."""
    count = len(expansion.class_names) - len(expansion.head.weight)
    outlook = Outlook(verdict_of(40, None), None, (None,) * count)
    return model_card(expansion, outlook, out, network)


def written(expansion, out):
    """Write a checkpoint and its card, as the command does; return the card."""
    network = network_of(expansion.checkpoint, len(expansion.head.weight))
    card = card_of(expansion, out, network)
    paths = expansion.write(out, beside={card_file(out): card})
    assert (paths[0], paths[-1]) == (card_file(out), out)
    assert card_file(out).read_text(encoding="utf-8") == card
    return card


def ran(card, folder, monkeypatch, **given):
    """Run the lines of a card in the folder where it lies; return what they made."""
    monkeypatch.chdir(folder)
    loading, names = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(loading.splitlines()) <= 9
    exec(loading, given)
    exec(names, given)
    return given


def front(card):
    """Return the front matter as the hub reads it."""
    return pytest.importorskip("huggingface_hub").ModelCard(card).data.to_dict()


@pytest.mark.parametrize("form", ["bare", "wrapped", "safetensors"])
def test_a_network_of_torchvision_loads_by_the_lines_of_its_card(tmp_path, monkeypatch, form):
    torch.manual_seed(0)
    state = MODELS.resnet18(num_classes=CLASSES).state_dict()
    if form == "wrapped":  # as a training script saves it
        args = argparse.Namespace(model="resnet18", lr=0.1)
        parallel = {f"module.{key}": value for key, value in state.items()}
        torch.save({"model": parallel, "args": args, "epoch": 3}, tmp_path / "net.pt")
    else:
        torch.save(state, tmp_path / "net.pt")
    out = tmp_path / ("new.safetensors" if form == "safetensors" else "new.pt")
    card = written(planned(tmp_path / "net.pt"), out)
    made = ran(card, tmp_path, monkeypatch)
    assert isinstance(made["model"], MODELS.ResNet)
    assert not made["model"].training
    assert made["model"].fc.weight.shape == (CLASSES + NEW, 512)
    assert torch.equal(made["model"].fc.weight[:CLASSES], state["fc.weight"])
    assert made["names"] == [f"kind {n}" for n in range(CLASSES + NEW)]
    assert "library_name" not in front(card)


@pytest.mark.parametrize("auxiliary", ["widen", "drop"])
def test_heads_for_training_alone_are_asked_for_where_there_are_any(
    tmp_path, monkeypatch, auxiliary
):
    torch.manual_seed(0)
    model = MODELS.googlenet(num_classes=CLASSES, init_weights=False)
    torch.save(model.state_dict(), tmp_path / "net.pt")
    expansion = planned(tmp_path / "net.pt", auxiliary=auxiliary)
    made = ran(written(expansion, tmp_path / "new.pt"), tmp_path, monkeypatch)
    assert made["model"].fc.out_features == CLASSES + NEW
    assert (made["model"].aux1 is None) == (auxiliary == "drop")


def test_a_vit_for_images_of_another_size_is_asked_for(tmp_path):
    torch.save({"fc.weight": torch.randn(CLASSES, 9)}, tmp_path / "net.pt")
    expansion = planned(tmp_path / "net.pt")
    shapes = {"encoder.pos_embedding": (1, 145, 768), "conv_proj.weight": (768, 3, 32, 32)}
    tensors = {key: TensorInfo("F32", shape) for key, shape in shapes.items()}
    larger = replace(expansion, checkpoint=replace(expansion.checkpoint, tensors=tensors))
    lines = loading_lines(larger, tmp_path / "new.pt", "torchvision/vit_b_32")
    assert any("'vit_b_32'" in line and "image_size=384)" in line for line in lines)


def test_folders_of_timm_and_transformers_load_by_the_lines_of_their_card(tmp_path, monkeypatch):
    for library, make in (("timm", timm_folder), ("transformers", transformers_folder)):
        where = tmp_path / library
        where.mkdir()
        model, checkpoint = make(where)
        config = json.loads((where / "model" / "config.json").read_text())
        config.get("pretrained_cfg", {}).pop("of_another_version", None)  # timm itself refuses it
        (where / "model" / "config.json").write_text(json.dumps(config))
        weight = model.state_dict()[icis.find_head(checkpoint).key + ".weight"]
        card = written(planned(where / "model"), where / "new")
        made = ran(card, where, monkeypatch)
        assert front(card)["library_name"] == library
        head = made["model"].head if library == "timm" else made["model"].classifier
        assert head.weight.shape == (CLASSES + NEW, 32)
        assert torch.equal(head.weight[:CLASSES], weight)
        assert not made["model"].training


def test_a_file_made_of_a_folder_of_transformers_loads_with_its_configuration(
    tmp_path, monkeypatch
):
    transformers_folder(tmp_path)
    card = written(planned(tmp_path / "model"), tmp_path / "new.safetensors")
    made = ran(card, tmp_path, monkeypatch)
    stored = load_file(tmp_path / "new.safetensors")["classifier.weight"]
    assert torch.equal(made["model"].classifier.weight, stored)
    assert made["model"].config.num_labels == CLASSES + NEW


@pytest.mark.parametrize("more", [{}, {"metric": np.float64(0.9)}])
def test_a_file_of_timm_loads_by_the_lines_of_its_card(tmp_path, monkeypatch, more):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    state = timm.create_model("mobilenetv4_conv_small", num_classes=CLASSES).state_dict()
    args = argparse.Namespace(model="mobilenetv4_conv_small")
    whole = {"args": args, "state_dict": state, "version": 2, **more}
    torch.save(whole, tmp_path / "last.pth.tar")
    card = written(planned(tmp_path / "last.pth.tar"), tmp_path / "new.pth.tar")
    made = ran(card, tmp_path, monkeypatch)
    assert front(card)["library_name"] == "timm"
    assert made["model"].classifier.out_features == CLASSES + NEW


def test_an_onnx_model_runs_by_the_lines_of_its_card(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    onnx_models.linear(path)
    card = written(planned(path), tmp_path / "new.onnx")
    made = ran(card, tmp_path, monkeypatch, images=np.ones((3, onnx_models.WIDTH), np.float32))
    assert made["logits"].shape == (3, onnx_models.SEEN + NEW)
    assert front(card)["library_name"] == "onnx"


def test_of_a_network_that_nobody_knows_the_state_is_read(tmp_path, monkeypatch, world: World):
    torch.save(world.state(), tmp_path / "net.pt")
    expansion = planned(tmp_path / "net.pt")
    card = written(expansion, tmp_path / "new.pt")
    assert "model = ...  # your own network, made for 42 classes" in card
    reading = "\n".join(loading_lines(expansion, tmp_path / "new.pt", None)[:2])
    monkeypatch.chdir(tmp_path)
    made: dict[str, dict[str, torch.Tensor]] = {}
    exec(reading, made)
    assert made["state"]["fc.weight"].shape == (42, 24)
    folder = tmp_path / "own"
    folder.mkdir()
    save_file({"fc.weight": torch.randn(9, 4)}, folder / "model.safetensors")
    lines = loading_lines(planned(folder), tmp_path / "grown", None)
    planned(folder).write(tmp_path / "grown")
    exec("\n".join(lines[:4]), made)
    assert made["state"]["fc.weight"].shape == (11, 4)


@pytest.mark.parametrize(
    "told", ["timm/x'); import os; os.abort() #", "timm/a\nb", "no such network", "../x"]
)
def test_what_a_stranger_calls_a_network_never_becomes_code(tmp_path, world, told):
    torch.save({"state_dict": world.state(), "arch": told}, tmp_path / "net.pt")
    expansion = planned(tmp_path / "net.pt")
    assert expansion.checkpoint.labels.arch == told
    assert network_of(expansion.checkpoint, 40) is None
    card = card_of(expansion, tmp_path / "new.pt", "transformers/x; import os")
    assert "import os" not in card


def test_names_mean_nothing_but_themselves(tmp_path, world):
    """Names with what YAML, Markdown and HTML understand, and half of what is no text at all."""
    odd = ["a|b", "*bold* _x_", "<script>", "[x](http://y)", "z\u2028\x1b[0m", "\U0001f600", "a`b"]
    names = [*(f"kind {n}" for n in range(40)), odd[0], odd[1]]
    name = 'net: "#1" `---`\n---\n\U0001f600.pt'
    torch.save(world.state(), tmp_path / name)
    card = written(planned(tmp_path / name, names), tmp_path / f"new {name}")
    printed = 'new net: "#1" `---`\\x0a---\\x0a\U0001f600.pt'
    assert front(card)["model_name"] == printed
    rows = [line for line in card.splitlines() if line.startswith(("| 40", "| 41"))]
    assert rows[0].startswith(r"| 40 | a\|b | ")
    assert rows[1].startswith(r"| 41 | \*bold\* \_x\_ | ")
    torch.save(world.state(), tmp_path / "net.pt")
    for pair in zip(odd[2::2], odd[3::2], strict=False):
        card = card_of(
            planned(tmp_path / "net.pt", [*names[:40], *pair]), tmp_path / "new.pt", None
        )
        assert "<script" not in card
        assert "http://" not in card
        assert all(line.isprintable() for line in card.splitlines())


def test_a_card_tells_what_the_command_tells(tmp_path, world: World):
    torch.save(world.state(), tmp_path / "net.pt")
    np.savez(tmp_path / "a.npz", descriptors=world.descriptors, names=np.array(world.names))
    checkpoint = icis.open_checkpoint(tmp_path / "net.pt")
    head = icis.find_head(checkpoint)
    classes = icis.align(head.rows, icis.read_descriptors(tmp_path / "a.npz"))
    injector = icis.fit(checkpoint, head, classes, icis.Ridge())
    expansion = icis.expand(checkpoint, injector)
    outlook = outlook_of(expansion, injector)
    card = model_card(expansion, outlook, tmp_path / "new.pt")
    expansion.write(tmp_path / "new.pt")
    assert "`net.pt` with 6 new classes: 40 became 46" in card
    assert f"{expansion.calibration.gamma:+.3g} on the biases" in card
    expected = expansion.calibration.after
    assert expected is not None
    new, old = (f"{100 * share:.0f} of 100" for share in (expected.unseen, expected.seen))
    assert f"about {new} pictures of new classes and {old} of old ones" in card
    assert outlook.verdict.headline in card
    assert "of 40 hidden classes recognised among 8 (guessing: 5)" in card
    assert "`a.npz`" in card
    assert str(tmp_path) not in card  # the same input gives the same bytes, wherever it lies
    assert all(f"| {row} | {world.names[row]} |" in card for row in range(40, 46))
    more = planned(tmp_path / "new.pt", [*world.names, "one", "two"])
    again = card_of(more, tmp_path / "more.pt")
    assert "`new.pt` with 2 new classes: 46 became 48" in again
    assert "Of the 46 classes before, 6 were added in the same way earlier" in again


def test_of_very_many_classes_the_first_are_listed(tmp_path):
    torch.save({"fc.weight": torch.randn(9, 4)}, tmp_path / "net.pt")
    expansion = planned(tmp_path / "net.pt")
    many = replace(
        expansion,
        class_names=tuple(f"kind {n}" for n in range(9 + 250)),
        certainty=None,
    )
    card = card_of(many, tmp_path / "new.pt")
    assert "| 108 | kind 108 |" in card
    assert "kind 109" not in card
    assert "150 more are listed in `new.pt.icis.json`" in card


def test_the_command_writes_a_card_only_when_asked_and_over_nothing(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    fit = ["fit", "--weights", "model.pt", "--attrs", "attrs.csv", "--method", "ridge"]
    assert run([*fit, "--quiet"]) == 0
    card = folder / "model.injected.pt.md"
    card.write_text("my own notes")
    capsys.readouterr()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert run(["inject", "--card"]) == 1
    assert "model.injected.pt.md: exists already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert run(["inject", "--quiet"]) == 0
    assert card.read_text() == "my own notes"
    capsys.readouterr()
    assert run(["inject", "--card", "--force", "--dry-run", "--json"]) == 0
    wanted = [f"model.injected.pt{end}" for end in (".md", ".icis.json", "")]
    assert json.loads(capsys.readouterr().out)["files"] == wanted
    assert card.read_text() == "my own notes"
    assert run(["inject", "--card", "--force"]) == 0
    assert card.read_text().startswith('---\nmodel_name: "model.injected.pt"\n')
    remove = ["inject", "--remove", "--weights", "model.injected.pt", "--card"]
    assert run(remove) == 2
    assert run(["inject", "--card", "--out", "attrs.csv"]) == 1


def test_a_card_that_cannot_be_written_leaves_no_checkpoint(tmp_path, world, monkeypatch):
    torch.save(world.state(), tmp_path / "net.pt")
    expansion = planned(tmp_path / "net.pt")
    out = tmp_path / "new.pt"
    link = os.link

    def taken(source, target, **options):
        if str(target) == str(out):
            raise FileExistsError(target)
        link(source, target, **options)

    monkeypatch.setattr(os, "link", taken)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match="appeared"):
        expansion.write(out, beside={card_file(out): "text"})
    assert sorted(tmp_path.iterdir()) == before


def test_a_removal_has_no_card(tmp_path, world):
    torch.save(world.state(), tmp_path / "net.pt")
    planned(tmp_path / "net.pt").write(tmp_path / "new.pt")
    removal = icis.remove(icis.open_checkpoint(tmp_path / "new.pt"))
    with pytest.raises(ValueError, match="removal"):
        card_of(removal, tmp_path / "old.pt")

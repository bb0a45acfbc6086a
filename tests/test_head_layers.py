"""Heads in several layers: twins, auxiliary heads, convolutions over one pixel."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file

from icis_cli import (
    Checkpoint,
    Injector,
    Ridge,
    align,
    expand,
    find_head,
    fit,
    open_checkpoint,
    read_descriptors,
    remove,
)
from icis_cli.errors import HeadError
from tests.conftest import icis
from tests.test_torchvision import build, load, quickly

SEEN, UNSEEN = 12, 3


def fitted(checkpoint: Checkpoint) -> tuple[Injector, np.ndarray]:
    """Return an injector and the rows that it predicts for three new classes."""
    head = find_head(checkpoint)
    attributes = checkpoint.path.with_name("attrs.npy")
    np.save(attributes, np.random.default_rng(0).standard_normal((SEEN + UNSEEN, 5)))
    classes = align(head.rows, read_descriptors(attributes))
    injector = fit(checkpoint, head, classes, Ridge())
    return injector, injector.predict(classes.unseen)


def saved(model: torch.nn.Module, path: Path) -> Checkpoint:
    for part in model.modules():
        if isinstance(part, torch.nn.Linear) and not part.weight.any():
            quickly(part.weight)
    save_file(model.state_dict(), path)
    return open_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("deit_tiny_distilled_patch16_224", ("head", "head_dist")),
        ("levit_128s", ("head.linear", "head_dist.linear")),
        pytest.param("efficientformer_l1", ("head", "head_dist"), marks=pytest.mark.family),
        pytest.param("repvit_m0_9", ("head.head.l", "head.head_dist.l"), marks=pytest.mark.family),
        ("crossvit_tiny_240", ("head.0", "head.1")),
    ],
)
def test_twins_are_one_head(tmp_path, compatibility, name, layers):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=SEEN).eval()
    checkpoint = saved(model, tmp_path / "model.safetensors")
    head = find_head(checkpoint)
    assert head.layers == layers
    injector, rows = fitted(checkpoint)
    expand(checkpoint, injector, calibration=1.5).write(tmp_path / "new.safetensors")
    wider = timm.create_model(name, num_classes=SEEN + UNSEEN).eval()
    wider.load_state_dict(load_file(tmp_path / "new.safetensors"), strict=True)
    inputs = [inputs_of(wider, layer) for layer in layers]
    size = 240 if "240" in name else 224
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after = model(images), wider(images)
    features = torch.cat([caught[0] for caught in inputs], dim=1)
    weight = torch.from_numpy(rows)
    assert after.std() > 0
    torch.testing.assert_close(after[:, :SEEN], before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        after[:, SEEN:], features @ weight[:, :-1].T + weight[:, -1] + 1.5, rtol=1e-4, atol=1e-4
    )
    back = remove(open_checkpoint(tmp_path / "new.safetensors"))
    back.write(tmp_path / "back.safetensors")
    old, again = load_file(checkpoint.path), load_file(tmp_path / "back.safetensors")
    assert all(torch.equal(old[key], again[key]) for key in old)
    compatibility.add(
        "timm", name, "safetensors", found="` and `".join(layers), loads=True, agrees=True
    )


def inputs_of(model: torch.nn.Module, key: str) -> list[torch.Tensor]:
    caught: list[torch.Tensor] = []
    model.get_submodule(key).register_forward_pre_hook(lambda _, x: caught.append(x[0]))
    return caught


def test_answers_that_are_put_together_otherwise(tmp_path):
    state = {"head.weight": torch.ones(4, 3), "aux_head.weight": torch.ones(4, 3)}
    save_file(state, tmp_path / "volo.safetensors")
    with pytest.raises(HeadError, match="'head' and 'aux_head' together"):
        find_head(open_checkpoint(tmp_path / "volo.safetensors"))


def test_one_twin_without_bias(tmp_path):
    state = {
        "head.weight": torch.ones(4, 3),
        "head.bias": torch.ones(4),
        "head_dist.weight": torch.ones(4, 3),
    }
    save_file(state, tmp_path / "m.safetensors")
    with pytest.raises(HeadError, match="some have a bias and some have none"):
        find_head(open_checkpoint(tmp_path / "m.safetensors"))


@pytest.mark.parametrize(
    "name", ["dpn68", pytest.param("resnetv2_50x1_bit", marks=pytest.mark.family)]
)
def test_a_convolution_over_one_pixel_is_a_head(tmp_path, compatibility, name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=SEEN).eval()
    for part in model.modules():  # the head of a new BiT is zero
        if isinstance(part, torch.nn.Conv2d) and not part.weight.any():
            quickly(part.weight)
    checkpoint = saved(model, tmp_path / "model.safetensors")
    injector, rows = fitted(checkpoint)
    expand(checkpoint, injector, calibration="none").write(tmp_path / "new.safetensors")
    wider = timm.create_model(name, num_classes=SEEN + UNSEEN).eval()
    wider.load_state_dict(load_file(tmp_path / "new.safetensors"), strict=True)
    key = find_head(checkpoint).key
    caught = inputs_of(wider, key)
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after = model(images), wider(images)
    weight = torch.from_numpy(rows)
    new = caught[0].flatten(1) @ weight[:, :-1].T + weight[:, -1]
    assert after.std() > 0
    torch.testing.assert_close(after[:, :SEEN], before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after[:, SEEN:], new, rtol=1e-4, atol=1e-4)
    compatibility.add("timm", name, "safetensors", found=key, loads=True, agrees=True)


@pytest.fixture(scope="module")
def googlenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 MB, written once."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("googlenet") / "model.pt"
    torch.save(build("googlenet", SEEN).state_dict(), path)
    return path


@pytest.fixture
def googlenet(tmp_path: Path, googlenet_file: Path) -> Checkpoint:
    os.link(googlenet_file, tmp_path / "model.pt")
    return open_checkpoint(tmp_path / "model.pt")


def test_auxiliary_heads_get_neutral_rows(tmp_path, googlenet):
    injector, _ = fitted(googlenet)
    expansion = expand(googlenet, injector)
    assert "aux1.fc2, aux2.fc2, used in training alone, get neutral rows" in expansion.notes[-1]
    expansion.write(tmp_path / "new.pt")
    new, old = load(tmp_path / "new.pt"), load(tmp_path / "model.pt")
    build("googlenet", SEEN + UNSEEN).load_state_dict(new, strict=True)
    for key in ("aux1.fc2.weight", "aux2.fc2.bias"):
        assert torch.equal(new[key][:SEEN], old[key])
        mean = old[key].mean(dim=0, keepdim=True).expand(UNSEEN, *old[key].shape[1:])
        torch.testing.assert_close(new[key][SEEN:], mean)
    changed = {key for key in old if old[key].shape != new[key].shape}
    layers = ("fc", "aux1.fc2", "aux2.fc2")
    assert changed == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    remove(open_checkpoint(tmp_path / "new.pt")).write(tmp_path / "back.pt")
    back = load(tmp_path / "back.pt")
    assert list(back) == list(old)
    assert all(torch.equal(back[key], old[key]) for key in old)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_auxiliary_heads_are_left_out(tmp_path, googlenet, suffix):
    if suffix == ".safetensors":
        save_file(load(googlenet.path), tmp_path / "model.safetensors")
        googlenet = open_checkpoint(tmp_path / "model.safetensors")
    injector, _ = fitted(googlenet)
    expansion = expand(googlenet, injector, auxiliary="drop")
    assert "are left out" in expansion.notes[-1]
    expansion.write(tmp_path / f"new{suffix}")
    new = load(tmp_path / f"new{suffix}")
    assert not [key for key in new if key.startswith("aux")]
    bare = torchvision.models.googlenet(
        num_classes=SEEN + UNSEEN, aux_logits=False, init_weights=False
    )
    bare.load_state_dict(new, strict=True)
    record = json.loads((tmp_path / f"new{suffix}.icis.json").read_text(encoding="utf-8"))
    assert record["dropped"] == ["aux1", "aux2"]
    opened = open_checkpoint(tmp_path / f"new{suffix}")
    assert "cannot be given back" in remove(opened).notes[0]


def test_auxiliary_heads_of_other_classes_stay(tmp_path):
    torch.manual_seed(0)
    model = build("googlenet", 7)
    model.fc = torch.nn.Linear(1024, SEEN)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    checkpoint = open_checkpoint(tmp_path / "model.pt")
    injector, _ = fitted(checkpoint)
    expansion = expand(checkpoint, injector)
    assert set(expansion.edits) == {"fc.weight", "fc.bias"}
    assert "have rows of other classes and stay" in expansion.notes[-1]


def test_on_the_command_line(tmp_path, googlenet):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).standard_normal((SEEN + UNSEEN, 5)))
    given = ("--weights", "model.pt", "--attrs", "a.npy", "--method", "ridge")
    assert icis("fit", *given, cwd=tmp_path).code == 0
    wrong = icis("inject", "--auxiliary", "keep", cwd=tmp_path)
    assert (wrong.code, wrong.out) == (2, "")
    assert "expected widen or drop" in wrong.err
    done = icis("inject", "--auxiliary", "drop", "--out", "new.pt", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "aux1.fc2, aux2.fc2, used in training alone, are left out" in done.err
    shown = icis("inspect", "model.pt", cwd=tmp_path)
    assert "beside it, used in training alone: aux1.fc2, aux2.fc2" in " ".join(shown.out.split())

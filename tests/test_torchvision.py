"""Every torchvision classifier: where its head is, and what a new checkpoint of it answers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torchvision.models.regnet import BlockParams

from icis_cli import (
    DEFAULT,
    Icis,
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

NAMES = torchvision.models.list_models(module=torchvision.models)
SEEN, UNSEEN = 12, 3

#: The smallest of each family; the others have the same layers in other numbers.
SMALLEST = {
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet",
    "inception_v3", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small",
    "regnet_x_400mf", "regnet_y_400mf", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t",
    "swin_v2_t", "vgg11", "vit_b_32",
}  # fmt: skip


def of_a_family(name: str) -> pytest.MarkDecorator | tuple[()]:
    return () if name in SMALLEST else pytest.mark.family


def save_outline(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """Write a file of zeros of these shapes, which takes no room on a disk."""
    header, end = {}, 0
    for key, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)
    return path


def build(name: str, classes: int) -> torch.nn.Module:
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model: torch.nn.Module = torchvision.models.get_model(
        name, weights=None, num_classes=classes, **options
    )
    return model


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Build models without any numbers in them."""
    widths = BlockParams.from_init_params

    def on_cpu(*arguments: Any, **options: Any) -> Any:
        with torch.device("cpu"):  # RegNet computes its widths with tensors
            return widths(*arguments, **options)

    monkeypatch.setattr(BlockParams, "from_init_params", on_cpu)
    with torch.device("meta"):
        yield


def test_all_are_tested():
    assert len(NAMES) >= 80
    assert {"resnet18", "vit_h_14", "regnet_y_128gf", "maxvit_t"} <= set(NAMES)


@pytest.mark.usefixtures("no_memory")
@pytest.mark.parametrize("name", [pytest.param(name, marks=of_a_family(name)) for name in NAMES])
def test_the_head_is_the_last_linear_layer(tmp_path, name, compatibility):
    model = build(name, classes=7)
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    if name.startswith("squeezenet"):
        checkpoint = open_checkpoint(save_outline(tmp_path / "model.safetensors", shapes))
        with pytest.raises(HeadError, match="is a convolution followed by ReLU"):
            find_head(checkpoint)
        compatibility.refuse("torchvision", name, "any", "a convolution followed by ReLU")
        return
    *_, (key, layer) = (
        (key, module)
        for key, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    )
    for prefix in ("", "module."):
        prefixed = {prefix + name: shape for name, shape in shapes.items()}
        path = save_outline(tmp_path / f"{prefix}model.safetensors", prefixed)
        head = find_head(open_checkpoint(path))
        assert head.key == prefix + key
        assert head.found.startswith("known for ")
        assert head.weight.shape == (7, layer.in_features)
        assert (head.bias is None) == (layer.bias is None)  # MaxViT has none


@pytest.fixture
def attributes(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).standard_normal((SEEN + UNSEEN, 5))
    np.save(tmp_path / "attrs.npy", values)
    return tmp_path / "attrs.npy"


def answers(model: torch.nn.Module, key: str, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what goes into the layer ``key`` and the logits, for two fixed images."""
    caught: list[torch.Tensor] = []
    hook = model.get_submodule(key).register_forward_pre_hook(lambda _, x: caught.append(x[0]))
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model.eval()(images)
    hook.remove()
    return caught[0], logits


def save(model: torch.nn.Module, path: Path) -> None:
    write = save_file if path.suffix == ".safetensors" else torch.save
    write(model.state_dict(), path)


def load(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return state


def settle(model: torch.nn.Module) -> None:
    """Fit the running statistics to some images, or signals of a new model fade to nothing."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(8, 3, 64, 64))


def quickly(tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """Fill a tensor with random numbers that keep the size of signals, a few times over."""
    few = torch.randn(min(tensor.numel(), 65537)) * (2 / max(1, tensor[0].numel())) ** 0.5
    with torch.no_grad():
        return tensor.copy_(
            few.repeat(-(-tensor.numel() // len(few)))[: tensor.numel()].view_as(tensor)
        )


@pytest.fixture
def quick_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill new networks quickly: the largest ones have 600 million weights."""
    for name in ("kaiming_normal_", "kaiming_uniform_", "xavier_uniform_", "xavier_normal_",
                 "normal_", "uniform_", "trunc_normal_"):  # fmt: skip
        monkeypatch.setattr(torch.nn.init, name, quickly)
    torch.manual_seed(0)


#: Networks of more than 60 million weights: seconds and gigabytes each.
LARGE = {
    "alexnet", "convnext_base", "convnext_large", "efficientnet_v2_l", "regnet_x_32gf",
    "regnet_y_128gf", "regnet_y_32gf", "resnext101_32x8d", "resnext101_64x4d", "swin_b",
    "swin_v2_b", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
    "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32", "wide_resnet101_2",
}  # fmt: skip
NO_HEAD = {"squeezenet1_0", "squeezenet1_1"}


@pytest.mark.usefixtures("quick_start")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in LARGE else of_a_family(name))
        for name in NAMES
        if name not in NO_HEAD
    ],
)
def test_every_architecture_gets_new_classes(tmp_path, attributes, compatibility, name):
    model = build(name, SEEN)
    heads = [part for part in model.modules() if isinstance(part, torch.nn.Linear)]
    quickly(heads[-1].weight)  # zeros in a new ViT
    # MNASNet loads only with the versions of its modules, which .pt alone has room for.
    suffix = "pt" if name.startswith("mnasnet") else "safetensors"
    path, out = tmp_path / f"model.{suffix}", tmp_path / f"new.{suffix}"
    save(model, path)
    checkpoint = open_checkpoint(path)
    head = find_head(checkpoint)
    classes = align(head.rows, read_descriptors(attributes))
    injector = fit(checkpoint, head, classes, Ridge())
    size = 224 if name.startswith(("vit", "maxvit")) else 96
    before, after = answers(model, head.key, size)
    del model
    expand(checkpoint, injector, calibration="none").write(out)
    wider = build(name, SEEN + UNSEEN)
    wider.load_state_dict(load(out), strict=True)
    features, logits = answers(wider, head.key, size)
    weight = torch.from_numpy(injector.predict(classes.unseen))
    new = features @ weight[:, : features.shape[1]].T
    if head.bias is not None:
        new += weight[:, -1]
    scale = float(logits.std())
    assert torch.equal(features, before)
    assert 0 < scale < float("inf")
    torch.testing.assert_close(logits[:, :SEEN], after, rtol=1e-4, atol=1e-4 * scale)
    torch.testing.assert_close(logits[:, SEEN:], new, rtol=1e-4, atol=1e-4 * scale)
    compatibility.add("torchvision", name, suffix, found=head.key, loads=True, agrees=True)


QUICK = Icis(replace(DEFAULT, hidden=16, epochs=2, min_steps=0))


@pytest.mark.parametrize(
    ("name", "suffix", "to"),
    [
        ("resnet18", ".pt", ".pt"),
        ("shufflenet_v2_x0_5", ".safetensors", ".safetensors"),
        ("mobilenet_v3_small", ".pth", ".safetensors"),
        ("mnasnet0_5", ".pt", ".pth"),  # its module has a version, which must be kept
        ("shufflenet_v2_x0_5", ".safetensors", ".pt"),
    ],
)
def test_a_new_checkpoint_loads_strictly_and_answers(tmp_path, attributes, name, suffix, to):
    torch.manual_seed(0)
    model = build(name, SEEN)
    settle(model)
    path, out = tmp_path / f"model{suffix}", tmp_path / f"new{to}"
    save(model, path)
    checkpoint = open_checkpoint(path)
    head = find_head(checkpoint)
    classes = align(head.rows, read_descriptors(attributes))
    injector = fit(checkpoint, head, classes, QUICK)
    expand(checkpoint, injector, calibration="none").write(out)

    wider = build(name, SEEN + UNSEEN)
    wider.load_state_dict(load(out), strict=True)
    features, logits = answers(wider, head.key)
    same, before = answers(model, head.key)
    rows = torch.from_numpy(injector.predict(classes.unseen))
    assert torch.equal(features, same)
    assert logits.shape == (2, SEEN + UNSEEN)
    torch.testing.assert_close(logits[:, :SEEN], before)
    torch.testing.assert_close(logits[:, SEEN:], features @ rows[:, :-1].T + rows[:, -1])
    assert logits.std() > 0.01

    back = remove(open_checkpoint(out)).write(tmp_path / f"back{suffix}")[-1]
    state = load(back)
    assert set(state) == set(model.state_dict())
    assert all(torch.equal(state[key], tensor) for key, tensor in model.state_dict().items())

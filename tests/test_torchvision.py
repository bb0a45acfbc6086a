"""Every torchvision classifier: where its head is, and what a new checkpoint of it answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torchvision.models.regnet import BlockParams

from icis_cli import (
    DEFAULT,
    Icis,
    align,
    expand,
    find_head,
    fit,
    open_checkpoint,
    read_descriptors,
    remove,
)
from icis_cli.checkpoint.base import Checkpoint, Edit, Extras, TensorInfo
from icis_cli.errors import HeadError

NAMES = torchvision.models.list_models(module=torchvision.models)
SEEN, UNSEEN = 12, 3


class Shapes(Checkpoint):
    """A checkpoint that has names and shapes, but only zeros in it."""

    def raw(self, key: str) -> bytes:
        return bytes(4 * int(np.prod(self.tensors[key].shape)))

    def write_copy(self, stream: IO[bytes], edits: Mapping[str, Edit], extras: Extras) -> None:
        raise NotImplementedError

    @classmethod
    def write_converted(
        cls, stream: IO[bytes], source: Checkpoint, edits: Mapping[str, Edit], extras: Extras
    ) -> None:
        raise NotImplementedError


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
@pytest.mark.parametrize("name", NAMES)
def test_the_head_is_the_last_linear_layer(name):
    model = build(name, classes=7)
    shapes = {
        key: TensorInfo("F32", tuple(tensor.shape)) for key, tensor in model.state_dict().items()
    }
    if name.startswith("squeezenet"):
        with pytest.raises(HeadError, match="is a convolution followed by ReLU"):
            find_head(Shapes(Path("model.pt"), shapes))
        return
    *_, (key, layer) = (
        (key, module)
        for key, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    )
    for prefix in ("", "module."):
        prefixed = {prefix + name: info for name, info in shapes.items()}
        head = find_head(Shapes(Path("model.pt"), prefixed))
        assert head.key == prefix + key
        assert head.found.startswith("known for ")
        assert head.weight.shape == (7, layer.in_features)
        assert (head.bias is None) == (layer.bias is None)  # MaxViT has none


@pytest.fixture
def attributes(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).standard_normal((SEEN + UNSEEN, 5))
    np.save(tmp_path / "attrs.npy", values)
    return tmp_path / "attrs.npy"


def answers(model: torch.nn.Module, key: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what goes into the layer ``key`` and the logits, for two fixed images."""
    caught: list[torch.Tensor] = []
    hook = model.get_submodule(key).register_forward_pre_hook(lambda _, x: caught.append(x[0]))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model.eval()(images)
    hook.remove()
    return caught[0], logits


def settle(model: torch.nn.Module) -> None:
    """Fit the running statistics to some images, or signals of a new model fade to nothing."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(8, 3, 64, 64))


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
    (save_file if suffix == ".safetensors" else torch.save)(model.state_dict(), path)
    checkpoint = open_checkpoint(path)
    head = find_head(checkpoint)
    classes = align(head.rows, read_descriptors(attributes))
    injector = fit(checkpoint, head, classes, Icis(replace(DEFAULT, hidden=16, epochs=2)))
    expand(checkpoint, injector, calibration="none").write(out)

    wider = build(name, SEEN + UNSEEN)
    state = load_file(out) if to == ".safetensors" else torch.load(out, weights_only=True)
    wider.load_state_dict(state, strict=True)
    features, logits = answers(wider, head.key)
    same, before = answers(model, head.key)
    rows = torch.from_numpy(injector.predict(classes.unseen))
    assert torch.equal(features, same)
    assert logits.shape == (2, SEEN + UNSEEN)
    torch.testing.assert_close(logits[:, :SEEN], before)
    torch.testing.assert_close(logits[:, SEEN:], features @ rows[:, :-1].T + rows[:, -1])
    assert logits.std() > 0.01

    back = remove(open_checkpoint(out)).write(tmp_path / f"back{suffix}")[-1]
    state = load_file(back) if suffix == ".safetensors" else torch.load(back, weights_only=True)
    assert set(state) == set(model.state_dict())
    assert all(torch.equal(state[key], tensor) for key, tensor in model.state_dict().items())

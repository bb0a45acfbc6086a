"""Families of timm and of transformers: the head is found, and a new checkpoint loads and answers.

All models are real ones, small and with random weights. They are read and written as their own
libraries do it: a folder with ``config.json``; those of timm as a bare state dict, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models._hub import save_for_hf

from icis_cli import Ridge, align, expand, find_head, fit, open_checkpoint, read_descriptors, remove

SEEN, UNSEEN = 12, 3
NAMES = tuple(f"kind {letter}" for letter in "abcdefghijklmno")


@dataclass(frozen=True)
class Family:
    """One kind of network.

    Attributes:
        name: of a model in timm, of a configuration in transformers.
        head: key of its final layer.
        options: what makes it small.
        size: of its images, in pixels.
        quick: it takes a tenth of a second; make test leaves out the others, whose heads have the
            same names and layers.

    """

    name: str
    head: str
    options: Mapping[str, Any] = field(default_factory=dict)
    size: int = 64
    quick: bool = True

    def __str__(self) -> str:
        return self.name


_DEPTHS = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16]}
_WINDOWS = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1]}
_TOKENS = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "image_size": 32, "patch_size": 16,
}  # fmt: skip

HF_FAMILIES = (
    Family("BeitConfig", "classifier", _TOKENS, 32),
    Family("BitConfig", "classifier.1", {**_DEPTHS, "embedding_size": 8, "num_groups": 4}),
    Family("CLIPConfig", "classifier", {"vision_config": _TOKENS}, 32),
    Family("ConvNextConfig", "classifier", _DEPTHS),
    Family("ConvNextV2Config", "classifier", _DEPTHS),
    Family("Data2VecVisionConfig", "classifier", _TOKENS, 32),
    Family("DeiTConfig", "classifier", _TOKENS, 32),
    Family("Dinov2Config", "classifier", _TOKENS, 32),
    Family(
        "EfficientNetConfig",
        "classifier",
        {"width_coefficient": 0.1, "hidden_dim": 128},
        quick=False,
    ),
    Family("FocalNetConfig", "classifier", {"embed_dim": 8, "depths": [1, 1, 1, 1]}),
    Family("MobileNetV1Config", "classifier", {"depth_multiplier": 0.25}, quick=False),
    Family("MobileNetV2Config", "classifier", {"depth_multiplier": 0.1}, quick=False),
    Family("MobileViTConfig", "classifier", {"hidden_sizes": [16, 16, 16]}, quick=False),
    Family("PoolFormerConfig", "classifier", _DEPTHS),
    Family("PvtV2Config", "classifier", {**_DEPTHS, "num_attention_heads": [1, 1, 1, 1]}),
    Family("RegNetConfig", "classifier.1", {**_DEPTHS, "embedding_size": 8, "groups_width": 4}),
    Family("ResNetConfig", "classifier.1", {**_DEPTHS, "embedding_size": 8}),
    Family("SegformerConfig", "classifier", {**_DEPTHS, "num_attention_heads": [1, 1, 1, 1]}),
    Family("SiglipConfig", "classifier", {"vision_config": _TOKENS}, 32),
    Family("SwinConfig", "classifier", _WINDOWS, 224),
    Family("Swinv2Config", "classifier", _WINDOWS, 224),
    Family("ViTConfig", "classifier", _TOKENS, 32),
    Family("ViTMSNConfig", "classifier", _TOKENS, 32),
)  # fmt: skip

TIMM_FAMILIES = (
    Family("convnext_atto", "head.fc", quick=False),
    Family("deit_tiny_patch16_224", "head", {"depth": 2, "img_size": 64}),
    Family("dla46_c", "fc"),
    Family("edgenext_xx_small", "head.fc"),
    Family("efficientnet_lite0", "classifier", quick=False),
    Family("efficientvit_m0", "head.linear", {}, 224),
    Family("eva02_tiny_patch14_224", "head", {"depth": 2, "img_size": 56}, 56),
    Family("fastvit_t8", "head.fc", quick=False),
    Family("ghostnet_050", "classifier", quick=False),
    Family("lcnet_035", "classifier"),
    Family("mixer_s32_224", "head", {}, 224, quick=False),
    Family("mobilenetv3_small_050", "classifier"),
    Family("mobilevit_xxs", "head.fc"),
    Family("poolformer_s12", "head.fc", quick=False),
    Family("pvt_v2_b0", "head", quick=False),
    Family("regnetx_002", "head.fc", quick=False),
    Family("repvgg_a0", "head.fc", quick=False),
    Family("resnet10t", "fc", quick=False),
    Family("resnetv2_18", "head.fc", quick=False),
    Family("starnet_s050", "head"),
    Family("swin_tiny_patch4_window7_224", "head.fc", _WINDOWS, 224),
    Family("vit_tiny_patch16_224", "head", {"depth": 2, "img_size": 64}),
    Family("xcit_nano_12_p16_224", "head", {"depth": 2}),
)  # fmt: skip


def members(families: Iterable[Family]) -> list[Any]:
    """Return parameters of a test; ``make test`` runs the quick ones."""
    return [
        pytest.param(family, marks=() if family.quick else pytest.mark.family)
        for family in families
    ]


def descriptors_at(path: Path) -> Path:
    """Write descriptors of all classes, those that the models know first."""
    values = np.random.default_rng(0).standard_normal((SEEN + UNSEEN, 5))
    np.savez(path, descriptors=values, names=np.array(NAMES))
    return path


@pytest.fixture
def attributes(tmp_path: Path) -> Path:
    return descriptors_at(tmp_path / "attrs.npz")


@pytest.fixture(autouse=True)
def _the_same_weights() -> None:
    torch.manual_seed(0)


def answers(model: torch.nn.Module, keys: tuple[str, ...], size: int) -> tuple[Any, torch.Tensor]:
    """Return what goes into the layers ``keys``, side by side, and the logits of two images."""
    caught: list[torch.Tensor] = []
    hooks = [
        model.get_submodule(key).register_forward_pre_hook(lambda _, x: caught.append(x[0]))
        for key in keys
    ]
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        output = model.eval()(images)
    for hook in hooks:
        hook.remove()
    logits = getattr(output, "logits", output)
    return torch.cat([features.flatten(1) for features in caught], dim=1), logits


def check_family(
    family: Family,
    source: Path,
    out: Path,
    attributes: Path,
    model: torch.nn.Module,
    load: Callable[[Path], torch.nn.Module],
) -> str:
    """Expand a checkpoint, load it as its library does, and compare what it answers.

    Args:
        family: what it is of.
        source: the checkpoint, with SEEN classes.
        out: the new one, which must not be there.
        attributes: descriptors of SEEN + UNSEEN classes.
        model: the network that ``source`` was saved from.
        load: builds a network of SEEN + UNSEEN classes from ``out``.

    Returns:
        The key of the head, as it was found.

    """
    checkpoint = open_checkpoint(source)
    head = find_head(checkpoint)
    assert head.key == family.head
    classes = align(head.rows, read_descriptors(attributes))
    injector = fit(checkpoint, head, classes, Ridge())
    expand(checkpoint, injector, calibration="none").write(out)
    before, known = answers(model, head.layers, family.size)
    features, logits = answers(load(out), head.layers, family.size)
    rows = torch.from_numpy(np.asarray(injector.predict(classes.unseen)))
    new = features @ rows[:, : features.shape[1]].T
    if head.bias is not None:
        new += rows[:, -1]
    scale = float(logits.std())
    # Bit for bit the same weights; convolutions round by where memory lies, on some processors.
    torch.testing.assert_close(features, before, rtol=1e-5, atol=1e-6)
    assert 0 < scale < float("inf")
    assert logits.shape == (2, SEEN + UNSEEN)
    torch.testing.assert_close(logits[:, :SEEN], known, rtol=1e-4, atol=1e-4 * scale)
    torch.testing.assert_close(logits[:, SEEN:], new, rtol=1e-4, atol=1e-4 * scale)
    return head.key


def hf_model(family: Family) -> Any:
    """Build a classifier of transformers with SEEN named classes."""
    import transformers

    labels = dict(enumerate(NAMES[:SEEN]))
    options = {
        key: {**value, "num_labels": SEEN} if key == "vision_config" else value
        for key, value in family.options.items()
    }
    config = getattr(transformers, family.name)(
        **options, id2label=labels, label2id={name: row for row, name in labels.items()}
    )
    if family.name == "DeiTConfig":  # several classifiers have it
        return transformers.DeiTForImageClassification(config)
    return transformers.AutoModelForImageClassification.from_config(config)


def settle(model: torch.nn.Module, family: Family) -> None:
    """Make a new model answer: fill its head, and fit running statistics to some images."""
    for parameter in model.get_submodule(family.head).parameters():
        torch.nn.init.normal_(parameter)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            model.train()(torch.randn(8, 3, family.size, family.size))


def load_hf(folder: Path) -> Any:
    """Load a folder; nothing may be missing, left over or of another shape."""
    from transformers import AutoModelForImageClassification

    model, told = AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(told.values()), told
    return model


@pytest.mark.parametrize("family", members(HF_FAMILIES), ids=str)
def test_transformers(tmp_path, attributes, compatibility, family):
    model = hf_model(family)
    settle(model, family)
    source, out = tmp_path / "model", tmp_path / "new"
    model.save_pretrained(source)
    key = check_family(family, source, out, attributes, model, load_hf)
    config = load_hf(out).config
    assert config.num_labels == SEEN + UNSEEN
    assert config.id2label == dict(enumerate(NAMES))
    assert config.label2id == {name: row for row, name in enumerate(NAMES)}
    back = remove(open_checkpoint(out)).write(tmp_path / "back")[-1]
    for file in source.iterdir():
        assert (back / file.name).read_bytes() == file.read_bytes()
    name = family.name.removesuffix("Config")
    compatibility.add("transformers", name, "folder", found=key, loads=True, agrees=True)


def timm_model(family: Family, classes: int) -> Any:
    return timm.create_model(family.name, num_classes=classes, **family.options)


@pytest.mark.parametrize("family", members(TIMM_FAMILIES), ids=str)
def test_timm(tmp_path, attributes, compatibility, family):
    model = timm_model(family, SEEN)
    settle(model, family)
    wide = timm_model(family, SEEN + UNSEEN)

    def load(out: Path) -> Any:
        state = torch.load(out, weights_only=True) if out.suffix == ".pt" else load_file(out)
        wide.load_state_dict(state, strict=True)
        return wide

    def load_folder(out: Path) -> Any:
        return timm.create_model(f"local-dir:{out}", pretrained=True)

    save_for_hf(model, tmp_path / "model", {"label_names": NAMES[:SEEN]}, safe_serialization=True)
    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    torch.save(model.state_dict(), tmp_path / "bare.pt")
    for source, out, loader, container in (
        ("model", "new", load_folder, "folder"),
        ("bare.safetensors", "new.safetensors", load, "safetensors"),
        ("bare.pt", "new.pt", load, "torch"),
    ):
        key = check_family(family, tmp_path / source, tmp_path / out, attributes, model, loader)
        compatibility.add("timm", family.name, container, found=key, loads=True, agrees=True)
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["num_classes"] == config["pretrained_cfg"]["num_classes"] == SEEN + UNSEEN
    assert config["label_names"] == list(NAMES)
    remove(open_checkpoint(tmp_path / "new")).write(tmp_path / "back")
    for file in (tmp_path / "model").iterdir():
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes()

"""Networks for images: which one a checkpoint is of, and that it answers as in its own library."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

import icis_cli as icis
from icis_cli.checkpoint.base import TensorInfo
from icis_cli.errors import CheckpointError, InstallationError, UsageError
from icis_cli.evaluation.networks import registry
from icis_cli.evaluation.networks.outline import weights_outline
from icis_cli.evaluation.networks.torchvision import Torchvision, _preprocessing
from icis_cli.evaluation.preprocessing import Preprocessing
from tests.image_networks import (
    CLASSES,
    Outline,
    answers,
    forbid_network,
    loaded,
    picture,
    saved,
    settled,
)

timm = pytest.importorskip("timm")
MODELS = torchvision.models
NAMES = MODELS.list_models(module=MODELS)


@pytest.fixture(autouse=True)
def without_network(monkeypatch):
    forbid_network(monkeypatch)


def outline_of(name: str, **options: Any) -> Outline:
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    shapes = weights_outline(
        lambda: MODELS.get_model(name, weights=None, num_classes=CLASSES, **options), 10**6
    )
    return Outline(Path("m.pt"), {key: TensorInfo("F32", shape) for key, shape in shapes.items()})


@pytest.mark.slow
def test_no_two_networks_of_torchvision_have_the_same_tensors():
    outlines = [
        tuple(sorted((key, info.shape) for key, info in outline_of(name).tensors.items()))
        for name in NAMES
    ]
    assert len(set(outlines)) == len(NAMES) >= 80


#: One of each kind, of those that are built soon.
SOON = {
    "resnet101", "vgg16_bn", "vit_l_32", "mobilenet_v3_large", "swin_v2_t", "convnext_base",
    "shufflenet_v2_x1_5", "googlenet", "inception_v3",
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in SOON else pytest.mark.family)
        for name in NAMES
        if not name.startswith("squeezenet")
    ],
)
def test_tensors_tell_the_network(name):
    checkpoint = outline_of(name)
    assert Torchvision().guesses(checkpoint, CLASSES) == [name]
    assert Torchvision().guesses(checkpoint, CLASSES + 1) == []


def test_heads_for_training_alone_do_not_matter_nor_do_wrappers():
    whole = outline_of("googlenet", aux_logits=True)
    assert "aux1.fc2.weight" in whole.tensors
    wrapped = {f"module.{key}": info for key, info in whole.tensors.items()}
    for tensors in (whole.tensors, wrapped, outline_of("googlenet", aux_logits=False).tensors):
        assert Torchvision().guesses(Outline(Path("m.pt"), tensors), CLASSES) == ["googlenet"]
    other = {**whole.tensors, "aux1.fc2.weight": TensorInfo("F32", (1000, 1024))}
    assert Torchvision().misfit("googlenet", Outline(Path("m.pt"), other), CLASSES) is None


@pytest.mark.parametrize(
    ("name", "side", "resize", "crop"),
    [("vit_b_16", 384, 384, 384), ("vit_b_16", 224, 256, 224), ("vit_h_14", 224, 224, 224),
     ("vit_h_14", 518, 518, 518), ("vit_b_32", 96, 110, 96)],
)  # fmt: skip
def test_a_vit_gets_images_of_the_size_that_it_has_positions_for(name, side, resize, crop):
    checkpoint = outline_of(name, image_size=side)
    assert Torchvision().misfit(name, checkpoint, CLASSES) is None
    found = _preprocessing(name, checkpoint)
    assert (found.resize, found.crop) == (resize, crop)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_inceptions_answer_as_with_the_weights_of_torchvision(tmp_path, name):
    torch.manual_seed(0)
    model = MODELS.get_model(
        name, weights=None, num_classes=CLASSES, init_weights=False, transform_input=True
    )
    checkpoint = saved(tmp_path, settled(model, 299 if name == "inception_v3" else 64).state_dict())
    network = loaded(checkpoint)
    assert network.name == f"torchvision/{name}"
    assert network.found == "the only one known with just these tensors"
    assert any("transform_input" in note for note in network.notes)
    own, image = MODELS.get_model_weights(name).DEFAULT.transforms(), picture((330, 300))
    with torch.no_grad():
        expected = model(own(image)[None])[0].numpy()
        model.transform_input = False
        plain = model(own(image)[None])[0].numpy()
    np.testing.assert_allclose(answers(network, image), expected, atol=1e-4 * expected.std())
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = answers(loaded(checkpoint, mean=mean, std=std), image)
    np.testing.assert_allclose(found, plain, atol=1e-4 * plain.std())
    assert np.abs(plain - expected).max() > 0.01 * expected.std()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_modules_with_versions_load_from_files_without_any(tmp_path, dtype):
    torch.manual_seed(0)
    model = settled(MODELS.mnasnet0_5(num_classes=CLASSES))
    state = {f"module.{key}": tensor for key, tensor in model.state_dict().items()}
    state = {key: t.to(dtype) if t.is_floating_point() else t for key, t in state.items()}
    save_file(state, tmp_path / "m.safetensors")
    network = loaded(icis.open_checkpoint(tmp_path / "m.safetensors"))
    assert network.name == "torchvision/mnasnet0_5"
    assert network.layers == ("classifier.1",)
    own = MODELS.MNASNet0_5_Weights.DEFAULT.transforms()
    with torch.no_grad():
        expected = model(own(picture())[None])[0].numpy()
    tolerance = (1e-4 if dtype == torch.float32 else 0.05) * expected.std()
    np.testing.assert_allclose(answers(network, picture()), expected, atol=tolerance)


def test_counters_that_old_files_lack_are_filled_in(tmp_path):
    torch.manual_seed(0)
    model = settled(MODELS.resnet18(num_classes=CLASSES))
    state = {k: t for k, t in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    network = loaded(saved(tmp_path, state))
    own = MODELS.ResNet18_Weights.DEFAULT.transforms()
    with torch.no_grad():
        expected = model(own(picture())[None])[0].numpy()
    np.testing.assert_allclose(answers(network, picture()), expected, atol=1e-4 * expected.std())


@pytest.mark.parametrize(
    ("name", "arch", "told"),
    [
        ("vit_tiny_patch16_224", "timm/vit_tiny_patch16_224", None),
        ("deit_tiny_distilled_patch16_224", None, "timm/deit_tiny_distilled_patch16_224"),
        ("efficientnet_b0", None, "efficientnet_b0"),  # as its train.py; torchvision has one, too
        ("mobilenetv4_conv_small", "mobilenetv4_conv_small", "unheard_of"),
    ],
)
def test_networks_of_timm_answer_as_in_timm(tmp_path, capfd, name, arch, told):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=CLASSES)
    model = model.eval() if "patch" in name else settled(model)
    entries = {} if told is None else {"arch": told}
    checkpoint = saved(tmp_path, {"state_dict": model.state_dict(), **entries})
    network = loaded(checkpoint, arch)
    assert network.name == f"timm/{name}"
    twins = ("head", "head_dist") if "distilled" in name else ("classifier",)
    assert network.layers == (("head",) if name == "vit_tiny_patch16_224" else twins)
    own = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.no_grad():
        expected = model(own(picture())[None])[0].numpy()
    np.testing.assert_allclose(answers(network, picture()), expected, atol=0.01 * expected.std())
    assert capfd.readouterr() == ("", "")


def test_lite_is_told_by_its_tensors(tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch")
    from efficientnet_lite_pytorch import EfficientNet

    torch.manual_seed(0)
    model = settled(EfficientNet.from_name("efficientnet-lite1", num_classes=CLASSES))
    network = loaded(saved(tmp_path, model.state_dict()))
    assert network.name == "efficientnet_lite/efficientnet-lite1"
    half = (127 / 255,) * 3
    assert network.preprocessing == Preprocessing(272, 240, half, (128 / 255,) * 3, "bicubic")
    with torch.no_grad():
        expected = model(network.preprocessing(picture())[None])[0].numpy()
    np.testing.assert_allclose(answers(network, picture()), expected, atol=1e-4 * expected.std())


def test_what_is_not_known_says_what_to_do(tmp_path, monkeypatch):
    checkpoint = saved(tmp_path, MODELS.resnet18(num_classes=CLASSES).state_dict())
    state = {"fc.weight": torch.ones(CLASSES, 3)}
    strange = saved(tmp_path, state)
    with pytest.raises(UsageError, match="does not say which network it is of"):
        loaded(strange)
    with pytest.raises(UsageError, match="there is no classifier 'timm/resnet5x'") as caught:
        loaded(checkpoint, "timm/resnet5x")
    assert "timm/resnet5" in caught.value.hint
    with pytest.raises(UsageError, match="there is no classifier 'elsewhere/resnet18'"):
        loaded(checkpoint, "elsewhere/resnet18")
    with pytest.raises(CheckpointError, match="does not load into resnet34: the network has"):
        loaded(checkpoint, "resnet34")
    with pytest.raises(CheckpointError, match=r"has no config\.json of transformers"):
        loaded(checkpoint, "transformers/ViTForImageClassification")
    told = saved(tmp_path, {"state_dict": state, "arch": "my_own"})
    with pytest.raises(UsageError, match="says it is of 'my_own', and its tensors fit none"):
        loaded(told)

    class Twice(Torchvision):
        name = "other"

    monkeypatch.setattr(registry, "SOURCES", (Torchvision(), Twice()))
    with pytest.raises(UsageError, match="may be of several networks: torchvision/resnet18, oth"):
        loaded(saved(tmp_path, MODELS.resnet18(num_classes=CLASSES).state_dict()))


def test_what_is_not_installed_says_so(tmp_path, monkeypatch):
    checkpoint = saved(tmp_path, MODELS.resnet18(num_classes=CLASSES).state_dict())
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InstallationError) as caught:
        loaded(checkpoint, "timm/resnet18")
    assert caught.value.hint == "pip install 'icis-cli[timm]'"
    monkeypatch.setitem(sys.modules, "transformers", None)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(InstallationError) as caught:
        loaded(checkpoint, "transformers/ViTForImageClassification")
    assert caught.value.hint == "pip install 'icis-cli[hf]'"
    assert loaded(checkpoint, "resnet18").name == "torchvision/resnet18"

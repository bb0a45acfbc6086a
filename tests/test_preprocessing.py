"""What is done with images first: as in the libraries, to the bit, and as options say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from icis_cli import PreprocessingOptions
from icis_cli.errors import UsageError
from icis_cli.evaluation.networks.torchvision import _preprocessing
from icis_cli.evaluation.preprocessing import Preprocessing
from tests.image_networks import Outline, picture

timm = pytest.importorskip("timm")
MODELS = torchvision.models
NAMES = MODELS.list_models(module=MODELS)


def test_preprocessing_is_that_of_torchvision_to_the_bit():
    image, seen = picture((300, 260)), set()
    for name in NAMES:
        own = MODELS.get_model_weights(name).DEFAULT.transforms()
        found = _preprocessing(name, Outline(Path("m.pt"), {}))
        if name in ("googlenet", "inception_v3"):  # the network itself does the rest
            assert (found.resize, found.crop) == (own.resize_size[0], own.crop_size[0])
            continue
        if repr(own) not in seen:
            seen.add(repr(own))
            assert torch.equal(found(image), own(image)), name
    assert len(seen) > 10


@pytest.mark.parametrize(
    "name",
    ["resnet50", "vit_tiny_patch16_224", "convnext_tiny", "beit_base_patch16_224",
     "tf_efficientnet_b0", "inception_v4", "nextvit_small", "resnetv2_50x1_bit",
     "eva_large_patch14_196"],
)  # fmt: skip
def test_preprocessing_is_that_of_timm_to_the_bit(name):
    from icis_cli.evaluation.networks.timm import preprocessing_of

    with torch.device("meta"):
        model = timm.create_model(name)
    own = timm.data.create_transform(
        **timm.data.resolve_model_data_config(model), is_training=False
    )
    found = preprocessing_of(model)
    assert isinstance(found, Preprocessing)
    assert torch.equal(found(picture((300, 260))), own(picture((300, 260))))


def test_what_timm_does_otherwise_is_left_to_timm_and_not_changed_in_parts():
    from icis_cli.evaluation.networks.timm import preprocessing_of

    with torch.device("meta"):
        model = timm.create_model("resnet18", pretrained_cfg_overlay={"crop_mode": "border"})
    own = timm.data.create_transform(
        **timm.data.resolve_model_data_config(model), is_training=False
    )
    found = preprocessing_of(model)
    assert torch.equal(found(picture()), own(picture()))
    assert found.to_json()["crop_mode"] == "border"
    with pytest.raises(UsageError, match="cannot be changed in parts") as caught:
        found.changed(PreprocessingOptions(resize=32, crop=32))
    assert caught.value.hint == "give all of it: add --mean, --std, --interpolation"
    everything = PreprocessingOptions(32, 32, (0.5,) * 3, (0.5,) * 3, "box")
    assert found.changed(everything) == Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "box")


def test_options_change_the_preprocessing_in_parts():
    own = Preprocessing(256, 224)
    found = own.changed(PreprocessingOptions(crop=200, interpolation="bicubic"))
    assert found == Preprocessing(256, 200, interpolation="bicubic")
    assert own.changed(PreprocessingOptions()) == own
    tall = own.changed(PreprocessingOptions(resize=(60, 40), crop=(50, 30)))
    assert tall(picture()).shape == (3, 50, 30)
    for large in (
        PreprocessingOptions(crop=300),
        PreprocessingOptions(resize=200),
        PreprocessingOptions(resize=(300, 200)),
    ):
        with pytest.raises(UsageError, match="does not fit into images"):
            own.changed(large)
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"crop": 0}, "--crop 0: expected 1 to 4096"),
        ({"resize": (9, 10**6)}, "--resize 9 x 1000000"),
        ({"mean": (127.0, 127.0, 127.0)}, "from 0 to 1"),
        ({"std": (1.0, 0.0, 1.0)}, "divided by 0"),
        ({"interpolation": "cubic"}, "one of nearest, bilinear"),
    )
    for options, words in wrong:
        with pytest.raises(UsageError, match=words):
            PreprocessingOptions(**options)
    with pytest.raises(UsageError) as caught:
        PreprocessingOptions(std=(128.0, 128.0, 128.0))
    assert caught.value.hint == "divide by 255: --std 0.502,0.502,0.502"

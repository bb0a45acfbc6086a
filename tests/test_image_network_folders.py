"""Folders of timm and transformers: they run by themselves, and may come from strangers."""

from __future__ import annotations

import json
import logging
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import icis_cli as icis
from icis_cli.errors import CheckpointError, UsageError
from icis_cli.evaluation.preprocessing import Preprocessing
from icis_cli.quiet import offline, quietly
from tests.image_networks import CLASSES, answers, forbid_network, loaded, picture, settled


@pytest.fixture(autouse=True)
def without_network(monkeypatch):
    forbid_network(monkeypatch)


def timm_folder(tmp_path, **changes):
    """A folder as timm writes it, of a network that its config.json alone describes."""
    torch.manual_seed(0)
    arguments = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 48}
    timm = pytest.importorskip("timm")
    model = timm.create_model("vit_tiny_patch16_224", num_classes=CLASSES, **arguments).eval()
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    content: dict[str, Any] = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": CLASSES,
        "model_args": arguments,
        "pretrained_cfg": {
            "tag": "x", "input_size": [3, 48, 48], "crop_pct": 0.8, "mean": [0.1, 0.2, 0.3],
            "std": [0.4, 0.5, 0.6], "interpolation": "bilinear", "classifier": "head",
            "num_classes": CLASSES, "of_another_version": 1,
        },
    }  # fmt: skip
    for key, value in changes.items():
        part = content if key in content else content["pretrained_cfg"]
        part[key] = {**part[key], **value} if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(content))
    return model, icis.open_checkpoint(folder)


def test_a_folder_of_timm_says_all_itself(tmp_path):
    model, checkpoint = timm_folder(tmp_path)
    network = loaded(checkpoint)
    assert network.found == "as the checkpoint says"
    steps = Preprocessing(60, 48, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear")
    assert network.preprocessing == steps
    with torch.no_grad():
        expected = model(steps(picture())[None])[0].numpy()
    np.testing.assert_allclose(answers(network, picture()), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_args": {"embed_dim": 10**6}}, "has shape"),
        ({"model_args": {"depth": 10**9}}, "far more tensors"),
        ({"model_args": {"img_size": 10**7}}, "has shape"),
        ({"model_args": {"no_such": 1}}, "timm cannot build it"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "no settings of a network"),
        ({"model_args": ["depth"]}, "no settings of a network"),
        ({"architecture": "hf-hub:some/where"}, "no classifier|fit none that is known"),
        ({"input_size": [3, 10**6, 10**6]}, "expected at most 4096 pixels"),
        ({"crop_pct": 1e-9}, "images of [0-9]+ pixels"),
        ({"mean": "grey"}, "timm cannot build it"),
        ({"std": [0, 0, 0]}, "timm cannot build it"),
        ({"interpolation": "guess"}, "timm cannot build it"),
    ],
)
def test_a_strangers_folder_of_timm_is_refused_in_one_line(tmp_path, changes, words):
    with pytest.raises((CheckpointError, UsageError), match=words):
        loaded(timm_folder(tmp_path, **changes)[1])


def transformers_folder(tmp_path, processor=None, **changes):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=32, patch_size=8, num_labels=CLASSES,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    content = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(content))
    return model, icis.open_checkpoint(folder)


PROCESSOR = {
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "do_rescale": True,
    "do_normalize": True, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.3, 0.3, 0.3],
    "resample": 3, "rescale_factor": 1 / 255, "size": {"height": 32, "width": 32},
}  # fmt: skip


def test_a_folder_of_transformers_answers_as_there(tmp_path, capfd):
    model, checkpoint = transformers_folder(tmp_path, PROCESSOR)
    transformers = pytest.importorskip("transformers")
    processor = transformers.AutoImageProcessor.from_pretrained(checkpoint.path)
    with torch.no_grad():
        inputs = processor(images=picture(), return_tensors="pt")
        expected = model(**inputs).logits[0].numpy()
    capfd.readouterr()
    network = loaded(checkpoint)
    assert network.name == "transformers/ViTForImageClassification"
    assert network.layers == ("classifier",)
    np.testing.assert_allclose(answers(network, picture()), expected, atol=1e-5)
    assert expected.std() > 0.01
    told = network.to_json()["preprocessing"]
    assert told["by"] == "ViTImageProcessor"
    assert told["size"] == {"height": 32, "width": 32}
    json.dumps(network.to_json(), allow_nan=False)
    changed = loaded(checkpoint, mean=(0.0, 0.0, 0.0)).preprocessing
    assert changed == Preprocessing((32, 32), None, (0.0,) * 3, (0.3,) * 3, "bicubic")
    assert not network.warnings
    assert capfd.readouterr() == ("", "")


def test_an_injected_folder_runs_by_itself(tmp_path):
    _, checkpoint = transformers_folder(tmp_path, PROCESSOR)
    transformers = pytest.importorskip("transformers")
    np.save(tmp_path / "d.npy", np.random.default_rng(0).standard_normal((CLASSES + 2, 3)))
    (tmp_path / "names.txt").write_text("\n".join(f"kind {n}" for n in range(CLASSES + 2)))
    table = icis.read_descriptors(tmp_path / "d.npy", tmp_path / "names.txt")
    classes = icis.align(icis.find_head(checkpoint).rows, table)
    injector = icis.fit(checkpoint, icis.find_head(checkpoint), classes, icis.Ridge())
    out = tmp_path / "new"
    icis.expand(checkpoint, injector).write(out)
    for number, row in enumerate((0, 3, CLASSES, CLASSES + 1)):
        (tmp_path / "images" / f"kind {row}").mkdir(parents=True)
        picture((50 + number, 40)).save(tmp_path / "images" / f"kind {row}" / "a.png")
    opened = icis.open_checkpoint(out)
    known = icis.known_head(opened)
    images = icis.find_images(tmp_path / "images", known.names)
    found = icis.evaluate_images(opened, known, images)
    model = transformers.AutoModelForImageClassification.from_pretrained(out)
    processor = transformers.AutoImageProcessor.from_pretrained(out)
    pictures = [Image.open(path) for path in images.paths]
    with torch.no_grad():
        logits = model(**processor(images=pictures, return_tensors="pt")).logits
    answered = logits.argmax(dim=1).numpy()
    assert logits.shape == (4, CLASSES + 2)
    assert found.seen == np.mean((answered == images.labels)[images.labels < CLASSES])
    assert found.unseen == np.mean((answered == images.labels)[images.labels >= CLASSES])
    assert sorted(one.count for one in found.confusions) == [1] * (answered != images.labels).sum()


def test_a_processor_that_does_more_than_our_steps_is_not_changed_in_parts(tmp_path):
    processor = {
        "image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32},
        "crop_pct": 0.875,
    }  # fmt: skip
    _, checkpoint = transformers_folder(tmp_path, processor)
    network = loaded(checkpoint)
    assert network.preprocessing(picture()).shape == (3, 32, 32)
    with pytest.raises(UsageError, match="ConvNextImageProcessor cannot be changed in parts"):
        loaded(checkpoint, crop=32)


def test_without_a_processor_the_usual_is_taken_and_said(tmp_path):
    network = loaded(transformers_folder(tmp_path)[1])
    assert network.preprocessing == Preprocessing(37, 32)
    (warning,) = network.warnings
    assert "has no preprocessor_config.json: images are prepared as is usual" in warning


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_size": 1 << 20}, "numbers, the checkpoint"),
        ({"num_hidden_layers": 10**9}, "far more tensors"),
        ({"num_hidden_layers": 3}, "the network has .*, which the checkpoint lacks"),
        ({"num_hidden_layers": 1}, "the checkpoint has .*, which the network lacks"),
        ({"intermediate_size": 65}, "transformers cannot build it"),
        ({"hidden_size": "wide"}, "transformers cannot build it"),
        ({"model_type": "bert"}, "no image classifier"),
        ({"model_type": "unheard_of"}, "no image classifier"),
        ({"model_type": "timm_wrapper", "architecture": "hf-hub:some/where"}, "no network of timm"),
        (
            {"model_type": "timm_wrapper", "architecture": "resnet18",
             "model_args": {"checkpoint_path": "/etc/passwd"}},
            "no settings of a network",
        ),
    ],
)  # fmt: skip
def test_a_strangers_folder_of_transformers_is_refused_in_one_line(tmp_path, changes, words):
    with pytest.raises(CheckpointError, match=words):
        loaded(transformers_folder(tmp_path, PROCESSOR, **changes)[1])


def test_a_stranger_chooses_neither_code_nor_kernels_nor_sizes_of_images(tmp_path):
    code = {"auto_map": {"AutoModelForImageClassification": "evil.Model"}}
    kernels = {"attn_implementation": "some/where", "_attn_implementation": "some/where"}
    _, checkpoint = transformers_folder(
        tmp_path, PROCESSOR, **code, **kernels, quantization_config={"quant_method": "bitsandbytes"}
    )
    (checkpoint.path / "evil.py").write_text("raise SystemExit('run')")
    assert answers(loaded(checkpoint), picture()).shape == (CLASSES,)
    large = {**PROCESSOR, "size": {"height": 10**6, "width": 10**6}}
    (checkpoint.path / "preprocessor_config.json").write_text(json.dumps(large))
    with pytest.raises(CheckpointError, match="size 1000000, expected at most 4096 pixels"):
        loaded(checkpoint)
    strange = {**PROCESSOR, "auto_map": {"AutoImageProcessor": "evil.P"},
               "image_processor_type": "Evil"}  # fmt: skip
    (checkpoint.path / "preprocessor_config.json").write_text(json.dumps(strange))
    with pytest.raises(CheckpointError, match="transformers cannot build it"):
        loaded(checkpoint)


def test_a_wrapped_network_of_timm_runs_offline(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.TimmWrapperConfig(architecture="resnet18", num_labels=CLASSES)
    model = transformers.TimmWrapperForImageClassification(config)
    settled(model.timm_model)
    model.save_pretrained(tmp_path / "model")
    network = loaded(icis.open_checkpoint(tmp_path / "model"))
    assert network.layers == ("timm_model.fc",)
    steps = Preprocessing(235, 224, interpolation="bicubic")
    assert network.preprocessing == steps  # as timm has it for a ResNet-18
    with torch.no_grad():
        expected = model.eval()(steps(picture())[None]).logits[0].numpy()
    np.testing.assert_allclose(answers(network, picture()), expected, atol=0.01 * expected.std())
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["pretrained_cfg"] = {"input_size": [3, 48, 48], "crop_pct": 0.8, "mean": [0.1] * 3,
                                "std": [0.2] * 3, "interpolation": "bilinear"}  # fmt: skip
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    network = loaded(icis.open_checkpoint(tmp_path / "model"))
    steps = Preprocessing(60, 48, (0.1,) * 3, (0.2,) * 3)
    assert network.to_json()["preprocessing"]["by"] == "TimmWrapperImageProcessor"
    assert torch.equal(network.preprocessing(picture()), steps(picture()))


def test_what_prepares_images_can_be_sent_to_other_processes(tmp_path):
    _, checkpoint = transformers_folder(tmp_path, PROCESSOR)
    for steps in (loaded(checkpoint).preprocessing, Preprocessing(40, 32)):
        again = pickle.loads(pickle.dumps(steps))
        assert torch.equal(again(picture()), steps(picture()))


def test_images_of_a_wrong_size_are_told_as_such(tmp_path):
    _, checkpoint = transformers_folder(tmp_path, PROCESSOR)
    network = loaded(checkpoint, resize=48, crop=48)
    with pytest.raises(icis.IcisError, match="does not take images of 48 x 48 pixels") as caught:
        answers(network, picture())
    assert "--crop" in caught.value.hint


def test_libraries_are_kept_offline_and_quiet_and_let_go_again(capfd):
    hub = pytest.importorskip("huggingface_hub")
    before = hub.constants.HF_HUB_OFFLINE
    with offline(), pytest.raises(hub.errors.OfflineModeIsEnabled):
        hub.HfApi().model_info("timm/resnet18.a1_in1k")
    assert before == hub.constants.HF_HUB_OFFLINE
    with quietly():
        print("x")
        warnings.warn("x", stacklevel=1)
        logging.getLogger("timm").error("x")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("timm").isEnabledFor(logging.ERROR)

"""Model folders as transformers and timm write and read them, beyond their families."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from icis_cli import Ridge, align, expand, find_head, fit, open_checkpoint, read_descriptors, remove
from tests.test_families import (
    HF_FAMILIES,
    NAMES,
    SEEN,
    UNSEEN,
    check_family,
    descriptors_at,
    hf_model,
    load_hf,
)
from tests.test_folders import read_config, write_config
from tests.test_sharded import contents

VIT = next(family for family in HF_FAMILIES if family.name == "ViTConfig")


@pytest.fixture
def attributes(tmp_path: Path) -> Path:
    return descriptors_at(tmp_path / "attrs.npz")


def test_shards_of_transformers(tmp_path, attributes):
    torch.manual_seed(0)
    model = hf_model(VIT)
    source = tmp_path / "model"
    model.save_pretrained(source, max_shard_size="20KB")
    assert open_checkpoint(source).container == "sharded safetensors"
    check_family(VIT, source, tmp_path / "new", attributes, model, load_hf)
    assert load_hf(tmp_path / "new").config.id2label == dict(enumerate(NAMES))
    back = remove(open_checkpoint(tmp_path / "new")).write(tmp_path / "back")[-1]
    assert contents(back) == contents(source)


def test_two_classes_that_transformers_does_not_name(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    ViTForImageClassification(ViTConfig(**VIT.options)).save_pretrained(tmp_path / "model")
    assert "id2label" not in read_config(tmp_path / "model")
    values = np.random.default_rng(0).standard_normal((4, 3))
    np.savez(tmp_path / "a.npz", descriptors=values, names=np.array(NAMES[:4]))
    checkpoint = open_checkpoint(tmp_path / "model")
    head = find_head(checkpoint)
    classes = align(head.rows, read_descriptors(tmp_path / "a.npz"))
    injector = fit(checkpoint, head, classes, Ridge(), folds=0)
    out = expand(checkpoint, injector, calibration="none").write(tmp_path / "new")[-1]
    assert load_hf(out).config.id2label == dict(enumerate(NAMES[:4]))


def test_a_pipeline_answers_with_new_classes(tmp_path, attributes):
    from transformers import ViTImageProcessor, pipeline

    torch.manual_seed(0)
    model = hf_model(VIT)
    model.save_pretrained(tmp_path / "model")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "model")
    check_family(VIT, tmp_path / "model", tmp_path / "new", attributes, model, load_hf)
    classifier = pipeline("image-classification", model=str(tmp_path / "new"), device="cpu")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    found = classifier(image, top_k=SEEN + UNSEEN)
    assert {answer["label"] for answer in found} == set(NAMES)


def test_timm_in_the_wrapper_of_transformers(tmp_path, attributes):
    import timm
    from timm.models._hub import save_for_hf
    from transformers import AutoModelForImageClassification

    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=SEEN, depth=1, img_size=32)
    save_for_hf(network, tmp_path / "timm", {"label_names": NAMES[:SEEN]}, safe_serialization=True)
    config = read_config(tmp_path / "timm")
    del config["model_args"]["num_classes"]  # what timm writes since 1.0.31 the wrapper refuses
    write_config(tmp_path / "timm", config)
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "timm")
    model.save_pretrained(tmp_path / "model")
    for name in ("timm", "model"):
        checkpoint = open_checkpoint(tmp_path / name)
        head = find_head(checkpoint)
        classes = align(head.rows, read_descriptors(attributes))
        injector = fit(checkpoint, head, classes, Ridge())
        out = expand(checkpoint, injector, calibration="none").write(tmp_path / f"{name}.new")[-1]
        assert load_hf(out).config.id2label == dict(enumerate(NAMES))

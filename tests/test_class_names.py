"""Class names of a head: torchvision's own files, ImageNet's order, and a record."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from icis_cli import open_checkpoint
from icis_cli.checkpoint.class_names import head_names, imagenet_if_described, imagenet_names
from tests.conftest import icis
from tests.records import sha256

WEIGHTS = torchvision.models.ResNet18_Weights.IMAGENET1K_V1


def head(rows: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"fc.weight": torch.randn(rows, 6, generator=generator), "fc.bias": torch.zeros(rows)}


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A file that torchvision would download under this name and with this digest."""
    torch.save(head(1000), tmp_path / "plain.pth")
    digest = sha256(tmp_path / "plain.pth")[:8]
    path = tmp_path / f"resnet18-{digest}.pth"
    (tmp_path / "plain.pth").rename(path)
    weights = torchvision.models.get_model_weights("resnet18")
    monkeypatch.setattr(
        type(WEIGHTS), "url", f"https://download.pytorch.org/models/{path.name}", raising=False
    )
    assert weights.IMAGENET1K_V1.url.endswith(path.name)
    return path


def test_a_file_that_torchvision_publishes(published):
    found = head_names(open_checkpoint(published), 1000)
    assert found is not None
    assert found.names[:2] == ("tench", "goldfish")
    assert "torchvision" in found.source


def test_the_name_alone_is_not_believed(published):
    other = published.with_name("resnet18-00000000.pth")
    published.rename(other)
    assert head_names(open_checkpoint(other), 1000) is None
    torch.save(head(999), published)
    assert head_names(open_checkpoint(published), 999) is None


def test_imagenet_is_told_by_its_names():
    names = imagenet_names()
    assert len(set(names)) == 1000
    assert imagenet_if_described(1000, names[:999]) is None
    assert imagenet_if_described(999, [*names, "more"]) is None
    assert imagenet_if_described(1000, None) is None
    shouted = [name.upper().replace(" ", "_") for name in reversed(names)]
    found = imagenet_if_described(1000, ["a new one", *shouted])
    assert found is not None
    assert found.names == names


@pytest.mark.parametrize("option", [(), ("--seen", "imagenet-1k")])
def test_a_thousand_rows_are_matched_by_name(tmp_path, option):
    names = [*reversed(imagenet_names()), "quagga"]
    values = np.random.default_rng(0).standard_normal((1001, 4))
    lines = [f'"{name}",{",".join(map(str, row))}' for name, row in zip(names, values, strict=True)]
    (tmp_path / "all.csv").write_text("\n".join(lines))
    save_file(head(1000), tmp_path / "model.safetensors")
    given = (
        "--weights",
        "model.safetensors",
        "--attrs",
        "all.csv",
        "--method",
        "nearest",
        "--cv",
        "0",
    )
    done = icis("fit", *given, *option, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["new_classes"] == ["quagga"]
    first = told["alignment"]["examples"][0]
    assert (first["descriptor_row"], first["class"]) == (999, "tench")


def test_the_way_out_for_an_imagenet_classifier(tmp_path):
    np.save(tmp_path / "few.npy", np.random.default_rng(0).standard_normal((3, 4)))
    save_file(head(1000), tmp_path / "model.safetensors")
    done = icis("fit", "--weights", "model.safetensors", "--attrs", "few.npy", cwd=tmp_path)
    assert done.code == 1
    assert "--seen imagenet-1k" in done.err

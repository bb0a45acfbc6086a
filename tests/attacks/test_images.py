"""Hostile images: one line, no memory taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from tools.forkserver import ForkServer

from icis_cli import Ridge, align, expand, find_head, fit, open_checkpoint, read_descriptors
from tests.attacks.descriptors import IMAGES
from tests.attacks.test_checkpoints import require_one_line, snapshot


@pytest.fixture(scope="module")
def expanded(tmp_path_factory) -> Path:
    """An expanded resnet18 without a trained weight."""
    folder = tmp_path_factory.mktemp("expanded")
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10)
    save_file(model.state_dict(), folder / "model.safetensors")
    np.save(folder / "d.npy", np.random.default_rng(0).standard_normal((12, 4)))
    checkpoint = open_checkpoint(folder / "model.safetensors")
    head = find_head(checkpoint)
    classes = align(head.rows, read_descriptors(folder / "d.npy"))
    injector = fit(checkpoint, head, classes, Ridge())
    expand(checkpoint, injector).write(folder / "new.safetensors")
    return folder / "new.safetensors"


@pytest.mark.parametrize("name", IMAGES)
def test_a_hostile_image(tmp_path, server: ForkServer, expanded, name):
    folder = IMAGES[name](tmp_path)
    before = snapshot(tmp_path)
    given = ("--weights", expanded, "--arch", "resnet18", "--images", folder, "--device", "cpu")
    ended = server.run("eval", *given, cwd=tmp_path)
    notes = [line for line in ended.err.decode().splitlines() if line.startswith("note: ")]
    told = "\n".join(line for line in ended.err.decode().splitlines() if line not in notes)
    require_one_line(
        type(ended)(ended.code, ended.out, f"{told}\n".encode(), ended.peak),
        "class_0/i.png",
        expanded.stat().st_size,
    )
    assert snapshot(tmp_path) == before

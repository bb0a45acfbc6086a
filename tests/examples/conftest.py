"""A small classifier, its table, and samples of all classes, for the examples to work on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.synthetic import SEEN, UNSEEN, WIDTH, judged


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Path:
    """A classifier with the names of torchvision's ResNets, its table, and samples.

    It is there as ``model.safetensors``, too, for which most commands do not load torch.
    """
    folder = tmp_path_factory.mktemp("inputs")
    world = judged("computed", seed=0)
    rows = torch.from_numpy(world.pairs.rows)
    state = {
        "conv1.weight": torch.arange(64 * 27, dtype=torch.float32).reshape(64, 3, 3, 3),
        "bn1.running_var": torch.ones(64),
        "layer1.0.conv1.weight": torch.ones(WIDTH, 64, 1, 1),
        "fc.weight": rows[:, :WIDTH].contiguous(),
        "fc.bias": rows[:, WIDTH].contiguous(),
    }
    torch.save(state, folder / "model.pt")
    save_file(state, folder / "model.safetensors")
    names = [f"kind {number:02d}" for number in range(SEEN + UNSEEN)]
    table = np.concatenate([world.pairs.descriptors, world.pairs.unseen])
    lines = ["class," + ",".join(f"attribute {n}" for n in range(table.shape[1]))]
    lines += [
        f"{name},{','.join(map(str, row.tolist()))}" for name, row in zip(names, table, strict=True)
    ]
    (folder / "classes.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    np.savez(folder / "test.npz", features=world.features, labels=np.array(names)[world.labels])
    return folder


@pytest.fixture
def here(inputs, tmp_path) -> Path:
    """A folder of a test's own with these files."""
    return Path(shutil.copytree(inputs, tmp_path / "work"))

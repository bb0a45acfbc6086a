"""``icis fit --report`` and ``icis eval --report``: what is in the page, and when there is none."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from icis_cli import (
    Injector,
    evaluate_images,
    expand,
    find_examples,
    find_images,
    known_head,
    open_checkpoint,
    planned_report,
    remove,
    report_of,
)
from icis_cli.cli import report_options
from icis_cli.errors import OutputError
from icis_cli.evaluation.networks.registry import load_network
from tests.conftest import run
from tests.image_networks import settled

from .test_report import Parsed, html_of

FIT = ["fit", "--weights", "model.pt", "--attrs", "attrs.csv", "--device", "cpu"]
QUICK = [*FIT, "--method", "icis", "--epochs", "3", "--hidden", "8"]
EVAL = ["eval", "--weights", "model.injected.pt", "--features", "test.npz"]
RIDGE = [*FIT, "--method", "ridge"]


@pytest.fixture
def here(folder, world, monkeypatch, capsys):
    """A classifier with descriptors, ``model.injected.pt``, and ``test.npz``."""
    monkeypatch.chdir(folder)
    assert run([*RIDGE, "-q"]) == 0
    assert run(["inject", "-q"]) == 0
    labels = np.repeat(np.arange(len(world.names)), 4)
    noise = np.random.default_rng(1).standard_normal((len(labels), 24))
    features = (world.rows[labels, :-1] + 0.5 * noise).astype(np.float32)
    np.savez("test.npz", features=features, labels=labels)
    capsys.readouterr()
    return folder


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def titles(path: Path | str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", Path(path).read_text(encoding="utf-8"))


def test_fit_writes_a_report_on_what_inject_would_write(here, world, capsys):
    command = [*QUICK, "--out", "i.safetensors", "--report", "out.html", "--json"]
    assert run(command) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["report"] == "out.html"
    text = Path("out.html").read_text(encoding="utf-8")
    assert "before anything is injected" in text
    assert {"Training", "Map of the classes", "Lengths of rows", "Classes"} <= set(
        titles("out.html")
    )
    assert "Accuracy" not in titles("out.html")
    assert "".join(Parsed(text).texts).count("icis inject, then icis eval --report") == 1
    assert all(name in text for name in world.names[40:])
    assert "0" * 64 not in text  # a digest that is not known yet

    assert run(["inject", "--injector", "i.safetensors", "--out", "n.pt", "-q"]) == 0
    checkpoint = open_checkpoint("n.pt")
    injector = Injector.load("i.safetensors")
    written = report_of(checkpoint, known_head(checkpoint), injector)
    planned = planned_report(expand(open_checkpoint("model.pt"), injector), injector)
    assert planned.subject.stage == "planned"
    assert planned.subject.sha256 == open_checkpoint("model.pt").sha256()
    for attribute in ("source", "points", "seen_lengths", "likeness", "left_out", "record"):
        assert getattr(planned, attribute) == getattr(written, attribute), attribute
    assert len(planned.classes) == len(written.classes) == 6
    for one, other in zip(planned.classes, written.classes, strict=True):
        assert (one.name, one.row, one.standing) == (other.name, other.row, other.standing)
        assert one.after == pytest.approx(other.after)
        assert one.before == pytest.approx(other.before)


def test_eval_writes_the_report_that_icis_report_writes(here, capsys):
    assert run([*EVAL, "--report", "a.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == "a.html"
    assert run(["report", "model.injected.pt", "--features", "test.npz", "--out", "b.html"]) == 0
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()
    assert "Accuracy" in titles("a.html")


def test_without_the_option_nothing_is_written(here, capsys):
    before = names_in(here)
    assert run([*EVAL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] is None
    assert names_in(here) == before


def test_a_dry_run_only_tells_of_the_report(here, capsys):
    before = names_in(here)
    dry = [*RIDGE, "--out", "i.safetensors", "--report", "r.html", "--dry-run", "--json"]
    assert run(dry) == 0
    assert json.loads(capsys.readouterr().out)["report"] == "r.html"
    assert names_in(here) == before


def test_a_missed_gate_leaves_the_report_that_shows_why(here):
    assert run([*EVAL, "--report", "a.html", "--min-zsl", "1", "--min-harmonic", "1"]) == 3
    assert "Accuracy" in titles("a.html")


@pytest.mark.parametrize("command", [EVAL, [*RIDGE, "--out", "i.safetensors"]], ids=["eval", "fit"])
def test_a_report_that_exists_is_replaced_only_when_asked(here, capsys, command):
    Path("r.html").write_text("mine")
    before = names_in(here)
    assert run([*command, "--report", "r.html"]) == 1
    assert "r.html: exists already - pass --force" in capsys.readouterr().err
    assert Path("r.html").read_text() == "mine"
    assert names_in(here) == before
    assert run([*command, "--report", "r.html", "--force"]) == 0
    assert "Classes" in titles("r.html")


@pytest.mark.parametrize(
    ("command", "report", "code", "told"),
    [
        (EVAL, "test.npz", 1, "the output is the input itself"),
        (EVAL, "model.injected.pt", 1, "the output is the input itself"),
        (EVAL, "no/r.html", 1, "its folder does not exist"),
        (RIDGE, "attrs.csv", 1, "the output is the input itself"),
        (RIDGE, "./injector.safetensors", 2, "--report and --out are the same file"),
        ([*EVAL[:3], "--reference", "model.pt"], "r.html", 2, "icis report NEW"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_any_work(here, capsys, command, report, code, told):
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    assert run([*command, "--report", report, "--force"]) == code
    said = capsys.readouterr()
    assert told in said.err
    assert said.out == ""
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


def test_a_failure_leaves_no_report(here, capsys):
    before = names_in(here)
    np.savez("bad.npz", features=np.full((4, 24), np.nan, np.float32), labels=np.arange(4))
    Path("bad.csv").write_text("class,a\nx,1\n")
    for command in (
        [*EVAL[:-1], "bad.npz"],
        [*RIDGE[:4], "bad.csv", "--out", "i.safetensors"],
        [*QUICK, "--lr", "1e30", "--out", "i.safetensors"],
    ):
        assert run([*command, "--report", "r.html"]) == 1, command
        assert capsys.readouterr().out == ""
    assert names_in(here) == before | {"bad.npz", "bad.csv"}


def test_injector_and_report_appear_together_or_not_at_all(here, monkeypatch):
    injector = Injector.load("injector.safetensors")
    before = names_in(here)
    page = (Path("i.safetensors"), Path("r.html"), "page")

    def fails(*_arguments: object, **_options: object) -> None:
        raise OutputError("i.safetensors", "the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Injector, "save", fails)
        with pytest.raises(OutputError, match="full"):
            report_options.save_with_report(injector, *page, force=False)
    assert names_in(here) == before

    save = Injector.save

    def meanwhile(self: Injector, path: Path, *, force: bool) -> None:
        save(self, path, force=force)
        Path("r.html").write_text("of another process")

    with monkeypatch.context() as patched:
        patched.setattr(Injector, "save", meanwhile)
        with pytest.raises(OutputError, match="appeared while"):
            report_options.save_with_report(injector, *page, force=False)
    assert names_in(here) == before | {"r.html"}
    assert Path("r.html").read_text() == "of another process"

    Path("r.html").unlink()
    report_options.save_with_report(injector, *page, force=False)
    assert names_in(here) == before | {"i.safetensors", "r.html"}


def test_a_removal_has_no_report(here):
    plan = remove(open_checkpoint("model.injected.pt"))
    with pytest.raises(ValueError, match="a removal adds nothing"):
        planned_report(plan, Injector.load("injector.safetensors"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """``n.pth``, a random network with new classes, and ``images``, some of each of 5 classes."""
    root = tmp_path_factory.mktemp("pictures")
    torch.manual_seed(0)
    arch = "shufflenet_v2_x0_5"
    model = settled(torchvision.models.get_model(arch, weights=None, num_classes=5))
    torch.save({"state_dict": model.state_dict(), "arch": arch}, root / "m.pth")
    generator = np.random.default_rng(0)
    names = [f"kind <{n}>" for n in range(8)]
    (root / "names.txt").write_text("\n".join(names))
    np.save(root / "d.npy", generator.standard_normal((8, 4)))
    listed = []
    for number in (0, 2, 3, 6, 7):
        place = root / "images" / f"folder{number}"
        place.mkdir(parents=True)
        listed.append(f"folder{number}, {names[number]}")
        for n in range(5):
            colours = generator.integers(0, 255, (3, 2, 3), dtype=np.uint8)
            image = Image.fromarray(colours).resize((300, 400), Image.Resampling.NEAREST)
            image.save(place / f"{n}.jpg", comment=b"taken at home")
    (root / "folders.csv").write_text("\n".join(listed) + "\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root)
        fit = ["fit", "--weights", "m.pth", "--attrs", "d.npy", "--classes", "names.txt"]
        assert run([*fit, "--method", "ridge", "-q"]) == 0
        assert run(["inject", "--out", "n.pth", "-q"]) == 0
    return root


def test_images_of_confusions_are_those_that_were_answered_so(pictures):
    checkpoint = open_checkpoint(pictures / "n.pth")
    known = known_head(checkpoint)
    images = find_images(pictures / "images", known.names, pictures / "folders.csv")
    network = load_network(checkpoint, known.head)
    evaluation = evaluate_images(checkpoint, known, images, readers=0)
    examples = find_examples(network, known, images, evaluation, batch=2)
    assert [(one.true, one.answer) for one in examples] == [
        (one.true, one.answer) for one in evaluation.confusions[:8]
    ]
    for one, counted in zip(examples, evaluation.confusions, strict=False):
        assert len(one.pictures) == min(3, counted.count)
        number = known.names.index(one.true)
        for picture in one.pictures:
            path = pictures / "images" / f"folder{number}" / picture.name
            with Image.open(path) as image:
                pixels = network.preprocessing(image.convert("RGB"))[None]
            with torch.inference_mode():
                answer = int(network.model(pixels).argmax())
            assert known.names[answer] == one.answer
            with Image.open(io.BytesIO(picture.jpeg)) as small:
                assert small.size == (168, 224)
            assert b"taken at home" not in picture.jpeg
    content = report_of(checkpoint, known, None, evaluation, examples)
    page = html_of(content)
    assert "img-src data:;" in page
    shown = re.findall('src="data:image/jpeg;base64,([^"]*)"', page)
    assert [base64.b64decode(text) for text in shown] == [
        picture.jpeg for one in examples for picture in one.pictures
    ]


@pytest.mark.parametrize(
    "command", [["eval", "--weights", "n.pth", "--report"], ["report", "n.pth", "--out"]]
)
def test_both_commands_show_images_where_images_are_given(pictures, tmp_path, monkeypatch, command):
    monkeypatch.chdir(pictures)
    out = tmp_path / "out.html"
    assert run([*command, str(out), "--images", "images", "--folders", "folders.csv"]) == 0
    text = out.read_text(encoding="utf-8")
    assert "Some of these images" in text
    assert "kind &lt;7&gt;" in text


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--images", "i", "--features", "f.npz"], "one of --features and --images"),
        (["--folders", "f.csv"], "--folders needs --images"),
        (["--arch", "resnet18"], "--arch needs --images"),
        (["--labels", "l.txt"], "--labels needs --features"),
    ],
)
def test_options_of_the_report_that_contradict_each_other(more, told, capsys):
    assert run(["report", "n.pth", *more]) == 2
    assert told in capsys.readouterr().err

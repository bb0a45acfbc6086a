"""``--names`` and ``--encoder``: describe, fit, inject and compare with classes that have names."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from icis_cli import (
    Injector,
    describe_further,
    describe_names,
    find_head,
    open_checkpoint,
    read_descriptors,
)
from icis_cli.errors import DescriptorError, InjectorError, UsageError
from tests.conftest import run


def unit_rows(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.fixture
def home(folder, world, monkeypatch):
    """A classifier of 40 classes, word vectors of 46, and lists of all, of old and new names."""
    lines = [
        f"{name.replace(' ', '_')} {' '.join(f'{value:.6f}' for value in row)}"
        for name, row in zip(world.names, world.descriptors, strict=True)
    ]
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n")
    for file, names in (
        ("all.txt", world.names),
        ("seen.txt", world.names[: world.seen]),
        ("new.txt", world.names[world.seen :]),
    ):
        (folder / file).write_text("\n".join(names) + "\n")
    torch.save(
        {"state_dict": world.state(), "classes": list(world.names[: world.seen])},
        folder / "named.pt",
    )
    monkeypatch.chdir(folder)
    return folder


FIT = ("fit", "--method", "ridge", "--encoder", "vectors.txt", "--force")


def ran(*arguments: str, code: int = 0) -> None:
    assert run(list(arguments)) == code


def test_described_classes_are_a_file_for_attrs(home, world, capsys):
    ran("describe", "--names", "all.txt", "--encoder", "vectors.txt", "--out", "d.npz")
    captured = capsys.readouterr()
    assert captured.out == "wrote d.npz: 46 classes, d = 8\n"
    assert "note: all.txt: 46 classes described by vectors.txt" in captured.err
    found = read_descriptors("d.npz")
    assert found.names == world.names
    np.testing.assert_allclose(found.values, unit_rows(world.descriptors), atol=1e-5)
    first = (home / "d.npz").read_bytes()
    ran("describe", "--names", "all.txt", "--encoder", "vectors.txt", "--out", "d.npz", code=1)
    ran("describe", "--names", "all.txt", "--encoder", "vectors.txt", "--out", "d.npz", "--force")
    assert (home / "d.npz").read_bytes() == first


def test_a_taxonomy_keeps_its_column_names_in_a_file(home):
    links = ["child,parent", "a,x", "b,x", "b,y", "c,y"]
    (home / "tree.csv").write_text("\n".join(links) + "\n")
    (home / "abc.txt").write_text("a\nb\nc\n")
    ran("describe", "--names", "abc.txt", "--encoder", "tree.csv", "--out", "d.npz")
    found = read_descriptors("d.npz")
    assert found.columns == ("x", "y")
    np.testing.assert_array_equal(found.values, [[1, 0], [1, 1], [0, 1]])


def test_describe_tells_what_it_would_do_as_json(home, capsys):
    arguments = ("describe", "--names", "all.txt", "--encoder", "vectors.txt", "--out", "d.npz")
    ran(*arguments, "--dry-run", "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["width"], len(told["classes"]), told["encoder"]) == (8, 46, "vectors.txt")
    assert not (home / "d.npz").exists()


@pytest.mark.parametrize("names", ["all.txt", "new.txt"])
def test_fit_and_inject_by_names_alone(home, world, names, capsys):
    """The new names suffice where the checkpoint knows its own."""
    ran(*FIT, "--weights", "named.pt", "--names", names)
    injector = Injector.load("injector.safetensors")
    assert injector.seen_names == world.names[: world.seen]
    assert injector.unseen_names == world.names[world.seen :]
    np.testing.assert_allclose(
        injector.unseen_descriptors, unit_rows(world.descriptors[world.seen :]), atol=1e-5
    )
    assert injector.settings["encoder"] == "vectors.txt"
    assert injector.descriptors[0][0] == names
    assert ("40 known ones have names" in capsys.readouterr().err) == (names == "new.txt")
    ran("inject", "--out", "new.pt")
    record = json.loads((home / "new.pt.icis.json").read_text())
    assert record["rounds"][0]["settings"]["encoder"] == "vectors.txt"


def test_known_names_may_come_from_seen(home, world):
    """model.pt has no names."""
    ran(*FIT, "--weights", "model.pt", "--names", "new.txt", "--seen", "seen.txt")
    assert Injector.load("injector.safetensors").seen_names == world.names[: world.seen]
    ran(*FIT, "--weights", "model.pt", "--names", "all.txt", "--seen", "seen.txt")
    ran(*FIT, "--weights", "model.pt", "--names", "new.txt", code=1)  # 6 classes for 40 rows


def test_a_misspelt_known_class_is_told_and_not_taken_for_new(home, world, capsys):
    listed = ("kind ax", *world.names[1:])
    (home / "all.txt").write_text("\n".join(listed) + "\n")
    text = (home / "vectors.txt").read_text()
    (home / "vectors.txt").write_text(text + "kind_ax" + text[text.index(" ") : text.index("\n")])
    ran(*FIT, "--weights", "named.pt", "--names", "all.txt", code=1)
    assert "1 of 40 class names are not in all.txt, first 'kind a0'" in capsys.readouterr().err


def test_further_names_need_no_encoder(home, world):
    (home / "first.txt").write_text("\n".join(world.names[: world.seen + 2]) + "\n")
    ran(*FIT, "--weights", "named.pt", "--names", "first.txt")
    further = world.names[world.seen + 2 :]
    (home / "further.txt").write_text("\n".join(further) + "\n")
    ran("inject", "--names", "further.txt", "--out", "new.safetensors")
    grown = open_checkpoint("new.safetensors")
    assert grown.tensors["fc.weight"].shape == (44, 24)
    expected = Injector.load("injector.safetensors").predict(
        unit_rows(world.descriptors[world.seen + 2 :])
    )
    (home / "plain").mkdir()
    ran("inject", "--names", "further.txt", "--calibration", "none", "--out", "plain/n.safetensors")
    rows = find_head(open_checkpoint("plain/n.safetensors")).rows[40:]
    np.testing.assert_allclose(rows, expected, atol=1e-4)


def test_the_injector_and_its_encoder_may_move_together_or_apart(home, world):
    ran(*FIT, "--weights", "named.pt", "--names", "all.txt")
    moved = home.parent / f"{home.name} moved"
    shutil.copytree(home, moved)
    (home / "vectors.txt").unlink()
    injector = Injector.load(moved / "injector.safetensors")
    assert describe_further(injector, moved / "new.txt").values.shape == (6, 8)
    (moved / "vectors.txt").rename(moved / "elsewhere.vec")
    with pytest.raises(DescriptorError, match="not there any more") as caught:
        describe_further(injector, moved / "new.txt")
    assert "--encoder" in caught.value.hint
    found = describe_further(injector, moved / "new.txt", encoder=str(moved / "elsewhere.vec"))
    np.testing.assert_allclose(found.values, unit_rows(world.descriptors[40:]), atol=1e-5)
    (moved / "tree.csv").write_text("child,parent\n")
    with pytest.raises(UsageError, match="fit used word vectors, this is taxonomy"):
        describe_further(injector, moved / "new.txt", encoder=str(moved / "tree.csv"))
    with (moved / "elsewhere.vec").open("a") as stream:
        stream.write("x 1 2 3 4 5 6 7 8\n")
    with pytest.raises(DescriptorError, match="another encoder than"):
        describe_further(injector, moved / "new.txt", encoder=str(moved / "elsewhere.vec"))


def test_names_are_one_more_view_beside_files(home, world, capsys):
    ran(*FIT, "--weights", "named.pt", "--names", "new.txt", "--attrs", "attrs.csv")
    injector = Injector.load("injector.safetensors")
    assert injector.views.widths == (8, 8)
    assert [one and one.kind for one in injector.encodings] == [None, "word vectors"]
    assert [name for name, _ in injector.descriptors] == ["attrs.csv", "new.txt"]
    ran("inject", "--names", "new.txt", "--out", "new.pt", code=2)
    assert "fit had 1 --attrs beside --names, found 0" in capsys.readouterr().err
    ran("inject", "--attrs", "attrs.csv", "--names", "all.txt", "--out", "new.pt")
    assert len(json.loads((home / "new.pt.icis.json").read_text())["class_names"]) == 46


def test_inject_by_names_needs_a_fit_by_names(home, capsys):
    ran("fit", "--method", "ridge", "--weights", "named.pt", "--attrs", "attrs.csv")
    ran("inject", "--names", "new.txt", "--out", "new.pt", code=2)
    assert "fit had no --names" in capsys.readouterr().err


def test_a_taxonomy_describes_further_classes_by_the_columns_of_the_fit(home, world):
    groups = [f"{name},group {n % 5}" for n, name in enumerate(world.names[:-1])]
    (home / "tree.csv").write_text("\n".join(["child,parent", *groups]) + "\n")
    (home / "some.txt").write_text("\n".join(world.names[:-1]) + "\n")
    arguments = ("fit", "--method", "ridge", "--weights", "named.pt", "--cv", "0")
    ran(*arguments, "--names", "some.txt", "--encoder", "tree.csv")
    injector = Injector.load("injector.safetensors")
    with (home / "tree.csv").open("a") as stream:
        stream.write(f"{world.names[-1]},group 3\n")
    (home / "further.txt").write_text(f"{world.names[-1]}\n")
    found = describe_further(injector, "further.txt")
    assert found.columns == tuple(f"group {n}" for n in range(5))
    np.testing.assert_array_equal(found.values, [[0, 0, 0, 1, 0]])


def test_compare_takes_names(home, capsys):
    arguments = ("compare", "--weights", "named.pt", "--method", "ridge", "--json")
    ran(*arguments, "--names", "new.txt", "--encoder", "vectors.txt")
    by_names = json.loads(capsys.readouterr().out)["methods"][0]["mean"]
    values = describe_names("all.txt", "vectors.txt")
    np.savez("d.npz", descriptors=values.values, names=np.array(values.names))
    ran(*arguments, "--attrs", "d.npz")
    by_file = json.loads(capsys.readouterr().out)["methods"][0]["mean"]
    assert by_names.keys() == by_file.keys()
    assert all(by_names[key] == by_file[key] for key in by_names if "seconds" not in key)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "--weights", "named.pt"), "nothing describes the classes"),
        (("fit", "--weights", "named.pt", "--names", "all.txt"), "--names needs --encoder"),
        (("fit", "--weights", "named.pt", "--encoder", "vectors.txt"), "--encoder needs --names"),
        ((*FIT, "--weights", "named.pt", "--names", "all.txt", "--prompt", "{}"), "no sentences"),
        (
            (*FIT, "--weights", "named.pt", "--names", "all.txt", "--classes", "all.txt"),
            "--classes names the rows of --attrs files",
        ),
        (
            (
                *(*FIT, "--weights", "named.pt", "--names", "all.txt"),
                *("--attrs", "attrs.csv", "--unseen-attrs", "attrs.csv"),
            ),
            "icis describe",
        ),
        (("describe", "--encoder", "vectors.txt"), "--encoder needs --names"),
        (("describe",), "--names is missing"),
        (
            ("describe", "--names", "all.txt", "--encoder", "vectors.txt", "--out", "d.csv"),
            "ends in .npz",
        ),
        (("inject", "--encoder", "vectors.txt"), "need --names"),
        (("inject", "--remove", "--weights", "named.pt", "--names", "new.txt"), "leave out"),
    ],
)
def test_options_that_lack_each_other_are_a_usage_error(home, arguments, message, capsys):
    ran(*arguments, code=2)
    assert message in capsys.readouterr().err


def test_an_output_is_never_an_input(home, capsys):
    ran(*FIT, "--weights", "named.pt", "--names", "all.txt", "--out", "vectors.txt", code=1)
    assert "the output is the input itself" in capsys.readouterr().err
    assert (home / "vectors.txt").read_text().startswith("kind_a0")


def test_a_damaged_encoding_is_a_damaged_injector(home):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    ran(*FIT, "--weights", "named.pt", "--names", "all.txt")
    with safe_open("injector.safetensors", framework="np") as content:
        record = json.loads(content.metadata()["icis"])
    tensors = load_file("injector.safetensors")
    assert record["encodings"][0]["path"] == "vectors.txt"  # relative to the injector
    odd = {**record["encodings"][0], "prompts": [1]}
    changes: list[list[object]] = [[1], [{}], [None, None], [odd]]
    for wrong in changes:
        save_file(tensors, "x.safetensors", {"icis": json.dumps({**record, "encodings": wrong})})
        with pytest.raises(InjectorError, match="damaged"):
            Injector.load("x.safetensors")

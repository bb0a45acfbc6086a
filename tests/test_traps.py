"""Traps that a hostile newcomer found: each was silent, or destroyed something, once."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch

import icis_cli as icis
from icis_cli.errors import DescriptorError, FeatureError, HeadError
from tests.conftest import icis as run_icis
from tests.conftest import in_bash, run


def test_seen_classes_are_not_injected_again_under_another_spelling(folder, world):
    state = {"state_dict": world.state(), "classes": [n.upper() for n in world.names[:40]]}
    torch.save(state, folder / "named.pt")
    checkpoint = icis.open_checkpoint(folder / "named.pt")
    head = icis.find_head(checkpoint)
    table = icis.read_descriptors(folder / "attrs.csv")
    classes = icis.align(head.rows, table, head_names=checkpoint.labels.class_names)
    injector = icis.fit(checkpoint, head, classes, icis.Nearest())
    found = icis.expand(checkpoint, injector, table)
    assert found.class_names[40:] == world.names[40:]
    with pytest.raises(HeadError, match="in the checkpoint already, first 'kind a0'"):
        icis.expand(checkpoint, injector, table, unseen=(world.names[0],))


def test_devices_are_never_replaced(folder):
    os.mkfifo(folder / "pipe.safetensors")
    fit = ("fit", "--weights", "model.pt", "--attrs", "attrs.csv", "--method", "nearest")
    done = run_icis(*fit, "--out", "pipe.safetensors", "--force", cwd=folder)
    assert done.code == 1
    assert "pipe.safetensors: is a device or a pipe" in done.err
    assert (folder / "pipe.safetensors").is_fifo()


def test_a_checkpoint_without_a_suffix_keeps_its_container(folder, world):
    (folder / "model.pt").rename(folder / "model")
    fit = ("fit", "--weights", "model", "--attrs", "attrs.csv", "--method", "nearest")
    assert run_icis(*fit, cwd=folder).code == 0
    done = run_icis("inject", "-q", cwd=folder)
    assert done.out == "model.injected.pt\n", done.err


def test_numbers_of_several_descriptor_files_are_no_labels(folder, world):
    checkpoint = icis.open_checkpoint(folder / "model.pt")
    head = icis.find_head(checkpoint)
    classes = icis.align(head.rows, icis.read_descriptors(folder / "attrs.csv"))
    injector = icis.fit(checkpoint, head, classes, icis.Nearest())
    np.save(folder / "more.npy", world.descriptors[40:43] + 0.1)
    table = icis.read_descriptors(folder / "more.npy")
    icis.expand(checkpoint, injector, table).write(folder / "new.pt")
    known = icis.known_head(icis.open_checkpoint(folder / "new.pt"))
    numbered = icis.Features(np.ones((1, 24), np.float32), np.array([1]), folder / "f.npz")
    with pytest.raises(FeatureError, match="nothing tells which descriptor row"):
        icis.evaluate_features(known, numbered)


@pytest.mark.parametrize("header", ["bird,0,1,2", "bird,1,2,3", "x,0,1,2"])
def test_columns_named_by_number_are_a_header_and_no_class(tmp_path, header):
    path = tmp_path / "d.csv"
    path.write_text(f"{header}\nwren,0.5,0.25,1\nlark,1,0,1\n")
    assert icis.read_descriptors(path).names == ("wren", "lark")
    path.write_text("wren,0,1\nlark,1,0\n")  # two attributes of a class, not a count
    assert icis.read_descriptors(path).names == ("wren", "lark")


def test_the_record_of_a_checkpoint_is_never_overwritten(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert run(["fit", "--weights", "model.pt", "--attrs", "attrs.csv", "--method", "mean"]) == 0
    assert run(["inject", "--out", "new.pt"]) == 0
    before = (folder / "new.pt.icis.json").read_bytes()
    fit = ["fit", "--weights", "new.pt", "--attrs", "attrs.csv", "--method", "mean", "--force"]
    assert run([*fit, "--out", "new.pt.icis.json"]) == 1
    assert "the output is the input itself" in capsys.readouterr().err
    assert (folder / "new.pt.icis.json").read_bytes() == before


def test_fitting_on_injected_rows_is_warned_of(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert run(["fit", "--weights", "model.pt", "--attrs", "attrs.csv", "--method", "mean"]) == 0
    assert run(["inject", "--out", "new.pt"]) == 0
    (folder / "more.csv").write_text((folder / "attrs.csv").read_text() + "extra" + ",1" * 8 + "\n")
    capsys.readouterr()
    assert run(["fit", "--weights", "new.pt", "--attrs", "more.csv", "--dry-run", "--force"]) == 0
    assert "6 of the 46 rows were injected, not trained" in capsys.readouterr().err


def test_half_a_character_is_no_class_name(tmp_path):
    path = tmp_path / "d.json"
    path.write_text(json.dumps({"\ud800x": [1, 2], "b": [2, 1]}))
    with pytest.raises(DescriptorError, match="no valid text"):
        icis.read_descriptors(path)


def test_an_error_that_nobody_reads_is_no_traceback(folder):
    shell = in_bash("icis inject --injector no --json | head -c 0", folder)
    assert "Traceback" not in shell.stderr
    assert "no such file" in shell.stderr


@pytest.mark.parametrize("extra", [["--calibration", "1"], ["--unseen", "u"], ["--attrs", "a.csv"]])
def test_removing_refuses_what_it_would_ignore(extra, capsys):
    assert run(["inject", "--remove", "--weights", "new.pt", *extra]) == 2
    assert "leave out what to add" in capsys.readouterr().err


def test_a_table_that_has_grown_brings_its_new_classes_alone(folder, world, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    lines = (folder / "attrs.csv").read_text().splitlines()
    (folder / "first.csv").write_text("\n".join(lines[:44]))
    (folder / "attrs.csv").write_text("\n".join(lines).replace("kind b20", "KIND_b20"))
    fit = "fit --weights model.pt --attrs first.csv --method nearest --cv 0"
    assert [run(command.split()) for command in (fit, "inject --out one.pt")] == [0, 0]
    capsys.readouterr()
    grown = ["inject", "--weights", "one.pt", "--attrs", "attrs.csv"]
    assert run([*grown, "--out", "two.pt"]) == 0
    told = capsys.readouterr().err
    assert (
        "note: 3 of 6 classes are in the checkpoint already and stay as they are, first 'kind a20'"
        ": 3 are new; spelt otherwise there: 'KIND_b20' = 'kind b20'\n"
    ) in told
    record = json.loads((folder / "two.pt.icis.json").read_text())
    assert record["class_names"] == list(world.names)
    assert record["rounds"][1]["descriptor_rows"] == [43, 44, 45]
    (folder / "u.txt").write_text("kind a20\nkind b22\n")
    for command, count in (
        ([*grown, "--unseen", "u.txt"], "1 of the 2"),  # asked for by name
        ([*grown, "--weights", "two.pt"], "6 of the 6"),  # none is left
    ):
        assert run([*command, "--out", "x.pt"]) == 1
        assert f"{count} new classes are in the checkpoint already" in capsys.readouterr().err


def test_numbers_for_want_of_names_are_not_left_out_as_known(folder, world):
    """Each table without names has a class_40: that it is there says nothing."""
    checkpoint = icis.open_checkpoint(folder / "model.pt")
    head = icis.find_head(checkpoint)
    np.save(folder / "d.npy", world.descriptors[:42])
    classes = icis.align(head.rows, icis.read_descriptors(folder / "d.npy"))
    injector = icis.fit(checkpoint, head, classes, icis.Nearest())
    icis.expand(checkpoint, injector).write(folder / "one.pt")
    np.save(folder / "other.npy", world.descriptors[42:])
    with pytest.raises(HeadError, match="2 of the 4 new classes are in the checkpoint already"):
        icis.expand(
            icis.open_checkpoint(folder / "one.pt"),
            injector,
            icis.read_descriptors(folder / "other.npy"),
        )

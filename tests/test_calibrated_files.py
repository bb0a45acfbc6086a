"""What ``icis fit`` and ``icis inject`` say and store of calibration and certainty."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import icis_cli as icis
from icis_cli import tune
from icis_cli.errors import InjectorError
from icis_cli.methods.base import SeenPairs
from tests.conftest import run
from tests.test_expansion import second_table

FIT = ["fit", "--weights", "model.pt", "--attrs", "attrs.csv", "--method", "ridge"]
CLOSED = ("ridge", "costa", "wavg", "smo", "nearest", "mean")


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def injected(capsys, *options, fit=()):
    """Fit, inject, and return what inject says as JSON, with its stderr."""
    assert run([*FIT, *fit, "--force"]) == 0
    capsys.readouterr()
    assert run(["inject", "--json", "--force", *options]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def stored(name="model.injected.pt"):
    return torch.load(name, weights_only=True)


def test_the_default_is_auto_and_everything_about_it_is_stored(here, world, capsys):
    said, err = injected(capsys)
    told = said["calibration"]
    assert told["kind"] == "auto"
    assert err == ""
    assert told["offset"] == told["wanted_offset"] != 0
    low, high = told["offset_range"]
    assert low <= told["offset"] <= high
    assert set(told["expected"]) == {"seen", "unseen", "harmonic"}
    assert told["expected"]["harmonic"] >= told["expected_without_offset"]["harmonic"]
    assert [part["class"] for part in said["certainty"]] == list(world.names[40:])
    for part in said["certainty"]:
        assert 0 <= part["standing"] <= 1
        assert -1 <= part["expected_cosine"] <= 1
        assert part["most_similar_seen"] in world.names[:40]
        assert isinstance(part["unlike_seen"], bool)
    (part,) = json.loads(Path("model.injected.pt.icis.json").read_text())["rounds"]
    assert (part["calibration_kind"], part["evening"]) == ("auto", 0.4)
    assert part["calibration"] == told["offset"]
    assert part["reach"] > 0
    standing = [one["standing"] for one in said["certainty"]]
    np.testing.assert_allclose(part["standing"], standing, atol=1e-3)


def test_what_is_stored_is_the_formula_of_what_is_told(here, capsys):
    said, _ = injected(capsys)
    (part,) = json.loads(Path("model.injected.pt.icis.json").read_text())["rounds"]
    loaded = icis.Injector.load("injector.safetensors")
    head = icis.find_head(icis.open_checkpoint("model.pt"))
    predicted, middle = loaded.predict(loaded.unseen_descriptors), head.rows.mean(axis=0)
    away = predicted - middle
    length = np.linalg.norm(away[:, :24], axis=1, keepdims=True)
    expected = middle + away * (part["reach"] / length) ** part["evening"]
    state = stored()
    np.testing.assert_allclose(state["fc.weight"][40:], expected[:, :24], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        state["fc.bias"][40:], expected[:, 24] + said["calibration"]["offset"], atol=1e-4
    )
    old = torch.load("model.pt", weights_only=True)
    assert torch.equal(state["fc.weight"][:40], old["fc.weight"])
    assert torch.equal(state["fc.bias"][:40], old["fc.bias"])


@pytest.mark.parametrize(
    ("option", "kind", "offset"), [("none", "none", 0), ("1.25", "fixed", 1.25)]
)
def test_none_and_a_number_change_no_weight(here, capsys, option, kind, offset):
    said, _ = injected(capsys, "--calibration", option)
    told = said["calibration"]
    assert (told["kind"], told["offset"], told["evening"]) == (kind, offset, 0)
    assert told["expected"] is None
    assert said["certainty"] is not None  # known whatever the calibration
    loaded = icis.Injector.load("injector.safetensors")
    predicted = loaded.predict(loaded.unseen_descriptors)
    np.testing.assert_array_equal(stored()["fc.weight"][40:], predicted[:, :24])
    np.testing.assert_allclose(stored()["fc.bias"][40:], predicted[:, 24] + offset, atol=1e-6)


def test_the_same_command_writes_the_same_bytes(here, capsys):
    injected(capsys)
    first = Path("model.injected.pt").read_bytes(), Path("model.injected.pt.icis.json").read_bytes()
    injected(capsys)
    again = Path("model.injected.pt").read_bytes(), Path("model.injected.pt.icis.json").read_bytes()
    assert again == first


def test_people_are_told_in_a_line_and_a_table(here, capsys):
    assert run(FIT) == 0
    assert run(["inject"]) == 0
    said = capsys.readouterr()
    assert "calibration: +" in said.err + said.out
    assert "found without images" in said.err + said.out
    assert "least sure 5 of 6 new rows" in said.err + said.out
    assert run(["inject", "--force", "--calibration", "none"]) == 0
    assert "calibration: none; trained classes will win" in capsys.readouterr().err


def test_a_lower_expected_accuracy_gives_a_smaller_offset(here, capsys):
    offsets = [
        injected(capsys, "--expected-accuracy", x)[0]["calibration"]["offset"]
        for x in ("0.1", "0.4", "0.65", "1")
    ]
    assert offsets == sorted(offsets)
    assert offsets[0] < offsets[2] == offsets[3]


def test_a_head_without_bias_keeps_its_rows_and_tells_the_offset(here, world, capsys):
    torch.save(world.state(bias=False), "model.pt")
    said, err = injected(capsys)
    told = said["calibration"]
    assert told["offset"] == 0
    assert told["wanted_offset"] != 0
    (warning,) = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert f"the offset {told['wanted_offset']:+.2f} cannot be stored" in warning
    assert "the head 'fc' has no bias" in warning
    loaded = icis.Injector.load("injector.safetensors")
    predicted = loaded.predict(loaded.unseen_descriptors)
    np.testing.assert_array_equal(stored()["fc.weight"][40:], predicted)
    assert "fc.bias" not in stored()
    (part,) = json.loads(Path("model.injected.pt.icis.json").read_text())["rounds"]
    assert part["calibration"] == 0
    for option, words in (("none", "calibration: none"), ("auto", "no bias to add it to")):
        assert run(["inject", "--force", "--calibration", option]) == 0
        assert words in " ".join(capsys.readouterr().err.split())
    assert run(["inject", "--force", "--calibration", "0.5"]) == 1
    assert "has no bias, which an offset needs" in capsys.readouterr().err


@pytest.mark.parametrize("method", CLOSED)
def test_every_closed_form_goes_through_both_commands(here, capsys, method):
    for folds in ([], ["--cv", "0"], ["--cv", "3"]):
        said, _ = injected(capsys, fit=["--method", method, *folds])
        assert said["calibration"]["kind"] == "auto"
        assert len(said["certainty"]) == 6
        assert np.isfinite(stored()["fc.weight"].numpy()).all()


def test_without_held_out_rows_ridge_stands_in(here, capsys):
    own, _ = injected(capsys)
    other, _ = injected(capsys, fit=["--cv", "0"])
    assert icis.Injector.load("injector.safetensors").held is None
    assert other["calibration"]["wanted_offset"] == pytest.approx(
        own["calibration"]["wanted_offset"], abs=0.5
    )


def test_random_rows_are_told_and_get_no_offset(here, world, capsys):
    torch.manual_seed(0)
    layer = torch.nn.Linear(512, 40)
    torch.save({"fc.weight": layer.weight.data, "fc.bias": layer.bias.data}, "model.pt")
    said, err = injected(capsys)
    assert said["calibration"]["offset"] == 0
    assert "look like their random start" in err
    assert "look like their random start" in said["calibration"]["warnings"][0]


def test_equal_rows_give_equal_new_rows_and_a_warning(here, world, capsys):
    weight = torch.from_numpy(np.tile(world.rows[:1, :24], (40, 1)))
    torch.save({"fc.weight": weight, "fc.bias": torch.full((40,), 0.3)}, "model.pt")
    for method in CLOSED:
        said, err = injected(capsys, fit=["--method", method])
        assert said["calibration"]["offset"] == 0
        assert "all rows of the head are alike" in err
        np.testing.assert_allclose(stored()["fc.weight"][40:], weight[:6], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(stored()["fc.bias"][40:], 0.3, rtol=1e-4)
        json.dumps(said, allow_nan=False)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_few_seen_classes(here, world, capsys, count):
    few = replace(world, seen=count)
    torch.save(few.state(), "model.pt")
    for method in ("ridge", "nearest", "mean", "costa"):
        said, err = injected(capsys, fit=["--method", method])
        assert said["rows_after"] == 46
        json.dumps(said, allow_nan=False)
        if count == 2:
            assert "with 2 seen classes no offset can be found: none is added" in err
            assert said["certainty"] is None
            assert said["calibration"]["offset"] == 0
        else:
            assert not any(part["unlike_seen"] for part in said["certainty"])


def test_one_new_class(here, world, capsys):
    Path("one.txt").write_text(world.names[43] + "\n")
    said, _ = injected(capsys, fit=["--unseen", "one.txt"])
    assert said["classes"] == [world.names[43]]
    assert said["rows_after"] == 41
    assert len(said["certainty"]) == 1
    assert np.isfinite(said["calibration"]["offset"])


def test_later_rounds_compare_with_trained_rows_only(here, world, capsys):
    """Rows that were injected before are no truth to calibrate by."""
    injected(capsys)
    loaded = icis.Injector.load("injector.safetensors")
    table = icis.read_descriptors(second_table(here, world))
    first, second = (
        icis.expand(icis.open_checkpoint(name), loaded, table)
        for name in ("model.pt", "model.injected.pt")
    )
    np.testing.assert_array_equal(first.rows, second.rows)  # the same products
    assert first.calibration == second.calibration
    head = icis.find_head(icis.open_checkpoint("model.pt"))
    pairs = SeenPairs(world.descriptors[:40], head.rows, table.values)
    tuned = tune(pairs, loaded.predict(table.values), loaded.held, 24)
    np.testing.assert_allclose(second.rows[:], tuned.rows[:], atol=1e-4)


def test_a_record_from_before_calibration_still_loads(here, world, capsys):
    injected(capsys)
    side = Path("model.injected.pt.icis.json")
    content = json.loads(side.read_text())
    (part,) = content["rounds"]
    for key in ("calibration_kind", "evening", "reach", "standing"):
        del part[key]
    side.write_text(json.dumps(content))
    more = ["--weights", "model.injected.pt", "--attrs", str(second_table(here, world))]
    assert run(["inject", *more, "--out", "more.pt"]) == 0
    first, second = json.loads(Path("more.pt.icis.json").read_text())["rounds"]
    assert first == {**part, "calibration_kind": "fixed", "evening": 0, "reach": 0, "standing": []}
    assert second["calibration_kind"] == "auto"
    assert run(["inject", "--remove", "--weights", "model.injected.pt", "--out", "old.pt"]) == 0


@pytest.mark.parametrize(
    "damage",
    [
        {"rows": lambda rows: rows[:, :20]},
        {"rows": lambda rows: rows[:20]},
        {"rows": lambda rows: rows[:, 0]},
        {"fold": lambda fold: fold * 0},
        {"fold": lambda fold: fold[:, None]},
        {"classes": lambda classes: classes * 0},
        {"classes": lambda classes: classes + 1},
        {part: lambda values: values[:0] for part in ("classes", "fold", "rows")},
    ],
)
def test_damaged_held_out_rows_are_refused(here, capsys, damage):
    assert run(FIT) == 0
    with safe_open("injector.safetensors", framework="np") as content:
        metadata = content.metadata()
    tensors = load_file("injector.safetensors")
    for part, change in damage.items():
        tensors[f"heldout.{part}"] = change(tensors[f"heldout.{part}"]).copy()
    save_file(tensors, "injector.safetensors", metadata)
    capsys.readouterr()
    assert run(["inject"]) == 1
    said = capsys.readouterr().err
    assert "is damaged or no injector" in said or "another width" in said
    assert "fault of icis" not in said


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "method", [icis.Ridge(), icis.Nearest(), icis.Mean()], ids=lambda method: method.name
)
def test_evened_rows_are_known_by_the_injector_alone(here, world, dtype, method):
    torch.save(world.state(dtype), "model.pt")
    checkpoint = icis.open_checkpoint("model.pt")
    head = icis.find_head(checkpoint)
    classes = icis.align(head.rows, icis.read_descriptors("attrs.csv"))
    injector = icis.fit(checkpoint, head, classes, method)
    icis.expand(checkpoint, injector).write("new.pt")
    Path("new.pt.icis.json").unlink()
    known = icis.known_head(icis.open_checkpoint("new.pt"), injector)
    assert (known.names, known.seen_classes) == (world.names, 40)
    if method.name == "ridge":
        state = stored("new.pt")
        state["fc.weight"][40:] = state["fc.weight"][40:].flip(0)
        torch.save(state, "other.pt")
        with pytest.raises(InjectorError, match="are not those of this injector"):
            icis.known_head(icis.open_checkpoint("other.pt"), injector)

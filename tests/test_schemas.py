"""What commands print with ``--json``, and the record, are as ``schemas/`` says."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from icis_cli import errors
from icis_cli.cli.app import app
from icis_cli.cli.main import run
from icis_cli.demo.material import Material
from tests.conftest import World
from tests.image_networks import CLASSES, picture
from tests.test_image_network_folders import PROCESSOR, transformers_folder

jsonschema = pytest.importorskip("jsonschema")

SCHEMAS = Path(__file__).parents[1] / "schemas"
NAMES = sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.iterdir())
FIT = ("fit", "--weights", "model.pt", "--attrs", "attrs.csv", "--method", "ridge")

#: Runs a command with ``--json`` and returns what it printed.
Command = Callable[..., Any]


def schema(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))


def validate(name: str, content: object) -> None:
    jsonschema.Draft202012Validator(schema(name)).validate(content)


def refused(name: str, content: object) -> None:
    assert not jsonschema.Draft202012Validator(schema(name)).is_valid(content)


@pytest.fixture
def printed(folder, world: World, monkeypatch, capsys) -> Command:
    """A classifier of 40 classes, descriptors of 46, and samples; and how to run a command."""
    monkeypatch.chdir(folder)
    generator = np.random.default_rng(1)
    rows = np.repeat(np.arange(len(world.names)), 4)
    features = world.rows[rows, :-1] + generator.standard_normal((len(rows), 24))
    np.savez("test.npz", features=features.astype(np.float32), labels=rows)

    def command(*arguments: str, code: int = 0, form: str | None = None) -> Any:
        capsys.readouterr()
        assert run([*arguments, "--json"]) == code
        content = json.loads(capsys.readouterr().out)
        validate(form or arguments[0], content)
        return content

    return command


def objects(part: Any) -> Iterator[Any]:
    """Yield all schemas of objects in a schema."""
    if isinstance(part, list):
        for one in part:
            yield from objects(one)
    elif isinstance(part, dict):
        if part.get("type") == "object":
            yield part
        for one in part.values():
            yield from objects(one)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_and_tells_of_every_property(name):
    whole = schema(name)
    jsonschema.Draft202012Validator.check_schema(whole)
    assert whole["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for part in objects(whole):
        if "properties" not in part:
            continue
        # The settings of other libraries alone may be more than what is listed.
        assert part.get("additionalProperties") is False or list(part["properties"]) in (
            ["by"], ["head", "why_no_head"]
        )  # fmt: skip
        assert set(part["required"]) <= set(part["properties"])
        for key, value in part["properties"].items():
            assert value.get("description") or "$ref" in value, key


def test_every_command_that_prints_json_has_a_schema():
    commands = {one.name for one in app.registered_commands}
    assert commands | {"error", "record"} == set(NAMES)


def test_fit(printed):
    planned = printed(*FIT, "--dry-run")
    assert "training" not in planned
    fitted = printed(*FIT)
    assert fitted["held_out"]["folds"] == 5
    trained = ("--method", "icis", "--epochs", "2", "--cv", "0", "--device", "cpu", "--force")
    assert printed(*FIT[:-2], *trained)["training"]["epochs"] == 2
    np.save("more.npy", np.random.default_rng(2).standard_normal((46, 5)))
    chosen = printed(*FIT, "--select", "--attrs", "more.npy", "--force")
    assert chosen["selection"]["candidates"]
    assert chosen["view_selection"] is not None
    refused("fit", {**planned, "training": fitted["training"]})
    refused("fit", {key: value for key, value in fitted.items() if key != "training"})


@pytest.mark.parametrize("calibration", ["auto", "none", "-1.5"])
def test_inject_and_its_record(printed, calibration):
    printed(*FIT)
    plan = printed("inject", "--card", "--dry-run", "--calibration", calibration)
    content = printed("inject", "--card", "--calibration", calibration)
    assert content == {**plan, "dry_run": False}
    assert len(content["certainty"]) == 6
    record = json.loads(Path("model.injected.pt.icis.json").read_text(encoding="utf-8"))
    validate("record", record)
    assert record["rounds"][0]["calibration_kind"] == content["calibration"]["kind"]
    removed = printed("inject", "--remove", "--weights", "model.injected.pt")
    assert removed["calibration"] is None


def test_a_record_of_two_rounds_without_held_out_classes(printed, world: World):
    """And through the API, where an injector was never a file."""
    import icis_cli as icis

    for old, new, first in (("model.pt", "one.pt", 40), ("one.pt", "two.pt", 43)):
        checkpoint = icis.open_checkpoint(old)
        head = icis.find_head(checkpoint)
        np.savez(
            "some.npz",
            descriptors=world.descriptors[: first + 3],
            names=np.array(world.names[: first + 3]),
        )
        classes = icis.align(head.rows, icis.read_descriptors("some.npz"))
        injector = icis.fit(checkpoint, head, classes, icis.Nearest(), folds=0)
        expansion = icis.expand(checkpoint, injector, calibration="none")
        side, _ = expansion.write(new)
        record = json.loads(side.read_text(encoding="utf-8"))
        validate("record", record)
    assert [part["classes"] for part in record["rounds"]] == [3, 3]
    assert record["rounds"][0]["injector_sha256"] == ""


def test_eval_on_features_and_against_rows(printed, world: World, folder):
    printed(*FIT)
    printed("inject")
    evaluate = ("eval", "--weights", "model.injected.pt")
    content = printed(*evaluate, "--features", "test.npz", "--min-harmonic", "1", code=3)
    assert content["gates"][0]["passed"] is False
    assert 1 < len(content["curve"]["gamma"]) <= 101
    np.savez("seen.npz", features=np.ones((8, 24), np.float32), labels=np.arange(8))
    assert (
        printed(*evaluate, "--features", "seen.npz", "--min-zsl", "0", code=3)["zsl"]["top1"]
        is None
    )
    torch.save(whole(world), folder / "whole.pt")
    compared = (*evaluate, "--reference", "whole.pt", "--reference-classes", "all.txt")
    Path("all.txt").write_text("\n".join(world.names) + "\n")
    assert printed(*compared)["controls"] == {}
    controls = printed(*compared, "--injector", "injector.safetensors")["controls"]
    assert set(controls) == {"control: nearest", "control: mean"}
    refused("eval", {**content, "rows": 1})


def whole(world: World) -> dict[str, torch.Tensor]:
    """The state of a network that was trained on all 46 classes."""
    rows = torch.from_numpy(world.rows)
    return {**world.state(), "fc.weight": rows[:, :-1].contiguous(), "fc.bias": rows[:, -1].clone()}


def test_eval_on_images(printed, folder):
    transformers_folder(folder, PROCESSOR)
    np.save("d.npy", np.random.default_rng(0).standard_normal((CLASSES + 2, 3)))
    Path("names.txt").write_text("\n".join(f"kind {n}" for n in range(CLASSES + 2)))
    described = ("--attrs", "d.npy", "--classes", "names.txt", "--method", "nearest")
    printed("fit", "--weights", "model", *described)
    printed("inject", "--out", "new")
    for row in (0, CLASSES):
        (folder / "images" / f"kind {row}").mkdir(parents=True)
        picture().save(folder / "images" / f"kind {row}" / "a.png")
    content = printed("eval", "--weights", "new", "--images", "images", "--device", "cpu")
    assert content["network"]["name"] == "transformers/ViTForImageClassification"
    assert content["network"]["preprocessing"]["by"] == "ViTImageProcessor"
    steps = ("--resize", "40", "--crop", "32", "--device", "cpu")
    own = printed("eval", "--weights", "new", "--images", "images", *steps)
    assert own["network"]["preprocessing"]["crop"] == 32


def test_compare(printed):
    methods = ("--method", "ridge", "--method", "nearest", "--seeds", "0,1", "--device", "cpu")
    compare = ("compare", "--weights", "model.pt", "--attrs", "attrs.csv", *methods)
    held = printed(*compare, "--csv", "runs.csv")
    assert held["samples"] == 0
    samples = printed(*compare, "--features", "test.npz", "--method", "conse",
                      "--calibration", "-1")  # fmt: skip
    assert samples["calibration"] == -1
    assert samples["methods"][0]["mean"]["harmonic"] is not None
    broken = copy.deepcopy(samples)
    broken["methods"][0]["runs"][0]["harmonic"] = 41.2  # per cent
    refused("compare", broken)


def test_benchmark(printed, folder):
    pytest.importorskip("scipy.io")
    from tests.test_protocol import write

    write(folder / "xlsa17" / "TOY")
    methods = ("--method", "ridge", "--method", "nearest", "--device", "cpu")
    content = printed("benchmark", "xlsa17", *methods)
    part = content["data_sets"][0]
    assert part["name"] == "TOY"
    figures = {"dataset": "CUB", "classes": 200, "zsl_top1": 0.6, "unseen": 0.5, "seen": 0.7,
               "harmonic": 0.6}  # fmt: skip
    validate("benchmark", {**content, "data_sets": [{**part, "published": figures}]})
    refused("benchmark", {**content, "data_sets": [{**part, "published": {}}]})


def test_inspect_and_verify(printed, world: World):
    assert printed("inspect", "model.pt")["head"]["key"] == "fc"
    torch.save({"a.weight": torch.ones(5, 3), "b.weight": torch.ones(4, 3)}, "twins.pt")
    assert printed("inspect", "twins.pt")["head"] is None
    printed(*FIT)
    printed("inject")
    found = printed("inspect", "model.injected.pt")
    assert found["rounds"][0]["classes"] == 6
    refused("inspect", {**found, "why_no_head": {"reason": "x", "hint": ""}})
    assert printed("verify", "model.pt", "model.injected.pt")["passed"]
    state = torch.load("model.injected.pt", weights_only=True)
    torch.save({**state, "body.count": torch.tensor(8)}, "model.injected.pt")
    assert printed("verify", "model.pt", "model.injected.pt", code=1)["difference"] is not None
    assert not printed("verify", "model.injected.pt", "model.pt", code=1)["passed"]


def test_describe(printed, world: World):
    lines = (
        f"{name.replace(' ', '_')} {' '.join(map(str, row))}\n"
        for name, row in zip(world.names, world.descriptors, strict=True)
    )
    Path("vectors.txt").write_text("".join(lines))
    Path("all.txt").write_text("\n".join(world.names) + "\n")
    content = printed("describe", "--names", "all.txt", "--encoder", "vectors.txt")
    assert content["classes"] == list(world.names)


def test_report(printed):
    printed(*FIT)
    printed("inject")
    assert printed("report", "model.injected.pt")["missing"]
    printed("report", "model.injected.pt", "--features", "test.npz", "--force")


def test_demo_prints_its_last_step(printed, folder, world: World, monkeypatch):
    torch.save(whole(world), folder / "whole.pt")
    for file, names in (("seen.txt", world.names[:40]), ("all.txt", world.names)):
        Path(file).write_text("\n".join(names) + "\n")
    files = ("whole.pt", "model.pt", "attrs.csv", "seen.txt", "all.txt")
    material = Material(*(folder / file for file in files))
    monkeypatch.setattr("icis_cli.demo.material.prepare", lambda *_, **__: material)
    content = printed("demo", "--out", ".")
    assert content["command"] == "eval"
    validate("eval", content)


@pytest.mark.parametrize("command", sorted({*NAMES} - {"error", "record"}))
def test_what_fails_is_told_in_one_form(printed, command):
    content = printed(command, "--no-such-option", code=2, form="error")
    assert content["error"]["type"] == "UsageError"


def test_errors_of_files_are_told_in_the_same_form(printed):
    Path("words.vec").write_text("".join(f"kind{n} {n} 1\n" for n in range(3)))
    missing = {
        "fit": ("--weights", "none.pt", "--attrs", "attrs.csv"),
        "inject": (),
        "eval": ("--weights", "none.pt", "--features", "test.npz"),
        "compare": ("--weights", "none.pt", "--attrs", "attrs.csv"),
        "benchmark": ("none",),
        "inspect": ("none.pt",),
        "verify": ("none.pt", "model.pt"),
        "describe": ("--names", "none.txt", "--encoder", "words.vec"),
        "report": ("none.pt",),
    }
    for command, arguments in missing.items():
        content = printed(command, *arguments, code=1, form="error")
        assert content["error"]["message"], command
    refused("error", {**content, "command": "fit"})
    refused("error", {**content, "error": {**content["error"], "type": "ValueError"}})


def test_the_kinds_of_errors_are_those_that_can_be_printed():
    kinds = {
        name
        for name, one in vars(errors).items()
        if isinstance(one, type) and issubclass(one, errors.IcisError)
    }
    # Of the last two the result has been printed; the first is always one of its kinds.
    told = kinds - {"FileError", "VerificationError", "QualityGateError"}
    assert set(schema("error")["properties"]["error"]["properties"]["type"]["enum"]) == told


def test_a_wrong_document_is_refused(printed):
    content = printed(*FIT)
    changes: tuple[dict[str, Any], ...] = (
        {"surprise": 1}, {"schema_version": 2}, {"command": "inject"}, {"seed": -1},
        {"dry_run": "no"}, {"held_out": {**content["held_out"], "retrieval": 1.5}},
        {"head": {**content["head"], "classes": 0}}, {"view_weights": []},
    )  # fmt: skip
    for change in changes:
        refused("fit", {**content, **change})
    for key in set(content) - {"held_out"}:
        refused("fit", {name: value for name, value in content.items() if name != key})

"""The command line's contract: exit codes, what goes to stdout and what to stderr, what is written.

Most tests call the command in this process; a few start it as a user does.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import icis_cli as api
from icis_cli.demo.material import Material
from tests.conftest import fork_server, icis, run, write_classifier

FIT = ["fit", "--weights", "model.pt", "--attrs", "attrs.csv", "--method", "nearest"]
FAST = [*FIT, "--device", "cpu"]


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def expanded(tmp_path_factory, world):
    """A folder with ``injector.safetensors``, ``model.injected.pt`` and ``test.npz``."""
    folder = write_classifier(tmp_path_factory.mktemp("expanded"), world)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        assert run(FAST) == 0
        assert run(["inject"]) == 0
    write_features(folder / "test.npz", world)
    return folder


@pytest.fixture
def injected(expanded, tmp_path, monkeypatch):
    """A copy of what was expanded."""
    shutil.copytree(expanded, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_features(path, world, **change):
    generator = np.random.default_rng(1)
    rows = np.repeat(np.arange(len(world.names)), 4)
    noise = generator.standard_normal((len(rows), 24))
    features = (world.rows[rows, :-1] + 0.3 * noise).astype(np.float32)
    np.savez(path, **{"features": features, "labels": rows, **change})


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


EVAL = ["eval", "--weights", "model.injected.pt", "--features", "test.npz"]


def test_the_two_commands_of_the_readme_work_as_they_stand(folder, world):
    before = files(folder)
    done = icis("fit", "--weights", "model.pt", "--attrs", "attrs.csv", cwd=folder)
    assert (done.code, done.out) == (0, "wrote injector.safetensors: rows for 6 new classes\n")
    assert "next: icis inject" in done.err
    done = icis("inject", cwd=folder)
    assert (done.code, done.out) == (0, "wrote model.injected.pt: fc with 40 -> 46 rows\n")
    after = files(folder)
    assert set(after) - set(before) == {
        "injector.safetensors", "model.injected.pt", "model.injected.pt.icis.json"
    }  # fmt: skip
    assert {name: after[name] for name in before} == before
    state = torch.load(folder / "model.injected.pt", weights_only=True)
    assert state["fc.weight"].shape == (46, 24)
    assert torch.equal(state["fc.weight"][:40], world.state()["fc.weight"])
    assert json.loads(after["model.injected.pt.icis.json"])["class_names"] == list(world.names)


def test_outputs_are_replaced_only_when_asked(here, capsys):
    for command in (FAST, ["inject"]):
        assert run(command) == 0
        before = files(here)
        capsys.readouterr()
        assert run([*command, "--seed", "3"] if command is FAST else command) == 1
        assert files(here) == before
        said = capsys.readouterr()
        assert said.out == ""
        assert "exists already - pass --force" in said.err
    assert run([*FAST, "--seed", "3", "--force"]) == 0
    assert files(here)["injector.safetensors"] != before["injector.safetensors"]
    assert run(["inject", "--force", "--calibration", "-1.5"]) == 0
    state = torch.load(here / "model.injected.pt", weights_only=True)
    old = torch.load(here / "model.pt", weights_only=True)
    assert state["fc.bias"][40:].mean() < old["fc.bias"].mean() - 0.5


@pytest.mark.parametrize("mode", [[], ["--json"], ["--quiet"]])
def test_a_dry_run_tells_and_writes_nothing(here, capsys, mode):
    before = files(here)
    assert run([*FAST, "--dry-run", *mode]) == 0
    assert files(here) == before
    said = capsys.readouterr().out
    assert "injector.safetensors" in said
    assert run(FAST) == 0
    before = files(here)
    capsys.readouterr()
    assert run(["inject", "--dry-run", *mode]) == 0
    assert files(here) == before
    said = capsys.readouterr().out
    assert "model.injected.pt" in said
    if mode == ["--json"]:
        plan = json.loads(said)
        assert plan["dry_run"] is True
        assert plan["files"] == ["model.injected.pt.icis.json", "model.injected.pt"]


def test_json_is_one_object_and_quiet_one_line(here, world, capsys):
    for command, keys in (
        (FAST, {"out", "head", "alignment", "new_classes", "method", "seed", "training", "notes"}),
        (["inject"], {"out", "files", "rows_before", "rows_after", "classes", "calibration"}),
    ):
        assert run([*command, "--json"]) == 0
        said = capsys.readouterr()
        result = json.loads(said.out)
        assert said.err == ""
        assert said.out.count("\n") == 1
        assert (result["schema_version"], result["command"]) == (1, command[0])
        assert keys <= set(result)
        assert run([*command, "--quiet", "--force"]) == 0
        said = capsys.readouterr()
        assert said.out == result["out"] + "\n"
        assert said.err == ""
    assert result["classes"] == list(world.names[40:])
    assert (result["rows_before"], result["rows_after"]) == (40, 46)


def test_eval_prints_the_keys_of_the_contract_and_the_figures_of_the_api(injected, capsys):
    assert run([*EVAL, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {
        "schema_version", "command", "weights", "zsl", "gzsl", "samples", "classes", "confusions",
        "curve", "gates", "report",
    }  # fmt: skip
    assert result["command"] == "eval"
    assert {"seen", "unseen", "harmonic", "ausuc", "best_harmonic"} <= set(result["gzsl"])
    fractions = {**result["gzsl"], **result["zsl"]}
    gamma = fractions.pop("best_gamma")
    assert all(0 <= value <= 1 for value in fractions.values())
    assert abs(gamma) < 100
    assert fractions["seen"] > 0.3
    assert fractions["unseen"] > 0.1
    known = api.known_head(api.open_checkpoint("model.injected.pt"))
    same = api.evaluate_features(known, api.read_features("test.npz")).to_json()
    assert {key: result[key] for key in same} == same
    assert run([*EVAL, "--quiet"]) == 0
    line = capsys.readouterr().out.split()
    assert line[::2] == ["harmonic", "seen", "unseen", "ausuc", "zsl"]
    assert float(line[3]) == pytest.approx(result["gzsl"]["seen"], abs=1e-4)
    assert run(EVAL) == 0
    said = capsys.readouterr()
    assert f"{100 * result['gzsl']['seen']:.1f}" in said.out
    assert said.err == ""


def test_quality_gates_decide_the_exit_code_and_the_result_is_still_there(injected, capsys):
    assert run([*EVAL, "--json", "--min-harmonic", "1", "--min-zsl", "0"]) == 3
    said = capsys.readouterr()
    missed, met = json.loads(said.out)["gates"]
    assert (missed["metric"], missed["passed"], missed["minimum"]) == ("harmonic", False, 1)
    assert (met["metric"], met["passed"]) == ("zsl_top1", True)
    assert said.err.startswith("icis: error: quality gate missed: harmonic is 0.")
    assert said.err.count("\n") == 1
    assert run([*EVAL, "--min-harmonic", "0", "--min-zsl", "0.01"]) == 0
    seen = np.arange(8)
    np.savez("seen.npz", features=np.ones((8, 24), np.float32), labels=seen)
    only_seen = ["eval", "--weights", "model.injected.pt", "--features", "seen.npz"]
    capsys.readouterr()
    assert run([*only_seen, "--json", "--min-zsl", "0"]) == 3  # no sample, no pass
    said = capsys.readouterr()
    assert json.loads(said.out)["zsl"]["top1"] is None
    assert "zsl_top1 is unknown" in said.err


def test_remove_gives_the_original_head_back(injected, capsys):
    assert run(["inject", "--remove", "--weights", "model.injected.pt", "--out", "old.pt"]) == 0
    assert "fc with 46 -> 40 rows" in capsys.readouterr().out
    was, now = (torch.load(name, weights_only=True) for name in ("model.pt", "old.pt"))
    assert list(was) == list(now)
    assert all(torch.equal(was[key], now[key]) for key in was)


def test_errors_are_told_as_json_too(here, capsys):
    for arguments, code, kind in (
        ([*FIT, "--attrs", "attrs.csv", "--json"], 2, "UsageError"),
        (["fit", "--weights", "none.pt", "--attrs", "attrs.csv", "--json"], 1, "CheckpointError"),
        (["fit", "--json"], 2, "UsageError"),
        (["--json", "fit"], 2, "UsageError"),
    ):
        assert run(arguments) == code
        said = capsys.readouterr()
        content = json.loads(said.out)
        assert set(content) == {"schema_version", "error"}
        assert set(content["error"]) == {"type", "message", "hint"}
        assert content["error"]["type"] == kind
        told = " - ".join(filter(None, (content["error"]["message"], content["error"]["hint"])))
        assert said.err.endswith(f"icis: error: {told}\n")


def test_debug_shows_the_traceback_and_nothing_else_does(here, capsys, monkeypatch):
    command = ["fit", "--weights", "none.pt", "--attrs", "attrs.csv"]
    assert run(command) == 1
    plain = capsys.readouterr().err
    assert "Traceback" not in plain
    monkeypatch.setenv("ICIS_DEBUG", "1")
    assert run(command) == 1
    debug = capsys.readouterr().err
    assert "Traceback" in debug
    assert debug.endswith(plain)


def test_a_fault_of_icis_itself_is_one_line_that_says_so(here, capsys, monkeypatch):
    def broken(*_):
        message = "two\nlines\x1b[0m"
        raise RuntimeError(message)

    monkeypatch.setattr("icis_cli.open_checkpoint", broken)
    assert run(FAST) == 1
    said = capsys.readouterr().err
    assert said.startswith(r"icis: error: unexpected RuntimeError: two\x0alines\x1b[0m - this is")
    assert said.count("\n") == 1


def test_an_interrupt_inside_a_command(here, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("icis_cli.open_checkpoint", interrupted)
    assert run(FAST) == 130
    assert capsys.readouterr().err == "icis: interrupted\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_training_with_130_and_leave_nothing(folder, number):
    before = files(folder)
    command = ["fit", "--weights", "model.pt", "--attrs", "attrs.csv", "--epochs", "10000000"]
    with subprocess.Popen(
        [sys.executable, "-m", "icis_cli", *command],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Where tests run in the background, the shell has them ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            while not process.stderr.readline().startswith("note:"):
                assert process.poll() is None
            process.send_signal(number)
            out, err = process.communicate()
        finally:
            process.kill()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "icis: interrupted"
    assert "Traceback" not in err
    assert out == ""
    assert files(folder) == before


#: A command in a real process that does not import torch, which takes seconds.
LIGHT = [
    sys.executable, "-m", "icis_cli", "fit", "--weights", "model.safetensors",
    "--attrs", "attrs.csv", "--method", "ridge", "--cv", "0",
]  # fmt: skip


def write_light_model(folder, world):
    state = {"fc.weight": world.rows[:40, :-1].copy(), "fc.bias": world.rows[:40, -1].copy()}
    save_file(state, folder / "model.safetensors")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_stdout_that_takes_nothing(folder, world, unbuffered):
    """A pipe nobody reads, a full disk, no stdout at all, one without accents: no traceback."""
    write_light_model(folder, world)
    command = [*LIGHT, "--dry-run", "--quiet", "--out", "é.safetensors"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUNBUFFERED": unbuffered}

    def outcome(redirection):
        """The exit code, what was seen on stdout, and on stderr."""
        shell = ["sh", "-c", f'"$@" {redirection}', "sh", *command]
        done = subprocess.run(
            shell, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    assert outcome("") == (0, "\\xe9.safetensors\n", "")
    assert outcome(">&-") == (0, "", "")
    if Path("/dev/full").exists():
        code, _, err = outcome("> /dev/full")
        assert code == 1
        assert err.startswith("icis: error: ")
        assert err.endswith("No space left on device\n")
        assert err.count("\n") == 1
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("mode", [[], ["--json"], ["--quiet"]])
def test_a_stdout_that_cannot_be_written(here, capsys, monkeypatch, mode):
    """A stream without a file: one line that names stdout, whatever was to be printed."""

    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    for arguments in ([*FAST, "--force", *mode], ["--version"]):
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", Full())
            assert run(arguments) == 1
        errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert errors == ["icis: error: stdout: No space left on device"]
    with monkeypatch.context() as patched:  # another error is told as it is
        patched.setattr(sys, "stdout", Full())
        assert run(["inject", "--injector", "none", *mode]) == 1
    assert capsys.readouterr().err.startswith("icis: error: none: no such file")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("mode", [[], ["--json"], ["--quiet"]])
def test_a_full_disk_under_stdout(folder, mode, unbuffered):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    command = [fork_server().programs / "icis", *FAST, "--dry-run", *mode]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "icis: error: stdout: No space left on device"
    assert done.stderr.count("No space left") == 1
    assert "Traceback" not in done.stderr


def test_help_on_a_full_disk(folder):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [fork_server().programs / "icis", "--help"],
            cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("icis: error: ")
    assert line.endswith("No space left on device")


@pytest.mark.parametrize(
    "closed", ["2>&-", ">&-", pytest.param("2>&- >&-", marks=pytest.mark.family)]
)
def test_streams_that_are_closed(folder, world, closed):
    write_light_model(folder, world)

    def outcome(*arguments):
        command = ["sh", "-c", f'"$@" {closed}', "sh", *LIGHT, *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    code, out, err = outcome("--json")
    assert (code, err) == (0, "")
    assert (folder / "injector.safetensors").is_file()
    if closed == "2>&-":
        assert json.loads(out)["command"] == "fit"
    else:
        assert out == ""
    code, out, err = outcome("--json")  # it exists now
    assert code == 1
    if closed == "2>&-":
        assert json.loads(out)["error"]["type"] == "OutputError"
    else:
        assert out == ""
    assert "Traceback" not in err
    assert outcome("--force")[0] == 0


def test_warnings_are_told_in_every_mode_and_notes_to_people_only(here, world, capsys):
    shift = np.roll(world.descriptors, 1, axis=0)
    np.save("shifted.npy", np.concatenate([shift, np.ones((46, 1))], axis=1))
    command = ["fit", "--weights", "model.pt", "--attrs", "shifted.npy", "--dry-run"]
    for mode in ([], ["--quiet"], ["--json"]):
        assert run([*command, *mode]) == 0
        said = capsys.readouterr()
        warnings = [line for line in said.err.splitlines() if line.startswith("warning: ")]
        assert len(warnings) == 2
        assert (
            "shifted.npy: 1 of 9 columns are constant and tell no classes apart: 8" in warnings[0]
        )
        assert "similar descriptors do not go with similar rows" in warnings[1]
        assert ("note: matched by position" in said.err) == (mode == [])
    assert [f"warning: {text}" for text in json.loads(said.out)["warnings"]] == warnings


def test_the_demo_tells_as_json_which_of_its_steps_failed(here, capsys, monkeypatch):
    gone = Material(*(here / name for name in ("a.pt", "gone.pt", "attrs.csv", "s", "c")))
    monkeypatch.setattr("icis_cli.demo.material.prepare", lambda *_, **__: gone)
    assert run(["demo", "--json", "--out", "."]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["message"].endswith("gone.pt: no such file")
    assert said.err.count("icis: error: ") == 1
    assert run(["demo", "--out", "."]) == 1
    command = f"$ icis fit --weights {gone.weights} --attrs {gone.attrs} --seen {gone.seen} --out "
    assert any(line.startswith(command) for line in capsys.readouterr().err.splitlines())


def test_version_and_help_of_every_command(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"icis {api.__version__}\n"
    for command in ("fit", "inject", "eval", "demo"):
        assert run([command, "-h"]) == 0
        said = capsys.readouterr().out
        assert "--json" in said
        assert "\x1b" not in said


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("last.pth.tar", "last.injected.pth.tar"),
        ("a.b.pt", "a.b.injected.pt"),
        ("epoch.tar", "epoch.injected.tar"),
    ],
)
def test_the_new_checkpoint_is_called_after_the_old_one(here, name, new):
    Path("model.pt").rename(name)
    fit = ["fit", "--weights", name, "--attrs", "attrs.csv", "--method", "nearest", "--quiet"]
    assert run([*fit, "--cv", "0"]) == 0
    assert run(["inject", "--quiet"]) == 0
    assert Path(new).is_file()


def test_the_copy_of_the_folder_one_is_in_lies_beside_it(here, world, monkeypatch):
    folder = here / "net"
    folder.mkdir()
    save_file({k: v.numpy() for k, v in world.state().items()}, folder / "model.safetensors")
    monkeypatch.chdir(folder)
    fit = ["fit", "--weights", ".", "--attrs", "../attrs.csv", "--method", "nearest", "--cv", "0"]
    assert run([*fit, "--out", "../injector.safetensors", "--quiet"]) == 0
    inject = ["inject", "--injector", "../injector.safetensors", "--weights", "."]
    assert run([*inject, "--quiet"]) == 0
    assert sorted(path.name for path in here.glob("net*")) == [
        "net", "net.injected", "net.injected.icis.json"
    ]  # fmt: skip

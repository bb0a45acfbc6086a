"""The golden record's own code: what makes a difference, and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tools.golden.checking import Outcome, Record
from tools.golden.comparing import lines_agree, reconciled
from tools.golden.contents import Contents, known_parts
from tools.golden.normal import Normal, outline
from tools.golden.transcript import Exact, Step, read_exact, read_transcript, write_transcript

from tests.conftest import COMMANDS

COMMAND = "icis inject"
STEP = Step(
    ("# A comment.",),
    COMMAND,
    True,
    (
        "exit 0",
        "out| wrote new.pt: fc with 24 -> 28 rows",
        "",
        "err| zebra       29 %     0.19",
        "err| calibration: +4.00",
        "wrote new.pt",
        "    fc.weight float32 28x12, the first 24 196b895a5b70, then",
        "        -0.9770 1.3149",
    ),
)
FILE = Exact("inject", COMMAND, "new.pt", 3136, "0" * 64)
HERE = ["a processor", "numpy 2.4"]


@pytest.fixture
def record(tmp_path):
    (tmp_path / "inject.txt").write_text(write_transcript([STEP]))
    Record(tmp_path).update([Outcome("inject", [STEP], [FILE])], HERE)
    return Record(tmp_path)


def differences(record, *, line=("", ""), sha256=FILE.sha256, fingerprint=HERE):
    """What differs after one line has changed, or the bytes of the file."""
    lines = tuple(text.replace(*line) if line[0] else text for text in STEP.record)
    step, file = replace(STEP, record=lines), replace(FILE, sha256=sha256)
    found = record.compare([Outcome("inject", [step], [file])], fingerprint)
    return ["\n".join(one.lines) for one in found]


def test_what_is_the_same_does_not_differ(record, tmp_path):
    assert differences(record) == []
    assert read_transcript(write_transcript([STEP, STEP])) == [STEP, STEP]
    assert read_exact(tmp_path / "exact.txt") == (HERE, [FILE])
    assert record.groups == ["inject"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("exit 0", "exit 1"),
        ("wrote new.pt: fc", "wrote new.pt, fc"),
        ("28 rows", "29 rows"),
        ("zebra  ", "zebra "),
        ("0.19", "0.22"),
        ("+4.00", "+4.2"),
        ("29 %", "32 %"),
        ("196b895a5b70", "196b895a5b71"),
        ("1.3149", "1.3449"),
    ],
)
def test_a_change_is_shown_as_a_diff(record, old, new):
    (found,) = differences(record, line=(old, new))
    lines = found.splitlines()
    assert lines[0] == "--- golden/inject.txt: $ icis inject"
    before = next(line for line in STEP.record if old in line)
    assert f"-{before}" in lines
    assert f"+{before.replace(old, new)}" in lines
    assert sum(line.startswith(("-", "+")) for line in lines) == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [("0.19", "0.20"), ("+4.00", "+4.03"), ("29 %", "30 %"), ("-0.9770", "-0.9771")],
)
def test_last_digits_of_computed_numbers_may_differ(record, old, new):
    assert differences(record, line=(old, new)) == []


def test_a_changed_byte_differs_where_the_machine_is_the_recorded_one(record):
    (found,) = differences(record, sha256="1" * 64)
    assert f"-{'0' * 64} 3136 bytes\n+{'1' * 64} 3136 bytes" in found
    assert "new.pt: other bytes" in found
    assert differences(record, sha256="1" * 64, fingerprint=["another processor"]) == []


def test_an_update_keeps_what_agrees(record):
    lines = [text.replace("0.19", "0.20").replace("28 rows", "29 rows") for text in STEP.record]
    record.update([Outcome("inject", [replace(STEP, record=tuple(lines))], [])], HERE)
    (step,) = record.steps("inject")
    expected = tuple(text.replace("28 rows", "29 rows") for text in STEP.record)
    assert step.record == expected


def test_numbers_in_lines():
    assert lines_agree("a 0.5 ± 0.12 %", "a 0.5 ± 0.13 %")
    assert lines_agree("loss 4.0 -> 0.0023 █▂▁", "loss 4.0 -> 0.0023 █▃▁")
    assert not lines_agree("loss █▂▁", "loss █▅▁")
    assert not lines_agree("loss █▂▁", "loss █▂")
    assert lines_agree("x   9.99 y", "x  10.00 y")
    assert not lines_agree("version 1.2.3", "version 1.2.4")
    assert not lines_agree("row 24", "row 25")
    assert lines_agree("1.234e-07", "1.235e-07")
    assert not lines_agree("1.234e-07", "1.234e-06")
    assert reconciled(["a 1.00", "b"], ["new", "a 1.01", "b"]) == ("new", "a 1.00", "b")


def test_texts_lose_what_differs_from_run_to_run(tmp_path):
    normal = Normal(tmp_path, {"torch": "2.14.1"})
    normal.hashes["a" * 64] = "model.pt"
    told = normal.text(f"{tmp_path}/x: {'a' * 64}, {'a' * 16}..., torch 2.14.1, took 1.8 s")
    expected = "<folder>/x: <sha256 of model.pt>, <sha256 of model.pt>..., torch <torch version>"
    assert told == f"{expected}, took # s"
    table = "method  H  time s\nridge  0.5     1.2\n\nH 0.5"
    assert normal.text(table) == "method  H  time s\nridge  0.5     #.#\n\nH 0.5"
    assert list(outline({"a": {"b": 0.12345678}, "fit_seconds": 3.1, "c": [{}, {"d": 1}]})) == [
        "a.b = 0.123457", "fit_seconds = #", "c[0] = {}", "c[1].d = 1",
    ]  # fmt: skip


def test_old_rows_are_hashed_and_new_ones_are_shown(tmp_path):
    (tmp_path / "material").mkdir()
    rows = np.array([[0.1, 0.2], [0.3, 0.4], [1 / 3, 2 / 3]], dtype=np.float32)
    np.save(tmp_path / "material" / "old.npy", rows[:2])
    contents = Contents(known_parts(tmp_path / "material"), Normal(tmp_path, {}))

    def told(values):
        save_file({"w": values}, tmp_path / "new.safetensors")
        return list(contents.lines(tmp_path / "new.safetensors"))

    first, numbers = told(rows)
    assert first.startswith("w F32 3x2, the first 2 ")
    assert numbers == "    0.333 0.667"
    changed = rows.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], np.float32(1))
    assert told(changed)[0] == "w F32 3x2 computed:"


def test_the_record_has_every_command_and_loses_no_case():
    """A case that is taken out on purpose is taken off this number, too."""
    folder = Path(__file__).parents[1] / "golden"
    texts = [path.read_text() for path in folder.glob("*.txt") if path.name != "exact.txt"]
    lines = [line for text in texts for line in text.splitlines()]
    cases = [line.split() for line in lines if line.startswith("$ ")]
    assert {words[2] for words in cases if words[1:2] == ["icis"] and words[2:]} >= set(COMMANDS)
    assert len(cases) >= 450

"""A stated number of damaged files in every reader, the same in every run."""

from __future__ import annotations

import pytest

from tests.attacks.fuzz import attack, targets

#: Damaged copies of each of the good files.
CASES = 150
#: Each of these is read by a process of its own.
SLOW = {"d.parquet": 12}


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    return {target.name: target for target in targets(tmp_path_factory.mktemp("good"))}


NAMES = (
    "m.safetensors", "m.pt", "w.pt", "m.pth", "d.npy", "d.npz", "c.npz", "d.csv", "d.tsv", "d.json",
    "d.mat", "c.mat", "d.safetensors", "d.vec", "f.npz", "m.onnx", "h.mat", "d.parquet",
    "i.safetensors", "n.safetensors",
)  # fmt: skip


def test_all_are_tried(every):
    assert tuple(every) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_read_or_refused(tmp_path, every, record_property, name):
    target = every[name]
    (tmp_path / name).write_bytes(target.content)
    target.read(tmp_path / name)  # as it is, it is fine
    cases = SLOW.get(name, CASES)
    record_property("cases", cases)
    tally = attack(target, cases, 0, tmp_path)
    assert not tally.faults
    assert tally.read + tally.refused == cases
    assert tally.refused > cases / 4  # so the damage does matter

"""Hostile descriptors, lists and images: one line, nothing written, no memory taken."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import save_file
from tools.forkserver import ForkServer

from tests.attacks.checkpoints import CANARY, state
from tests.attacks.descriptors import DESCRIPTORS
from tests.attacks.test_checkpoints import members, require_one_line, snapshot


@pytest.mark.parametrize(("group", "name"), members(DESCRIPTORS))
def test_a_hostile_descriptor_file(tmp_path, server: ForkServer, group, name):
    save_file(state(), tmp_path / "model.safetensors")
    file = DESCRIPTORS[group][name](tmp_path)
    before = snapshot(tmp_path)
    given = ("--weights", "model.safetensors", "--attrs", file, "--method", "ridge")
    ended = server.run("fit", *given, cwd=tmp_path)
    size = (tmp_path / file).stat().st_size
    require_one_line(ended, file, size)
    assert snapshot(tmp_path) == before
    assert CANARY not in before


LISTS = {
    "empty": b"",
    "no text": b"\xff\xfe\x00",
    "escapes": b"\x1b[31mred\n" * 12,
    "zeros": b"\0" * 5000,
    "one name, often": b"name\n" * 12,
    "numbers beyond": b"999999999999\n" * 10,
}


@pytest.mark.parametrize("option", ["--seen", "--classes", "--unseen"])
@pytest.mark.parametrize("content", LISTS.values(), ids=LISTS)
def test_a_hostile_list(tmp_path, server: ForkServer, option, content):
    save_file(state(), tmp_path / "model.safetensors")
    np.save(tmp_path / "d.npy", np.random.default_rng(0).standard_normal((12, 4)))
    (tmp_path / "list.txt").write_bytes(content)
    before = snapshot(tmp_path)
    given = ("--weights", "model.safetensors", "--attrs", "d.npy", option, "list.txt")
    ended = server.run("fit", *given, "--method", "ridge", cwd=tmp_path)
    require_one_line(ended, "", len(content))
    assert snapshot(tmp_path) == before

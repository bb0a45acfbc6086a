"""No command opens a connection."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from safetensors.torch import save_file

from tests.attacks.checkpoints import state
from tests.conftest import run


@pytest.fixture
def no_network(monkeypatch):
    """Fail on every socket that is no pipe of this machine."""
    made = socket.socket.__init__

    def refuse(self, family=-1, *arguments, **options):
        assert family == socket.AF_UNIX, "a connection was opened"
        made(self, family, *arguments, **options)

    monkeypatch.setattr(socket.socket, "__init__", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", None)
    with pytest.raises(AssertionError):
        socket.socket(socket.AF_INET)


@pytest.mark.usefixtures("no_network")
def test_no_command_opens_a_connection(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_file(state(), "model.safetensors")
    np.save("a.npy", np.random.default_rng(0).standard_normal((13, 6)))
    (tmp_path / "n.csv").write_text(
        "child,parent\n" + "".join(f"c{n},p{n % 4}\n" for n in range(13))
    )
    (tmp_path / "names.txt").write_text("".join(f"c{n}\n" for n in range(13)))
    np.savez("f.npz", features=np.ones((13, 8), np.float32), labels=np.arange(13))
    fit = "fit --weights model.safetensors --attrs a.npy --force"
    for command in (
        "inspect model.safetensors",
        f"{fit} --epochs 2",
        f"{fit} --method ridge",
        "inject --out new.safetensors",
        "inject --out new.pt",
        "verify model.safetensors new.safetensors",
        "eval --weights new.safetensors --features f.npz",
        "compare --weights model.safetensors --attrs a.npy --method ridge --method mean",
        "describe --names names.txt --encoder n.csv --out d.npz",
    ):
        assert run(command.split()) == 0, (command, capsys.readouterr().err)
    for encoder in (
        "sentence-transformers/nowhere",
        "model2vec/no/where",
        "open_clip/ViT-B-32@openai",
    ):
        assert (
            run(["describe", "--names", "names.txt", "--encoder", encoder, "--out", "e.npz"]) == 1
        )
        assert "--download" in capsys.readouterr().err

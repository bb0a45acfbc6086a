"""A fit that was stopped goes on, and ends with the same bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from icis_cli import DEFAULT, PAPER, Icis, SubReg
from icis_cli.methods.base import Method, SeenPairs, Step
from icis_cli.methods.ensemble import fit_ensemble
from icis_cli.methods.progress import Progress
from tests.conftest import run


class StoppedError(Exception):
    """As if the process was killed."""


def pairs() -> SeenPairs:
    random = np.random.default_rng(0)
    shapes = ((12, 5), (12, 9), (4, 5))
    return SeenPairs(*(random.standard_normal(shape).astype(np.float32) for shape in shapes))


def stops_at(epoch: int, member: int = 0):
    ended = 0

    def watch(step: Step) -> None:
        nonlocal ended
        if step.epoch == epoch and ended == member:
            raise StoppedError
        ended += step.epoch == step.epochs

    return watch


METHODS: list[Method] = [
    Icis(replace(DEFAULT, hidden=16, epochs=12, min_steps=0)),
    Icis(replace(PAPER, hidden=16, epochs=60)),
    SubReg(replace(SubReg().recipe, hidden=16, epochs=12, min_steps=0)),
]


def tensors(method: Method, progress: Progress | None, members: int = 1) -> dict[str, np.ndarray]:
    fitted = fit_ensemble(method, pairs(), members, seed=3, watch=progress)
    return {**fitted.predictor.tensors(), "losses": np.array(fitted.training.losses)}


@pytest.mark.parametrize("method", METHODS, ids=["default", "paper", "subreg"])
@pytest.mark.parametrize("epoch", [1, 7])
def test_the_same_bytes(tmp_path, method, epoch):
    expected = tensors(method, None)
    progress = Progress(tmp_path / "p", "1", stops_at(epoch), seconds=0, share=1)
    with pytest.raises(StoppedError):
        tensors(method, progress)
    # Kept after the epoch before the one in which it was stopped: the watch comes first.
    assert len(list((tmp_path / "p").glob("*"))) == (1 if epoch > 1 else 0)
    heard: list[int] = []
    again = tensors(method, replace(progress, watch=lambda step: heard.append(step.epoch)))
    assert heard[0] == epoch
    assert again.keys() == expected.keys()
    assert all(np.array_equal(again[key], expected[key]) for key in expected)


def test_members_that_are_done_are_not_trained_again(tmp_path):
    method = METHODS[0]
    expected = tensors(method, None, members=3)
    progress = Progress(tmp_path / "p", "1", stops_at(4, member=1), seconds=0, share=1)
    with pytest.raises(StoppedError):
        tensors(method, progress, members=3)
    heard: list[int] = []
    again = tensors(method, replace(progress, watch=lambda step: heard.append(step.epoch)), 3)
    assert heard == [*range(4, 13), *range(1, 13)]
    assert all(np.array_equal(again[key], expected[key]) for key in expected)


def test_another_training_does_not_go_on(tmp_path):
    progress = Progress(tmp_path / "p", "1", stops_at(7), seconds=0, share=1)
    with pytest.raises(StoppedError):
        tensors(METHODS[0], progress)
    others = (
        (Icis(replace(DEFAULT, hidden=16, epochs=13, min_steps=0)), "1"),
        (METHODS[0], "2"),
    )
    for method, versions in others:
        heard: list[Step] = []
        other = replace(progress, versions=versions, watch=heard.append)
        assert len(tensors(method, other)["losses"]) == len(heard)
        assert heard[0].epoch == 1


def test_short_trainings_are_not_kept(tmp_path):
    tensors(METHODS[0], Progress(tmp_path / "p", "1"))
    assert not (tmp_path / "p").exists()


def test_only_what_was_kept_is_removed(tmp_path):
    progress = Progress(tmp_path / "p", "1", seconds=0, share=1)
    tensors(METHODS[0], progress)
    (tmp_path / "p" / "mine.txt").write_text("mine")
    progress.forget()
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["mine.txt"]
    (tmp_path / "p" / "mine.txt").unlink()
    progress.forget()
    assert not (tmp_path / "p").exists()


def test_what_was_kept_of_another_training_is_told_of_when_it_matters(tmp_path):
    progress = Progress(tmp_path / "p", "1", stops_at(7), seconds=0, share=1)
    with pytest.raises(StoppedError):
        tensors(METHODS[0], progress, members=2)
    told: list[str] = []

    def again(versions: str) -> Progress:
        return replace(
            progress, versions=versions, watch=None, stale=lambda: told.append(versions),
            earlier=progress.kept(),
        )  # fmt: skip

    same = again("1")
    tensors(METHODS[0], same, members=2)  # the second member is no sign of other options
    assert told == []
    assert not same.earlier
    tensors(METHODS[0], again("2"), members=2)
    assert told == ["2"]


def test_a_fit_says_what_becomes_of_what_an_earlier_one_left(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    fit = ["fit", "--weights", "model.pt", "--attrs", "attrs.csv", "--method", "ridge", "--force"]
    left = folder / "injector.safetensors.progress" / f"{'0' * 32}.state.safetensors"
    for options, note in (
        ([], "which a stopped fit left, is removed: --resume would have gone on"),
        (["--resume"], "fits this fit (it is of other options, inputs or versions, another device"),
    ):
        left.parent.mkdir()
        left.write_bytes(b"")
        assert run([*fit, *options]) == 0
        err = capsys.readouterr().err
        assert f"injector.safetensors.progress{', ' if not options else ' '}{note}" in err
        assert not left.parent.exists()
    assert run(fit) == 0
    assert "progress" not in capsys.readouterr().err

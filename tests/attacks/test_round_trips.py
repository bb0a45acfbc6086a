"""Whatever the shapes, dtypes and names: rows added and taken off again give the same bytes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from icis_cli import (
    Nearest,
    align,
    expand,
    find_head,
    fit,
    open_checkpoint,
    read_descriptors,
    remove,
    verify,
)
from icis_cli.errors import TrainingError

#: Drawn in make test, and in make test-slow; always the same. make fuzz draws new ones.
FEW, MANY = 25, 600
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
OTHERS = (*FLOATS, torch.int64, torch.int8, torch.uint8, torch.bool)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)


@st.composite
def states(draw: st.DrawFn) -> tuple[str, dict[str, torch.Tensor]]:
    """Draw the key of a head and a state dict with it among other tensors."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rows, width = draw(st.integers(2, 7)), draw(st.integers(1, 6))
    key = draw(NAMES)
    state: dict[str, torch.Tensor] = {}
    for name in draw(st.lists(NAMES, max_size=4, unique=True)):
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
        state[name] = (10 * torch.randn(shape, generator=random)).to(draw(st.sampled_from(OTHERS)))
    dtype = draw(st.sampled_from(FLOATS))
    ends = (1, 1) if draw(st.booleans()) else ()
    state[f"{key}.weight"] = torch.randn((rows, width, *ends), generator=random).to(dtype)
    if draw(st.booleans()):
        state[f"{key}.bias"] = torch.randn(rows, generator=random).to(draw(st.sampled_from(FLOATS)))
    else:
        state.pop(f"{key}.bias", None)
    order = draw(st.permutations(list(state)))
    return key, {name: state[name] for name in order}


def ones(key: str, **others: torch.Tensor) -> tuple[str, dict[str, torch.Tensor]]:
    """Return what ``states`` draws: a head of this key, all of it ones, and other tensors."""
    return key, {**others, f"{key}.weight": torch.ones(3, 2)}


SUFFIXES = (".safetensors", ".pt")
#: What a search has found, once.
FOUND = ((ones("."), ".safetensors", 1, False), (ones("."), ".pt", 1, True))
drawn_cases = given(states(), st.sampled_from(SUFFIXES), st.integers(1, 3), st.booleans())
patient = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def few(record_property):
    record_property("cases", FEW + len(FOUND))


@pytest.fixture
def many(record_property):
    record_property("cases", MANY)


@pytest.mark.usefixtures("few")
@example(*FOUND[0])
@example(*FOUND[1])
@drawn_cases
@settings(patient, max_examples=FEW)
def test_added_and_taken_off(drawn, suffix, new, twice):
    add_and_take_off(drawn, suffix, new, twice=twice)


@pytest.mark.slow
@pytest.mark.usefixtures("many")
@drawn_cases
@settings(patient, max_examples=MANY)
def test_added_and_taken_off_many_times(drawn, suffix, new, twice):
    add_and_take_off(drawn, suffix, new, twice=twice)


def add_and_take_off(
    drawn: tuple[str, dict[str, torch.Tensor]], suffix: str, new: int, *, twice: bool
) -> None:
    """Add rows to a head and take them off again; the file must be as it was."""
    key, state = drawn
    with TemporaryDirectory() as made:
        folder = Path(made)
        source = folder / f"m{suffix}"
        (save_file if suffix == ".safetensors" else torch.save)(state, source)
        checkpoint = open_checkpoint(source)
        head = find_head(checkpoint, key)
        rows = len(head.weight)
        values = np.random.default_rng(0).standard_normal((rows + 2 * new, 4))
        np.save(folder / "d.npy", values)
        table = read_descriptors(folder / "d.npy")
        first = tuple(str(row) for row in range(rows, rows + new))
        second = tuple(str(row) for row in range(rows + new, rows + 2 * new))
        injector = fit(checkpoint, head, align(head.rows, table, unseen=first), Nearest())
        try:
            expand(checkpoint, injector).write(folder / f"one{suffix}")
        except TrainingError:  # a row that is beyond the range of float16
            return
        newest = folder / f"one{suffix}"
        verify(checkpoint, newest).require()
        if twice:
            newest = folder / f"two{suffix}"
            opened = open_checkpoint(folder / f"one{suffix}")
            expand(opened, injector, table, unseen=second).write(newest)
            verify(opened, newest).require()
        remove(open_checkpoint(newest)).write(folder / f"back{suffix}")
        if suffix == ".safetensors":
            assert (folder / "back.safetensors").read_bytes() == source.read_bytes()
            return
        back = torch.load(folder / "back.pt", weights_only=True)
        assert list(back) == list(state)
        for name, tensor in state.items():
            assert back[name].dtype == tensor.dtype
            assert torch.equal(back[name], tensor)

"""Numbers of numpy, arrays and times beside a state dict: read, carried over, or told where."""

from __future__ import annotations

import argparse
import datetime as dt
import pathlib
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from icis_cli import Ridge, align, expand, find_head, fit, open_checkpoint, read_descriptors, verify
from icis_cli.errors import CheckpointError

SEEN, UNSEEN = 12, 3

VALUES: dict[str, Any] = {
    "float64": np.float64(0.9),
    "float16": np.float16(0.5),
    "int64": np.int64(-3),
    "uint8": np.uint8(200),
    "bool": np.bool_(1),
    "complex": np.complex64(1 + 2j),
    "text": np.str_("é"),
    "big-endian": np.arange(3, dtype=">i4"),
    "array": np.arange(6.0).reshape(2, 3),
    "by column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "no axes": np.array(3),
    "nothing": np.zeros((0, 3), np.float32),
    "texts": np.array(["a", "bcd"]),
    "type": np.dtype("float32"),
    "bytes": b"",
    "random state": np.random.RandomState(0).get_state(),
    "datetime": dt.datetime(2024, 2, 29, 12, tzinfo=dt.timezone(dt.timedelta(hours=2), "X")),
    "date": dt.date(2024, 2, 29),
    "time": dt.time(1, 2, 3),
    "span": dt.timedelta(days=3),
    "torch": torch.__version__,
    "path": pathlib.PosixPath("a/b"),
    "bytearray": bytearray(b"ab\xff"),
    "empty bytearray": bytearray(),
}


def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(SEEN, 6, generator=generator)
    return {"fc.weight": weight, "fc.bias": torch.randn(SEEN, generator=generator)}


def expanded(path: Path, *, by_name: bool = True) -> Path:
    """Add rows to a checkpoint and return the new one, which verify agrees with."""
    table = path.with_name("a.csv")
    values = np.random.default_rng(0).standard_normal((SEEN + UNSEEN, 5))
    table.write_text("".join(f"c{n},{','.join(map(str, row))}\n" for n, row in enumerate(values)))
    checkpoint = open_checkpoint(path)
    head = find_head(checkpoint)
    names = checkpoint.labels.class_names if by_name else None
    classes = align(head.rows, read_descriptors(table), head_names=names)
    new = path.with_name("new.pt")
    expand(checkpoint, fit(checkpoint, head, classes, Ridge())).write(new)
    verify(path, new).require()
    return new


def loaded(path: Path) -> Any:
    return torch.load(path, weights_only=False)  # the file is our own


def same(one: Any, other: Any) -> bool:
    assert type(one) is type(other)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        assert one.flags.f_contiguous == other.flags.f_contiguous
        return bool(one.dtype == other.dtype and one.shape == other.shape) and (
            one.tobytes() == other.tobytes()
        )
    return bool(one == other)


@pytest.mark.parametrize("legacy", [False, True])
def test_they_are_carried_over_as_they_are(tmp_path, legacy):
    root = {"model": state(), "nested": {"deep": [VALUES["array"]]}, **VALUES}
    torch.save(root, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    old, new = loaded(tmp_path / "m.pt"), loaded(expanded(tmp_path / "m.pt"))
    assert list(new) == list(root)
    assert new["model"]["fc.weight"].shape == (SEEN + UNSEEN, 6)
    for name in VALUES:
        assert same(old[name], new[name]), name
    assert new["nested"]["deep"][0] is new["array"]  # what was one object stays one


def test_names_and_counts_of_numpy_follow_the_head(tmp_path):
    names = [f"c{n}" for n in range(SEEN)]
    root = {
        "model": state(),
        "names": ["some", "thing else"],
        "classes": np.array(names),
        "config": {"num_classes": np.int64(SEEN), "labels": names},
        "class_to_idx": {name: np.int64(row) for row, name in enumerate(names)},
    }
    torch.save(root, tmp_path / "m.pt")
    assert open_checkpoint(tmp_path / "m.pt").labels.class_names == tuple(names)
    new = loaded(expanded(tmp_path / "m.pt"))
    every = [f"c{n}" for n in range(SEEN + UNSEEN)]
    assert new["classes"].tolist() == every
    assert new["config"] == {"num_classes": SEEN + UNSEEN, "labels": every}
    assert list(new["class_to_idx"]) == every
    assert new["names"] == root["names"]


@pytest.mark.parametrize(
    "names",
    [
        [np.str_(f"c{n}") for n in range(SEEN)],
        tuple(np.str_(f"c{n}") for n in range(SEEN)),
        np.array([f"c{n}".encode() for n in range(SEEN)]),
    ],
)
def test_names_of_numpy_are_names(tmp_path, names):
    root = {"model": state(), "classes": names}
    torch.save(root, tmp_path / "m.pt")
    read = open_checkpoint(tmp_path / "m.pt").labels.class_names
    assert read == tuple(f"c{n}" for n in range(SEEN))
    assert all(type(name) is str for name in read)
    new = loaded(expanded(tmp_path / "m.pt"))["classes"]
    assert type(new) is type(names)
    texts = [name.decode() if isinstance(name, bytes) else str(name) for name in new]
    assert texts == [f"c{n}" for n in range(SEEN + UNSEEN)]


def test_names_deep_in_the_options_follow_the_head(tmp_path):
    names = [f"c{n}" for n in range(SEEN)]
    inner: dict[str, Any] = {"classes": names, "num_classes": SEEN}
    for level in range(6):
        inner = {f"level{level}": inner}
    torch.save({"model": state(), "config": inner}, tmp_path / "m.pt")
    assert open_checkpoint(tmp_path / "m.pt").labels.class_names == tuple(names)
    found = loaded(expanded(tmp_path / "m.pt"))["config"]
    for level in reversed(range(6)):
        found = found[f"level{level}"]
    assert found["num_classes"] == len(found["classes"]) == SEEN + UNSEEN


@pytest.mark.parametrize(
    "index", [{"a": 0, 5: 0}, {"a": 0, 5: 0, None: 1}, {"a": np.int64(0), 5: 1}]
)
def test_an_index_with_odd_names_is_read_or_left(tmp_path, index):
    torch.save({"model": state(), "class_to_idx": index}, tmp_path / "m.pt")
    assert loaded(expanded(tmp_path / "m.pt"))["class_to_idx"] == index


def test_options_that_lie_in_many_others(tmp_path):
    """Looked at each time that they occur, they would take hours."""
    inner: dict[str, Any] = {"num_classes": SEEN}
    for _ in range(4):
        inner = {f"k{number}": inner for number in range(300)}
    torch.save({"model": state(), "args": inner}, tmp_path / "m.pt")
    found = loaded(expanded(tmp_path / "m.pt"))["args"]
    assert found["k0"]["k7"]["k1"]["k299"]["num_classes"] == SEEN + UNSEEN
    assert found["k0"]["k7"] is found["k1"]["k7"]


def test_a_list_that_lies_in_many_options(tmp_path):
    """Looked at each time that it occurs, it would take minutes."""
    names = [f"c{n}" for n in range(50_000)]
    options = {f"k{number}": {"names": names} for number in range(5_000)}
    # Two counts are one object.
    options |= {"NUM_CLASSES": SEEN, "num_classes": SEEN}  # type: ignore[dict-item]
    torch.save({"model": state(), "args": options}, tmp_path / "m.pt")
    assert len(open_checkpoint(tmp_path / "m.pt").labels.class_names or ()) == 50_000
    new = loaded(expanded(tmp_path / "m.pt", by_name=False))["args"]
    assert new["num_classes"] == SEEN + UNSEEN
    assert new["k0"]["names"] == names
    assert new["k0"]["names"] is new["k4999"]["names"]  # what was one object stays one


def test_odd_things_that_are_harmless(tmp_path):
    """What training scripts do have beside plain entries is read and carried over."""
    whole = OrderedDict(state())
    vars(whole)["_metadata"] = OrderedDict({"fc": {"version": 1}})
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.no_decay = True  # type: ignore[attr-defined]
    root: dict[Any, Any] = {
        "model": whole,
        "small": torch.ones(1).expand(3, 4),
        "weight": parameter,
        "counts": Counter("abca"),
        "rows": torch.zeros(2, 2).to_sparse(),
        "args": argparse.Namespace(inner=argparse.Namespace(lr=1), device=torch.device("cpu")),
        float("nan"): {torch.ones(1): 2},
        (1, None): torch.float16,
    }
    root["itself"] = root
    torch.save(root, tmp_path / "m.pt")
    new = loaded(expanded(tmp_path / "m.pt"))
    assert vars(new["model"]) == vars(whole)
    assert new["weight"].no_decay is True
    assert type(new["args"].inner) is argparse.Namespace
    assert new["counts"] == root["counts"]
    assert new["small"].stride() == (0, 0)


def test_labels_in_the_options_are_class_names(tmp_path):
    names = [f"c{n}" for n in range(SEEN)]
    for labels in (names, dict(enumerate(names)), tuple(names)):
        torch.save({"net": state(), "config": {"labels": labels}}, tmp_path / "m.pt")
        assert open_checkpoint(tmp_path / "m.pt").labels.class_names == tuple(names)
    # Numbers of samples' classes are no names.
    torch.save({"net": state(), "labels": [0, 1, 1]}, tmp_path / "m.pt")
    assert open_checkpoint(tmp_path / "m.pt").labels.class_names is None


class Options:
    """What somebody's own code would have to be imported for."""

    def __init__(self) -> None:
        self.lr = 0.1


class Names(list[Any]):
    """A list of somebody's own."""


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"cfg": Options(), "best": np.float64(1)}, ["cfg"]),
        ({"log": {"deep": [Options()]}, "names": Names(["a"])}, ["log", "names"]),
        ({"h": np.array([{}, 1], dtype=object)}, ["h"]),
        ({"h": np.zeros(2, dtype=[("a", "f4")]), "good": np.zeros(2)}, ["h"]),
        ({"day": np.datetime64("2024-01-01")}, ["day"]),
        ({"kind": np.float32}, ["kind"]),
        ({"log": defaultdict(list, {"loss": [1.0]}), "kind": 3}, ["log"]),
        ({"kind": OrderedDict, "log": [1]}, ["kind"]),
    ],
)
def test_what_to_take_out_is_told(tmp_path, entries, named):
    path = tmp_path / "m.pt"
    torch.save({"model": state(), **entries, "plain": np.ones(3)}, path)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    left_out = "".join(f"; del c[{entry!r}]" for entry in named)
    assert caught.value.hint == (
        "where you trust the file, load it with the code that saved it (c = ...)"
        f"{left_out}; torch.save(c, 'model.pt')"
    )
    root = loaded(path)  # what the hint says works
    for entry in named:
        del root[entry]
    torch.save(root, path)
    assert find_head(open_checkpoint(path)).key == "fc"


def test_a_whole_network_among_the_entries(tmp_path):
    torch.save({"epoch": 3, "model": torch.nn.Linear(3, 4)}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / "m.pt")
    assert "expected a state dict under 'model'" in caught.value.message
    assert caught.value.hint.endswith("torch.save(c['model'].state_dict(), 'model.pt')")


def test_nothing_stays_allowed(tmp_path):
    torch.save({"model": state(), "best": np.float64(1)}, tmp_path / "m.pt")
    before = set(torch.serialization.get_safe_globals())
    open_checkpoint(tmp_path / "m.pt")
    assert set(torch.serialization.get_safe_globals()) == before

"""Damage by chance: bytes of good files changed, cut and doubled, in every reader.

``python -m tests.attacks.fuzz SECONDS`` tries as many as there is time for (``make fuzz``), and as
long random round trips; the tests beside it try a stated number, always the same.
"""

from __future__ import annotations

import io
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import scipy.io
import torch
from safetensors.torch import save

from icis_cli import (
    IcisError,
    Injector,
    find_head,
    inspect_checkpoint,
    open_checkpoint,
    read_descriptors,
    read_features,
)
from tests.attacks.checkpoints import saved, state
from tests.onnx_models import linear
from tests.test_descriptor_formats import write_hdf5, write_parquet

Reader = Callable[[Path], object]


@dataclass(frozen=True)
class Target:
    """A good file and what reads it.

    Attributes:
        name: of the file; its suffix chooses the reader.
        content: of the good file.
        read: may raise nothing but an error of ours.

    """

    name: str
    content: bytes
    read: Reader


@dataclass
class Tally:
    """What came of the cases: read as if nothing was wrong, refused, and faults."""

    read: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """Return a content with one to four things wrong in it."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 5))):
        if not data:
            break
        at = int(random.integers(len(data)))
        # The start and the end of a file say how the rest is to be read.
        if random.random() < 0.4:
            at = min(at, int(random.integers(1, 200)), len(data) - 1)
        elif random.random() < 0.3:
            at = max(0, len(data) - 1 - int(random.integers(200)))
        kind = random.integers(6)
        if kind == 0:
            data[at] ^= 1 << int(random.integers(8))
        elif kind == 1:
            data[at] = int(random.choice([0, 1, 0x7F, 0x80, 0xFF, ord("9"), ord("-"), ord("[")]))
        elif kind == 2:
            del data[at : at + int(random.integers(1, 64))]
        elif kind == 3:
            data[at:at] = random.bytes(int(random.integers(1, 32)))
        elif kind == 4:
            end = at + int(random.integers(1, 64))
            data[at:at] = data[at:end]
        else:
            del data[at:]
    return bytes(data)


def _checkpoint(path: Path) -> object:
    checkpoint = open_checkpoint(path)
    find_head(checkpoint)
    for key in checkpoint.tensors:
        bytes(memoryview(checkpoint.raw(key)).cast("B")[:16])
    return inspect_checkpoint(checkpoint)


def _array(write: Callable[..., None], *values: Any, **named: Any) -> bytes:
    stream = io.BytesIO()
    write(stream, *values, **named)
    return stream.getvalue()


def targets(folder: Path) -> Iterator[Target]:
    """Yield a good file of every format."""
    values = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
    rows = "".join(f"class {n},{','.join(map(str, row))}\n" for n, row in enumerate(values))
    vectors = "".join(f"class_{n} {' '.join(map(str, row))}\n" for n, row in enumerate(values))
    names = np.array([f"class {n}" for n in range(12)])
    cells = np.array(names, dtype=object)
    table = {name: row.tolist() for name, row in zip(names, values, strict=True)}
    import json

    yield Target("m.safetensors", save(state(), {"note": "{}"}), _checkpoint)
    yield Target("m.pt", saved(state()), _checkpoint)
    yield Target("w.pt", saved({"model": state(), "epoch": 3, "classes": ["a"] * 10}), _checkpoint)
    legacy = saved(state(), _use_new_zipfile_serialization=False)
    yield Target("m.pth", legacy, _checkpoint)
    yield Target("d.npy", _array(np.save, values), read_descriptors)
    yield Target("d.npz", _array(np.savez, d=values, names=names), read_descriptors)
    packed = _array(np.savez_compressed, descriptors=values, names=names)
    yield Target("c.npz", packed, read_descriptors)
    yield Target("d.csv", rows.encode(), read_descriptors)
    yield Target("d.tsv", rows.replace(",", "\t").encode(), read_descriptors)
    yield Target("d.json", json.dumps(table).encode(), read_descriptors)
    mat = {"att": values.T.astype(float), "allclasses_names": cells}
    yield Target("d.mat", _array(scipy.io.savemat, mat), read_descriptors)
    deflated = _array(scipy.io.savemat, mat, do_compression=True)
    yield Target("c.mat", deflated, read_descriptors)
    yield Target("d.safetensors", save({"d": torch.from_numpy(values)}), read_descriptors)
    yield Target("d.vec", vectors.encode(), read_descriptors)
    samples = _array(np.savez, features=values, labels=np.arange(12))
    yield Target("f.npz", samples, read_features)
    yield Target("m.onnx", linear(folder / "m.onnx").read_bytes(), _checkpoint)
    yield Target("h.mat", write_hdf5(folder / "h.mat").read_bytes(), read_descriptors)
    columns = {f"c{number}": column.tolist() for number, column in enumerate(values.T)}
    parquet = write_parquet(folder / "d.parquet", name=names.tolist(), **columns)
    yield Target("d.parquet", parquet.read_bytes(), read_descriptors)
    yield from _made(folder)


def _made(folder: Path) -> Iterator[Target]:
    """Yield what our own commands write."""
    from icis_cli import Ridge, align, expand, fit

    (folder / "model.safetensors").write_bytes(save(state()))
    np.save(folder / "a.npy", np.random.default_rng(1).standard_normal((12, 4)))
    checkpoint = open_checkpoint(folder / "model.safetensors")
    head = find_head(checkpoint)
    classes = align(head.rows, read_descriptors(folder / "a.npy"))
    injector = fit(checkpoint, head, classes, Ridge())
    injector.save(folder / "injector.safetensors")
    expand(checkpoint, injector).write(folder / "new.safetensors")
    yield Target("i.safetensors", (folder / "injector.safetensors").read_bytes(), Injector.load)
    yield Target("n.safetensors", (folder / "new.safetensors").read_bytes(), _checkpoint)


def attack(target: Target, cases: int, seed: int, folder: Path, *, until: float = np.inf) -> Tally:
    """Read so many damaged copies of a file, or fewer if the time is over."""
    random = np.random.default_rng([seed, len(target.content)])
    tally = Tally()
    path = folder / f"damaged-{target.name}"
    for case in range(cases):
        if time.monotonic() > until:
            break
        path.write_bytes(mutated(target.content, random))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a warning would reach the terminal
                target.read(path)
            tally.read += 1
        except IcisError as error:
            tally.refused += 1
            if not error.message.isprintable() or len(error.message) > 1700:
                tally.faults.append(f"{target.name}, case {case}: {error.message!r}")
        except Exception as error:  # that is what is sought
            tally.faults.append(f"{target.name}, case {case}: {type(error).__name__}: {error}")
            (folder / f"fault-{case}-{target.name}").write_bytes(path.read_bytes())
    return tally


def round_trips(seed: int, until: float) -> Tally:
    """Add and take off rows of random checkpoints; what fails is told as small as it can be."""
    import hypothesis

    from tests.attacks.test_round_trips import add_and_take_off, drawn_cases, patient

    tally = Tally()

    def tried(drawn: Any, suffix: str, new: int, twice: bool) -> None:
        add_and_take_off(drawn, suffix, new, twice=twice)
        tally.read += 1

    while time.monotonic() < until and not tally.faults:
        seed += 1
        search = hypothesis.settings(patient, max_examples=100, database=None, derandomize=False)
        try:
            hypothesis.seed(seed)(search(drawn_cases(tried)))()
        except Exception as error:  # that is what is sought
            notes = " ".join(getattr(error, "__notes__", ()))
            tally.faults.append(f"seed {seed}: {type(error).__name__}: {error} {notes}")
    return tally


def main() -> None:
    """Attack every reader with new seeds until the time is over."""
    seconds = float(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()
    with TemporaryDirectory() as made:
        every = list(targets(Path(made)))
        keep = Path("fuzz")
        keep.mkdir(exist_ok=True)
        tally = round_trips(seed % 2**32, time.monotonic() + seconds / (len(every) + 1))
        found = len(tally.faults)
        print(f"round trips: {tally.read} gave the same bytes, {found} faults", *tally.faults)
        for number, target in enumerate(every):
            until = time.monotonic() + seconds / (len(every) + 1)
            tally = attack(target, 10**9, seed + number, keep, until=until)
            found += len(tally.faults)
            print(f"{target.name}: {tally.read} read, {tally.refused} refused, "
                  f"{len(tally.faults)} faults", *tally.faults[:5], sep="\n  ")  # fmt: skip
    sys.exit(bool(found))


if __name__ == "__main__":
    main()

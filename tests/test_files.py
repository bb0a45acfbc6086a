"""Outputs appear whole and together or not at all; bytes of stored dtypes round as torch does."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from icis_cli import IcisError
from icis_cli.arrays import decode, encode
from icis_cli.errors import OutputError
from icis_cli.files import appearing_together, require_writable, sha256_of


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def write(paths: tuple[Path, ...], *, force: bool, then: Callable[[], object] = int) -> None:
    """Write ``new`` into each, do something, and end the block."""
    with appearing_together(paths, force=force) as streams:
        for path in paths:
            streams[path].write(b"new")
        then()


def failing(error: BaseException) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "first", tmp_path / "second"


def test_both_files_appear_with_what_was_written(pair):
    with appearing_together(pair, force=False) as streams:
        for path in pair:
            streams[path].write(path.name.encode() * 1000)
            assert not path.exists()
    assert contents(pair[0].parent) == {"first": b"first" * 1000, "second": b"second" * 1000}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), IcisError("x")])
def test_an_exception_in_the_block_leaves_nothing(pair, force, error):
    with pytest.raises(type(error)):
        write(pair, force=force, then=failing(error))
    assert contents(pair[0].parent) == {}


def test_an_exception_leaves_old_files_untouched(pair):
    for path in pair:
        path.write_bytes(b"old")
    inodes = [path.stat().st_ino for path in pair]
    with pytest.raises(ValueError, match="stop"):
        write(pair, force=True, then=failing(ValueError("stop")))
    assert contents(pair[0].parent) == {"first": b"old", "second": b"old"}
    assert [path.stat().st_ino for path in pair] == inodes


def test_force_replaces_both(pair):
    pair[1].write_bytes(b"old")
    write(pair, force=True)
    assert contents(pair[0].parent) == {"first": b"new", "second": b"new"}


@pytest.mark.parametrize("taken", [0, 1])
def test_a_file_that_appeared_meanwhile_is_kept_and_the_other_taken_away(pair, taken):
    with pytest.raises(OutputError, match="appeared while") as caught:
        write(pair, force=False, then=lambda: pair[taken].write_bytes(b"theirs"))
    assert caught.value.path == pair[taken]
    assert contents(pair[0].parent) == {pair[taken].name: b"theirs"}


def test_without_hard_links_an_appeared_file_is_kept_too(pair, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OutputError, match="appeared while"):
        write(pair, force=False, then=lambda: pair[1].write_bytes(b"theirs"))
    assert contents(pair[0].parent) == {"second": b"theirs"}
    pair[1].unlink()
    write(pair, force=False)
    assert contents(pair[0].parent) == {"first": b"new", "second": b"new"}


def test_force_takes_away_the_new_first_file_when_the_second_fails(pair):
    with pytest.raises(OutputError, match="cannot be put in place") as caught:
        write(pair, force=True, then=pair[1].mkdir)
    assert caught.value.path == pair[1]
    assert contents(pair[0].parent) == {}


def test_an_interrupt_between_the_two_leaves_none(pair, monkeypatch):
    link = os.link

    def interrupted(source, target):
        if target == pair[1]:
            raise KeyboardInterrupt
        link(source, target)

    monkeypatch.setattr(os, "link", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(pair, force=False)
    assert contents(pair[0].parent) == {}


_LIMITED = """
import resource, sys
from pathlib import Path
from icis_cli.errors import OutputError
from icis_cli.files import appearing_together
paths = Path(sys.argv[1]) / "first", Path(sys.argv[1]) / "second"
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with appearing_together(paths, force=True) as streams:
        streams[paths[0]].write(b"fits")
        streams[paths[1]].write(b"x" * int(sys.argv[2]))
except OutputError as error:
    print(error.message)
"""


# A small write fails only when the buffer is flushed, and once more when the stream is closed.
@pytest.mark.parametrize("size", [2_000, 2_000_000])
def test_a_full_disk_leaves_nothing_new_and_old_files_untouched(pair, size):
    pair[0].write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(pair[0].parent), str(size)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == f"{pair[1]}: cannot be written: File too large\n"
    assert contents(pair[0].parent) == {"first": b"old"}


def test_an_error_of_another_file_keeps_its_own_name(pair):
    with pytest.raises(FileNotFoundError) as caught:
        write(pair, force=False, then=(pair[0].parent / "absent").read_bytes)
    assert caught.value.filename.endswith("absent")
    assert contents(pair[0].parent) == {}


@pytest.mark.parametrize("missing", [0, 1])
def test_a_folder_that_is_not_there_or_no_folder(tmp_path, missing):
    (tmp_path / "file").write_bytes(b"old")
    paths = [tmp_path / "fine", tmp_path / "fine too"]
    for odd in (tmp_path / "absent" / "out", tmp_path / "file" / "out"):
        paths[missing] = odd
        with pytest.raises(OutputError, match="cannot be written") as caught:
            write(tuple(paths), force=False, then=failing(AssertionError("the block ran")))
        assert caught.value.path == odd
        assert contents(tmp_path) == {"file": b"old"}


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_decides_the_mode(pair, umask, mode):
    before = os.umask(umask)
    try:
        write(pair, force=False)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in pair] == [mode, mode]


@pytest.mark.parametrize("name", ["x" * 255, "界" * 85])
def test_the_longest_names(tmp_path, name):
    write((tmp_path / name,), force=False)
    assert contents(tmp_path) == {name: b"new"}


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(OutputError, match="cannot be put in place: File name too long"):
        write((tmp_path / "first", tmp_path / ("x" * 256)), force=False)
    assert contents(tmp_path) == {}


def test_require_writable(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"old")
    (tmp_path / "alias").symlink_to(old)
    os.link(old, tmp_path / "twin")
    (tmp_path / "dangling").symlink_to(tmp_path / "absent")
    require_writable(new, force=False, inputs=(old,))
    require_writable(old, force=True, inputs=(new,))
    for path, force, words in (
        (old, False, "exists already"),
        (tmp_path / "dangling", False, "exists already"),
        (tmp_path / "absent" / "new", True, "its folder does not exist"),
        (tmp_path, True, "is a folder"),
        (old, True, "the output is the input itself"),
        (tmp_path / "alias", True, "the output is the input itself"),
        (tmp_path / "twin", True, "the output is the input itself"),
    ):
        with pytest.raises(OutputError, match=words) as caught:
            require_writable(path, force=force, inputs=(old,) if force else ())
        assert caught.value.path == path
        assert caught.value.hint


def test_sha256_of(tmp_path):
    (tmp_path / "file").write_bytes(b"abc" * 100_000)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"abc" * 100_000).hexdigest()


_TORCH = {
    "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64,
}  # fmt: skip

_values = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=8),
    elements=st.floats(width=32, allow_nan=False),
)


@pytest.mark.parametrize("dtype", list(_TORCH))
@settings(deadline=None, derandomize=True)
@given(values=_values)
def test_encode_rounds_as_torch_does(dtype, values):
    expected = torch.from_numpy(values.copy()).to(_TORCH[dtype])
    if torch.isinf(expected.float()).sum() > np.isinf(values).sum():
        with pytest.raises(OverflowError, match=dtype):
            encode(values, dtype)
        return
    data = encode(values, dtype)
    assert data == bytes(expected.untyped_storage().tolist())
    decoded = decode(data, dtype, values.shape)
    assert decoded.dtype == np.float32
    assert decoded.tobytes() == expected.float().numpy().tobytes()


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_16_bit_pattern_survives(dtype):
    data = np.arange(1 << 16, dtype="<u2").tobytes()
    values = decode(data, dtype, (1 << 16,))
    expected = torch.frombuffer(bytearray(data), dtype=_TORCH[dtype]).float().numpy()
    np.testing.assert_array_equal(values, expected)
    finite = np.isfinite(values)
    kept = np.frombuffer(data, dtype="<u2")[finite]
    assert encode(values[finite], dtype) == kept.tobytes()


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_the_largest_finite_value_and_the_first_that_overflows(dtype):
    largest = torch.finfo(_TORCH[dtype]).max
    half_a_step = {"F16": 16.0, "BF16": 2.0**119}[dtype]
    just_fits = np.nextafter(np.float32(largest + half_a_step), np.float32(0))
    assert decode(encode(np.array([just_fits]), dtype), dtype, (1,))[0] == largest
    with pytest.raises(OverflowError, match=dtype):
        encode(np.array([largest + half_a_step], dtype=np.float32), dtype)


def test_a_transposed_array_is_stored_row_by_row():
    values = np.arange(6, dtype=np.float32).reshape(2, 3).T
    for dtype in _TORCH:
        assert decode(encode(values, dtype), dtype, (3, 2)).tolist() == values.tolist()
    assert decode(np.float64(1e300).tobytes(), "F64", (1,))[0] == np.inf

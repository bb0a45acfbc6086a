"""Feature files: mapped where they lie, or read; damaged and hostile ones are errors."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from icis_cli import read_features
from icis_cli.errors import FeatureError
from icis_cli.numpy_arrays import read_array, read_members

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3) / 7


def archive(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **{"features": VALUES, "labels": np.arange(4), **arrays})  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
@pytest.mark.parametrize("first", ["features", "labels"])
def test_what_savez_wrote_is_mapped_in_place(tmp_path, dtype, first):
    arrays = {"features": VALUES.astype(dtype), "labels": np.array(list("abcd"))}
    order = sorted(arrays, key=lambda name: name != first)
    np.savez(tmp_path / "f.npz", **{name: arrays[name] for name in order})  # type: ignore[arg-type]
    features = read_features(tmp_path / "f.npz")
    assert isinstance(features.values, np.memmap)
    assert not features.values.flags.writeable
    assert features.values.dtype == dtype
    np.testing.assert_array_equal(features.values, arrays["features"])
    assert features.labels == ["a", "b", "c", "d"]


def test_an_archive_behind_other_bytes_and_one_with_more_members(tmp_path):
    archive(tmp_path / "f.npz", other=np.ones(1000), zeros=np.zeros(0))
    (tmp_path / "g.npz").write_bytes(b"PK" + bytes(997) + (tmp_path / "f.npz").read_bytes())
    for name in ("f.npz", "g.npz"):
        values, other = read_members(tmp_path / name, ("features", "other"), FeatureError)
        assert isinstance(values, np.memmap)
        np.testing.assert_array_equal(values, VALUES)
        assert (other == 1).all()


def test_what_cannot_be_mapped_is_read(tmp_path):
    np.savez_compressed(tmp_path / "f.npz", features=VALUES, labels=np.arange(4))
    values = read_features(tmp_path / "f.npz").values
    assert not isinstance(values, np.memmap)
    np.testing.assert_array_equal(values, VALUES)
    values = read_features(archive(tmp_path / "g.npz", features=np.asfortranarray(VALUES))).values
    assert not isinstance(values, np.memmap)
    np.testing.assert_array_equal(values, VALUES)


def test_a_npy_is_mapped_and_its_kin_read(tmp_path):
    np.save(tmp_path / "f.npy", VALUES)
    assert isinstance(read_array(tmp_path / "f.npy", FeatureError), np.memmap)
    for number, other in enumerate((np.asfortranarray(VALUES), np.arange(4), np.array(["a"]))):
        np.save(tmp_path / f"{number}.npy", other)
        found = read_array(tmp_path / f"{number}.npy", FeatureError)
        assert not isinstance(found, np.memmap)
        np.testing.assert_array_equal(found, other)


def npy_bytes(
    shape: str, descr: str = "<f4", data: bytes = b"", version: bytes = b"\x01\x00"
) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


HOSTILE = {
    "terabytes": npy_bytes("(4000000000, 40000000)", data=bytes(48)),
    "beyond 64 bits": npy_bytes(f"({2**70}, 3)", data=bytes(48)),
    "negative": npy_bytes("(-4, -3)", data=bytes(48)),
    "one byte short": npy_bytes("(4, 3)", data=bytes(47)),
    "no header": b"",
    "half a header": npy_bytes("(4, 3)")[:20],
    "shape of texts": npy_bytes("('4', 3)", data=bytes(48)),
    "code for a shape": npy_bytes("__import__('os').getpid()", data=bytes(48)),
    "unknown type": npy_bytes("(4, 3)", "<f3", bytes(48)),
    "objects": npy_bytes("(4, 3)", "|O", bytes(96)),
    "version 9": npy_bytes("(4, 3)", data=bytes(48), version=b"\x09\x00"),
}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_refused_before_anything_is_read(tmp_path, case, compression):
    path = tmp_path / "f.npy"
    path.write_bytes(HOSTILE[case])
    with pytest.raises(FeatureError, match=r"f\.npy: is no readable numpy file \(") as told:
        read_features(path, path)
    assert "\n" not in told.value.message
    archive(tmp_path / "good.npz")
    with zipfile.ZipFile(tmp_path / "f.npz", "w", compression) as made:
        made.writestr("features.npy", HOSTILE[case])
        made.writestr("labels.npy", zipfile.ZipFile(tmp_path / "good.npz").read("labels.npy"))
    with pytest.raises(FeatureError, match=r"f\.npz: 'features' cannot be read \("):
        read_features(tmp_path / "f.npz")


def every_cut(content: bytes) -> list[bytes]:
    return [content[:length] for length in range(2, len(content), 7)]


def test_no_cut_archive_is_read(tmp_path):
    path = archive(tmp_path / "f.npz")
    for cut in every_cut(path.read_bytes()):
        path.write_bytes(cut)
        with pytest.raises(FeatureError, match="is no readable numpy file"):
            read_features(path)


def changed(path: Path, change: Callable[[bytearray, int], None]) -> None:
    """Change the bytes of an archive, given where the directory entry of its features is."""
    content = bytearray(path.read_bytes())
    change(content, content.index(b"PK\x01\x02"))
    path.write_bytes(content)


def test_members_that_are_not_where_the_directory_says_are_refused(tmp_path):
    def size(content: bytearray, entry: int) -> None:
        content[entry + 20 : entry + 28] = struct.pack("<II", 10**6, 10**6)

    def offset(content: bytearray, entry: int) -> None:
        content[entry + 42 : entry + 46] = struct.pack("<I", 50)

    def encrypted(content: bytearray, entry: int) -> None:
        content[entry + 8] |= 1

    def half(content: bytearray, entry: int) -> None:
        content[entry + 20 : entry + 24] = struct.pack("<I", 150)

    def name(content: bytearray, entry: int) -> None:
        content[30] ^= 1

    for number, change in enumerate((size, offset, encrypted, half, name)):
        path = archive(tmp_path / f"{number}.npz")
        changed(path, change)
        with pytest.raises(FeatureError, match=rf"{number}\.npz: 'features' cannot be read"):
            read_features(path)


def test_a_member_longer_than_the_file_is_not_mapped(tmp_path):
    """The directory may promise what the header asks for: the file decides."""
    path = tmp_path / "f.npz"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("labels.npy", b"")
        made.writestr("features.npy", npy_bytes("(1000000, 3)", data=bytes(48)))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 10**8, 10**8)
    path.write_bytes(content)
    with pytest.raises(FeatureError, match="'features' cannot be read"):
        read_members(path, ("features",), FeatureError)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_is_read_is_compared_with_its_checksum(tmp_path, save):
    path = tmp_path / "f.npz"
    labels = np.arange(4) if save is np.savez else np.arange(4).astype(np.int16)
    save(path, labels=labels, features=VALUES)

    def checksum(content: bytearray, entry: int) -> None:
        content[entry + 16] ^= 1

    changed(path, checksum)  # the first entry is that of the labels
    with pytest.raises(FeatureError, match=r"'labels' cannot be read \(Bad CRC-32"):
        read_features(path)


def test_an_archive_that_lacks_an_array_says_what_it_has(tmp_path):
    np.savez(tmp_path / "f.npz", x=VALUES, labels=np.arange(4))
    with pytest.raises(FeatureError, match="'features' and 'labels', found x, labels"):
        read_features(tmp_path / "f.npz")
    np.save(tmp_path / "l.npy", np.arange(4))
    with pytest.raises(FeatureError, match="expected an array 'features', found x, labels"):
        read_features(tmp_path / "f.npz", tmp_path / "l.npy")
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as made:
        made.writestr("features", b"no array")
        made.writestr("labels.npy", b"")
    with pytest.raises(FeatureError, match="'features' cannot be read"):
        read_features(tmp_path / "f.npz")

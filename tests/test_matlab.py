"""The reader of MATLAB v5 files: what scipy and MATLAB write, and what they never would."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from icis_cli.errors import DescriptorError, FeatureError
from icis_cli.matlab import list_arrays, load_arrays, texts

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def element(kind, content, order="<"):
    """One element of a file, padded to 8 bytes."""
    return struct.pack(f"{order}II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(kind, shape, name, *values, order="<", flags=0):
    """One variable, or one cell; ``shape`` None leaves the element out."""
    parts = [element(6, struct.pack(f"{order}II", kind | flags, 0), order)]
    if shape is not None:
        parts.append(element(5, struct.pack(f"{order}{len(shape)}I", *shape), order))
    return element(14, b"".join([*parts, element(1, name, order), *values]), order)


@pytest.mark.parametrize("compressed", [False, True])
def test_what_scipy_writes_is_read(tmp_path, compressed):
    cells = np.array([["a"], ["bb"]], dtype=object)
    variables = {
        "bytes": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "cube": np.arange(24.0).reshape(2, 3, 4),
        "long": np.array([[-(2**40)]]),
        "lines": np.array(["ant", "zebra"]),
        "text": "h\u00e9",
        "flags": np.array([[True, False]]),
        "empty": np.zeros((0, 3)),
        "cells": cells,
        "struct": {"x": 1},
        "sparse": scipy.sparse.csc_array(np.eye(3)),
        "complex": np.array([[1j]]),
    }
    path = tmp_path / "all.mat"
    scipy.io.savemat(path, variables, do_compression=compressed)
    assert list(list_arrays(path, FeatureError)) == list(variables)
    assert list_arrays(path, FeatureError)["cube"] == (2, 3, 4)
    odd = ("struct", "sparse", "complex")
    found = load_arrays(path, [name for name in variables if name not in odd], FeatureError)
    for name in ("bytes", "cube", "long", "flags", "empty"):
        assert (found[name] == variables[name]).all()
        assert found[name].shape == np.shape(variables[name])
        assert found[name].flags.writeable
    assert texts(found["lines"]) == ("ant", "zebra")
    assert texts(found["text"]) == ("h\u00e9",)
    assert texts(found["cells"]) == ("a", "bb")
    for name in odd:
        for kind in (FeatureError, DescriptorError):
            with pytest.raises(kind, match=f"'{name}' is .*{name}"):
                load_arrays(path, [name], kind)


def test_big_endian(tmp_path):
    header = HEADER[:124] + b"\x01\x00MI"
    values = element(9, np.arange(6.0).astype(">f8").tobytes(), ">")
    text = matrix(4, (1, 2), b"t", element(17, "ab".encode("utf-16-be"), ">"), order=">")
    (tmp_path / "d.mat").write_bytes(header + matrix(6, (2, 3), b"x", values, order=">") + text)
    found = load_arrays(tmp_path / "d.mat", ("x", "t"), FeatureError)
    assert found["x"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert found["t"] == "ab"


def test_string_arrays_and_tables_are_skipped_unless_asked_for(tmp_path):
    """MATLAB's newer classes have no shape in the file."""
    opaque = matrix(17, None, b"s", element(1, b"MCOS"), element(1, b"string"))
    numbers = matrix(6, (1, 2), b"x", element(2, b"\x05\x07"))
    (tmp_path / "d.mat").write_bytes(HEADER + opaque + numbers)
    assert load_arrays(tmp_path / "d.mat", ["x"], FeatureError)["x"].tolist() == [[5, 7]]
    assert list(list_arrays(tmp_path / "d.mat", FeatureError)) == ["s", "x"]
    with pytest.raises(FeatureError, match="'s' is or holds an object"):
        load_arrays(tmp_path / "d.mat", ["x", "s"], FeatureError)


@pytest.mark.parametrize(
    "variable",
    [
        matrix(6, (0, 2**32 - 1, 2**32 - 1, 2**32 - 1), b"x", element(9, b"")),
        matrix(1, (0, 2**32 - 1, 2**32 - 1, 2**32 - 1), b"x"),
        matrix(1, (2**31, 2), b"x"),
        matrix(6, (2**31, 2), b"x", element(9, bytes(8))),
        matrix(4, (2**31, 2), b"x", element(16, b"ab")),
        matrix(6, (1, 1), b"x", element(521, bytes(8))),
        matrix(6, (1, 1), b"x"),
        matrix(6, (1,), b"x", element(9, bytes(8))),
        matrix(6, (1, 1), b"x", element(9, bytes(8)))[:-4],
        matrix(1, (1, 1), b"x", element(9, bytes(8))),
        matrix(1, (1, 1), b"x", element(14, bytes(8))),
        element(14, b""),
        element(15, b"no zlib stream"),
    ],
)
def test_what_no_program_writes(tmp_path, variable):
    (tmp_path / "d.mat").write_bytes(HEADER + variable)
    with pytest.raises(FeatureError, match=r"d\.mat: is no readable MATLAB v5 file \("):
        load_arrays(tmp_path / "d.mat", ["x"], FeatureError)


def test_a_text_of_nothing_has_no_lines(tmp_path):
    """Its shape must not be believed: 4294967295 lines would fill the memory."""
    (tmp_path / "d.mat").write_bytes(HEADER + matrix(4, (2**32 - 1, 0), b"x", element(16, b"")))
    assert load_arrays(tmp_path / "d.mat", ["x"], FeatureError) == {"x": ""}


def test_cells_too_deep(tmp_path):
    cell = matrix(6, (1, 1), b"", element(9, bytes(8)))
    for _ in range(2000):
        cell = matrix(1, (1, 1), b"x", cell)
    (tmp_path / "d.mat").write_bytes(HEADER + cell)
    with pytest.raises(FeatureError, match="a cell array is broken"):
        load_arrays(tmp_path / "d.mat", ["x"], FeatureError)


def test_no_such_file(tmp_path):
    for read in (list_arrays, lambda path, kind: load_arrays(path, ["x"], kind)):
        with pytest.raises(DescriptorError, match="no such file"):
            read(tmp_path / "d.mat", DescriptorError)
        with pytest.raises(DescriptorError, match="is no readable MATLAB v5 file"):
            read(tmp_path, DescriptorError)

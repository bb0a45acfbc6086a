"""Readers of class descriptors: every format, with and without names, and what they warn about."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import scipy.io
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file

from icis_cli import read_descriptors, read_lines
from icis_cli.errors import DescriptorError

VALUES = np.array([[0.5, 1, 0], [2, -3, 0.25], [4, 1, 7]], dtype=np.float32)
NAMES = ("cat", "grey, wolf", "zèbre")


def write_npy(path: Path) -> None:
    np.save(path, VALUES.astype(np.float64))


def write_npz(path: Path) -> None:
    np.savez(path, attributes=VALUES, names=np.array(NAMES), other=np.arange(3))


def write_table(path: Path) -> None:
    separator = "\t" if path.suffix == ".tsv" else ","
    cells = [[f'"{name}"', *map(str, row)] for name, row in zip(NAMES, VALUES, strict=True)]
    path.write_text("\n".join(separator.join(row) for row in cells), encoding="utf-8")


def write_json(path: Path) -> None:
    path.write_text(json.dumps(dict(zip(NAMES, VALUES.tolist(), strict=True))))


def write_mat(path: Path) -> None:
    """As xlsa17 has it: one column per class, names in a cell array (C, 1)."""
    cells = np.array([[name] for name in NAMES], dtype=object)
    scipy.io.savemat(path, {"att": VALUES.T, "allclasses_names": cells, "original_att": VALUES})


def write_safetensors(path: Path) -> None:
    save_file({"att": VALUES, "other": VALUES + 1}, path, {"names": json.dumps(NAMES)})


def write_parquet(path: Path) -> None:
    columns = {f"attribute {number}": column for number, column in enumerate(VALUES.T)}
    pyarrow.parquet.write_table(pyarrow.table({"class": NAMES, **columns}), path)


def write_words(path: Path) -> None:
    lines = [" ".join([name, *map(str, row)]) for name, row in zip(NAMES, VALUES, strict=True)]
    header = [f"{len(NAMES)} 3"] if path.suffix == ".vec" else []
    path.write_text("\n".join([*header, *lines]), encoding="utf-8")


WRITERS = {
    ".npy": write_npy,
    ".npz": write_npz,
    ".csv": write_table,
    ".tsv": write_table,
    ".json": write_json,
    ".mat": write_mat,
    ".safetensors": write_safetensors,
    ".parquet": write_parquet,
    ".txt": write_words,
    ".vec": write_words,
    ".glove": write_words,
}


def test_every_format_is_tested(tmp_path):
    (tmp_path / "d.odd").write_text("x")
    with pytest.raises(DescriptorError, match=r"unknown descriptor format '\.odd'") as caught:
        read_descriptors(tmp_path / "d.odd")
    assert set(caught.value.hint.removeprefix("expected one of ").split(", ")) == set(WRITERS)


@pytest.mark.parametrize("suffix", sorted(WRITERS))
@pytest.mark.parametrize("spelling", [str.lower, str.upper])
def test_every_format_gives_the_same_numbers_and_names(tmp_path, suffix, spelling):
    path = tmp_path / ("d" + suffix)
    WRITERS[suffix](path)
    found = read_descriptors(path.rename(tmp_path / ("d" + spelling(suffix))))
    assert found.values.tolist() == VALUES.tolist()
    assert found.values.dtype == np.float32
    assert found.names == (None if suffix == ".npy" else NAMES)
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("text", "names", "columns"),
    [
        ("1,2\n3,4", None, None),
        ("size,legs\n1,2\n3,4\n", None, ("size", "legs")),
        ("a,1,2\nb,3,4\n", ("a", "b"), None),
        ("class,size,legs\na,1,2\nb,3,4\n", ("a", "b"), ("size", "legs")),
        ("size,legs\na,1,2\nb,3,4\n", ("a", "b"), ("size", "legs")),
        ("class,0,1\na,1,2\nb,3,4\n", ("a", "b"), ("0", "1")),
        (",0,1\n0,1,2\n1,3,4\n", ("0", "1"), ("0", "1")),
        ("id,size,legs\n02084071,1,2\n02121808,3,4\n", ("02084071", "02121808"), ("size", "legs")),
        ("class,x,y\n1,1,2\nseven,3,4\n", ("1", "seven"), ("x", "y")),
        ("\ufeffclass,size,legs\na,1,2\nb,3,4\n", ("a", "b"), ("size", "legs")),
        ("\ufeff1,2\n3,4\n", None, None),
        ("class;size;legs\r\na;1;2\r\nb;3;4\r\n", ("a", "b"), ("size", "legs")),
        ("name\tsize\tlegs\r\na\t1\t2\r\nb\t3\t4\r\n", ("a", "b"), ("size", "legs")),
        ('"a, or c",1,2\n"b ""q""",3,4\n', ("a, or c", 'b "q"'), None),
        ('x; y;1;2\n"p;q";3;4\n'.replace("x; y", '"x; y"'), ("x; y", "p;q"), None),
        ("\n  \na, 1 ,2\n\n b ,3, 4\n\n", ("a", "b"), None),
        ("a,1e0,2.0\nb,+3,4\n", ("a", "b"), None),
    ],
)
def test_tables_as_people_save_them(tmp_path, text, names, columns):
    (tmp_path / "d.csv").write_bytes(text.encode())
    found = read_descriptors(tmp_path / "d.csv")
    assert found.values.tolist() == [[1, 2], [3, 4]]
    assert found.names == names
    assert found.columns == columns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,1,2\nb,3\n", r"line 2 has 2 cells, expected 3"),
        ("a,1,2\n\nb,3,x\n", r"line 3: expected a number, found 'x'"),
        ("a,1,2\nb,,4\n", r"line 2: expected a number, found an empty cell"),
        ("a,1,\nb,3,4\n", r"line 1: expected a number, found an empty cell"),
        ("a,n/a,2\nb,3,4\n", r"line 1: expected a number, found 'n/a'"),
        ("1,2\nx,4\n3,5\n", r"line 2: expected a number, found 'x'"),
        ('a,1,2\n"b\nc",1,2\nd,oops,3', r"line 4: expected a number, found 'oops'"),
        ("class,x,y\n", "a header but no class below"),
        (" \n\n", "is empty"),
    ],
)
def test_a_table_with_a_hole_or_a_word_is_refused_not_read_as_something_else(
    tmp_path, text, message
):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(DescriptorError, match=message):
        read_descriptors(tmp_path / "d.csv")


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"a": [1, 0], "b": [0, 2]}, ("a", "b")),
        ({"a": {"x": 1}, "b": {"y": 2}}, ("a", "b")),
        ({"a": {"y": 1, "x": 0}, "b": {"x": 2, "y": 0}}, ("a", "b")),
        ([[1, 0], [0, 2]], None),
        ([{"name": "a", "descriptor": [1, 0]}, {"name": "b", "descriptor": [0, 2.0]}], ("a", "b")),
    ],
)
def test_json_of_every_shape(tmp_path, content, names):
    (tmp_path / "d.json").write_text("\ufeff" + json.dumps(content), encoding="utf-8")
    found = read_descriptors(tmp_path / "d.json")
    assert found.values.tolist() == [[1, 0], [0, 2]]
    assert found.names == names


@pytest.mark.parametrize("key", ["descriptors", "att", "embeddings", "anything"])
@pytest.mark.parametrize("names_key", ["names", "classes", "allclasses_names"])
def test_npz_arrays_are_found_by_usual_names(tmp_path, key, names_key):
    names = np.array([[b"a"], [b"b"], [b"caf\xe9"]])
    arrays: dict[str, Any] = {key: VALUES, names_key: names}
    np.savez_compressed(tmp_path / "d.npz", **arrays)
    found = read_descriptors(tmp_path / "d.npz")
    assert found.values.tolist() == VALUES.tolist()
    assert found.names == ("a", "b", "caf\\xe9")  # no UTF-8: shown as what it is


def test_npz_with_two_matrices_takes_the_one_with_the_telling_name(tmp_path):
    np.savez(tmp_path / "d.npz", first=VALUES + 1, descriptors=VALUES, columns=["x", "y", "z"])
    found = read_descriptors(tmp_path / "d.npz")
    assert found.values.tolist() == VALUES.tolist()
    assert found.columns == ("x", "y", "z")
    np.savez(tmp_path / "e.npz", first=VALUES + 1, second=VALUES)
    with pytest.raises(DescriptorError, match=r"found first \(3, 3\), second \(3, 3\)"):
        read_descriptors(tmp_path / "e.npz")


def test_the_content_of_a_numpy_file_counts_not_its_suffix(tmp_path):
    write_npz(tmp_path / "d.npz")
    write_npy(tmp_path / "e.npy")
    assert read_descriptors((tmp_path / "d.npz").rename(tmp_path / "f.npy")).names == NAMES
    found = read_descriptors((tmp_path / "e.npy").rename(tmp_path / "g.npz"))
    assert found.values.tolist() == VALUES.tolist()


def test_matlab_names_as_a_character_matrix(tmp_path):
    scipy.io.savemat(
        tmp_path / "d.mat", {"att": VALUES.T, "allclasses_names": ["cat", "wolf", "horse"]}
    )
    assert read_descriptors(tmp_path / "d.mat").names == ("cat", "wolf", "horse")


def test_matlab_files_need_no_scipy(tmp_path, monkeypatch):
    write_mat(tmp_path / "d.mat")
    for module in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        monkeypatch.setitem(sys.modules, module, None)
    found = read_descriptors(tmp_path / "d.mat")
    assert found.names == NAMES
    assert found.values.flags.writeable  # else torch warns


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"att": scipy.sparse.csc_array(np.eye(3))}, "'att' is or holds a sparse matrix, expected"),
        ({"att": VALUES + 1j}, "'att' is or holds complex, expected a full matrix of real numbers"),
        ({"att": {"x": 1}}, "'att' is or holds a struct"),
        ({"att": "text"}, "expected a matrix of numbers (classes, attributes), found shape ()"),
        ({"att": np.array([["a", VALUES]], dtype=object)}, "found shape (2, 1) of object"),
        ({"att": np.ones((2, 3, 4))}, "found shape (4, 3, 2)"),
        ({"allclasses_names": VALUES}, "'allclasses_names' holds something that is no text"),
        ({"allclasses_names": {"x": 1}}, "'allclasses_names' is or holds a struct"),
        ({"allclasses_names": np.array([["a", {"x": 1}]], dtype=object)}, "holds a struct"),
        ({"allclasses_names": ["cat", "wolf"]}, "2 class names for 3 descriptor rows"),
    ],
)
def test_matlab_arrays_of_another_kind(tmp_path, changes, message):
    scipy.io.savemat(
        tmp_path / "d.mat", {"att": VALUES.T, "allclasses_names": ["cat", "wolf", "ox"], **changes}
    )
    with pytest.raises(DescriptorError) as caught:
        read_descriptors(tmp_path / "d.mat")
    assert message in caught.value.message


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.family)])
def test_damaged_matlab_files_are_refused_or_read(tmp_path, compressed, every):
    """``every`` byte is damaged, or one in some."""
    path = tmp_path / "d.mat"
    cells = np.array([[name] for name in NAMES], dtype=object)
    content = {"att": VALUES.T.astype(float), "allclasses_names": cells}
    scipy.io.savemat(path, content, do_compression=compressed)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    damaged = [whole[:length] for length in range(0, len(whole), 7)]
    for position in range(124, len(whole), every):  # one byte, then several
        values = (0, 255, whole[position] ^ (1 << int(generator.integers(8))))
        damaged += [whole[:position] + bytes([v]) + whole[position + 1 :] for v in values]
    for _ in range(500 // every):
        several = bytearray(whole)
        for position in generator.integers(124, len(whole), 4):
            several[position] = (0, 1, 9, 14, 255, position % 256)[generator.integers(6)]
        damaged.append(bytes(several))
    refused = 0
    for data in damaged:
        path.write_bytes(data)
        try:
            found = read_descriptors(path)
        except DescriptorError as error:
            assert error.path == path  # noqa: PT017 (it need not fail)
            refused += 1
        else:
            assert found.values.dtype == np.float32
            assert found.values.ndim == 2
            assert np.isfinite(found.values).all()
            assert found.names is None or len(found.names) == len(found.values)
    assert refused > len(damaged) // 4


class Canary:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("raw", [False, True])
def test_pickles_are_never_run(tmp_path, suffix, raw):
    path, canary = tmp_path / ("d" + suffix), tmp_path / "ran"
    objects = np.array([[Canary(canary), 1]], dtype=object)
    if raw:
        path.write_bytes(pickle.dumps(objects))
    elif suffix == ".npy":
        np.save(path, objects, allow_pickle=True)
    else:
        np.savez(path, descriptors=objects)
    with pytest.raises(DescriptorError, match=r"numpy file|cannot be read"):
        read_descriptors(path)
    assert not canary.exists()


def test_constant_columns_and_equal_descriptors_are_told_by_name(tmp_path):
    lines = "".join(
        f"{name},1,{legs},2\n" for name, legs in zip("abcdefgh", "44567890", strict=True)
    )
    (tmp_path / "d.csv").write_text(f"class,wings,legs,ears\n{lines}")
    found = read_descriptors(tmp_path / "d.csv")
    (columns,), (equal,) = found.warnings, found.notes
    assert "2 of 3 columns are constant" in columns
    assert "'wings', 'ears'" in columns
    assert equal.endswith("these classes cannot be told apart by the table: a = b")


def test_a_few_classes_may_have_the_same_in_some_columns(tmp_path):
    """As those in a file of new classes often do."""
    (tmp_path / "d.csv").write_text("class,wings,legs,ears\na,1,4,2\nb,1,5,2\nc,1,6,2\n")
    assert read_descriptors(tmp_path / "d.csv").warnings == ()


def test_many_equal_descriptors_are_counted_not_all_listed(tmp_path):
    np.save(tmp_path / "d.npy", np.repeat(np.eye(8, 9), 2, axis=0))
    found = read_descriptors(tmp_path / "d.npy")
    (constant,), (equal,) = found.warnings, found.notes
    assert "1 of 9 columns" in constant
    assert "row 0 = row 1; row 2 = row 3" in equal
    assert "and 3 more groups" in equal


def test_equal_descriptors_are_told_by_the_names_of_a_list(tmp_path):
    np.savez(tmp_path / "d.npz", att=[[1, 2], [1, 2], [3, 4]], labels=np.arange(3))
    names = tmp_path / "names.txt"
    names.write_bytes("Zèbre\nOx\nWolf\n".encode("utf-16"))
    found = read_descriptors(tmp_path / "d.npz", names)
    assert found.warnings == ()
    equal, other = found.notes
    assert equal.endswith("these classes cannot be told apart by the table: Zèbre = Ox")
    assert "not used: labels" in other


def test_names_come_from_a_list_where_the_file_has_none(tmp_path):
    write_npy(tmp_path / "d.npy")
    names = tmp_path / "names.txt"
    names.write_bytes("\ufeffcat\r\n\r\n  grey, wolf \r\nzèbre".encode())
    assert read_descriptors(tmp_path / "d.npy", names).names == NAMES
    assert read_lines(names) == list(NAMES)
    write_json(tmp_path / "d.json")
    assert read_descriptors(tmp_path / "d.json", names).names == NAMES
    names.write_text("cat\nlion\nzèbre")
    with pytest.raises(DescriptorError, match=r"names\.txt: names the classes of .*otherwise"):
        read_descriptors(tmp_path / "d.json", names)
    for text, message in (("a\nb", "2 class names for 3"), ("a\nb\na", "'a' occurs 2 times")):
        names.write_text(text)
        with pytest.raises(DescriptorError, match=rf"names\.txt: .*{message}"):
            read_descriptors(tmp_path / "d.npy", names)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    values=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=5),
        elements=st.floats(0.125, 1000, width=32),
        unique=True,
    ),
    stems=st.lists(
        st.text(
            st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=6
        ),
        min_size=5,
        max_size=5,
        unique=True,
    ),
)
def test_what_is_written_as_csv_is_read_back(tmp_path, values, stems):
    names = [f"n {stem}" for stem in stems][: len(values)]
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    lines = [
        ",".join([name, *map(repr, row.tolist())]) for name, row in zip(quoted, values, strict=True)
    ]
    (tmp_path / "d.csv").write_text("\n".join(lines), encoding="utf-8", newline="")
    found = read_descriptors(tmp_path / "d.csv")
    assert found.names == tuple(name.strip() for name in names)
    assert np.array_equal(found.values, values)

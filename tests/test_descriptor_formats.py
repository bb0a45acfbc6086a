"""Descriptors in safetensors, Parquet, MATLAB v7.3, word vectors: as written, and hostile ones."""

from __future__ import annotations

import json
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import save_file

from icis_cli import read_descriptors, read_xlsa17
from icis_cli.errors import DescriptorError, InstallationError
from icis_cli.matlab import list_arrays, load_arrays, texts
from tests.conftest import icis
from tests.test_protocol import content as xlsa17
from tests.test_protocol import write as write_xlsa17

VALUES = np.array([[0.5, 1, 0], [2, -3, 0.25], [4, 1, 7]], dtype=np.float32)
NAMES = ("cat", "grey wolf", "zèbre")


def refused(path: Path, words: str) -> None:
    with pytest.raises(DescriptorError) as caught:
        read_descriptors(path)
    assert caught.value.path == path
    assert words in caught.value.message
    assert caught.value.message.isprintable()


# safetensors


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int16])
def test_safetensors_of_any_dtype(tmp_path, dtype):
    values = torch.tensor([[1, 0, 2], [3, -4, 0]], dtype=dtype)
    save_file({"anything": values, "scale": torch.ones(3)}, tmp_path / "d.safetensors")
    found = read_descriptors(tmp_path / "d.safetensors")
    assert found.values.tolist() == values.tolist()
    assert found.values.flags.writeable
    assert found.names is None


def test_names_and_columns_beside_safetensors(tmp_path):
    path = tmp_path / "d.safetensors"
    tensors = {"x": torch.from_numpy(VALUES)}
    save_file(tensors, path, {"classes": json.dumps(NAMES), "columns": '["a", "b", "c"]'})
    found = read_descriptors(path)
    assert (found.names, found.columns) == (NAMES, ("a", "b", "c"))
    for odd in ("cat, wolf", '{"a": 1}', "[1, 2, 3]", "[" * 100_000):
        save_file(tensors, path, {"names": odd})
        refused(path, "'names' in its metadata is no JSON list of texts")
    save_file(tensors, path, {"names": '["a", "b"]'})
    refused(path, "2 class names for 3 descriptor rows")


def test_safetensors_that_cannot_be_used(tmp_path):
    path = tmp_path / "d.safetensors"
    save_file({"a": torch.ones(2, 3), "b": torch.ones(2, 3)}, path)
    refused(path, "expected one matrix of numbers or an array named 'descriptors', found a (2, 3)")
    save_file({"a": torch.ones(2, 3, dtype=torch.complex64)}, path)
    refused(path, "found a (2, 3)")
    save_file({"a": torch.tensor([[1, float("nan")], [2, 3]])}, path)
    refused(path, "row 0, column 1: NaN or infinite")
    entry = {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 16]}
    header = json.dumps({"a": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    refused(path, "is no valid safetensors file")


# numpy: what its headers claim is compared with what is there


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("shape", ["(4000000000, 40000000)", "(-2, -2)", "(100000, 1000)"])
def test_numpy_headers_are_not_believed(tmp_path, suffix, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(48)
    path = tmp_path / f"d{suffix}"
    path.write_bytes(array)
    if suffix == ".npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("descriptors.npy", array)
    refused(path, "its header tells of (")


def test_the_directory_of_an_archive_is_not_believed(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': True, 'shape': (50000, 50000), }\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(48)
    for number, packing in enumerate((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)):
        path = tmp_path / f"{number}.npz"
        with zipfile.ZipFile(path, "w", packing) as archive:
            archive.writestr("descriptors.npy", array)
        content = bytearray(path.read_bytes())
        entry = content.index(b"PK\x01\x02")
        content[entry + 24 : entry + 28] = struct.pack("<I", 2**32 - 2)
        path.write_bytes(content)
        refused(path, "its header tells of (50000, 50000) float32, far more than there is")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("descriptors.npy", array)
    refused(path, "is compressed in a way that numpy does not write")


# Parquet


def write_parquet(path: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("kind", [pa.float32(), pa.float16(), pa.float64()])
@pytest.mark.parametrize("width", [-1, 3])
def test_a_column_of_lists_is_an_embedding(tmp_path, kind, width):
    lists = pa.array(VALUES.tolist(), pa.list_(kind, width))
    path = write_parquet(tmp_path / "d.parquet", breed=NAMES, count=[7, 8, 9], embedding=lists)
    found = read_descriptors(path)
    assert found.values.tolist() == VALUES.tolist()
    assert (found.names, found.columns) == (NAMES, None)
    assert found.notes == (f"{path}: not used: count",)


def test_columns_of_numbers_are_attributes(tmp_path):
    columns = {"wings": [0, 1, 1], "fur": [True, False, True], "size": [0.5, 2, 4]}
    expected = [[0, 1, 0.5], [1, 0, 2], [1, 1, 4]]
    for names in ({}, {"id": [5, 6, 7]}, {"x": pa.array(NAMES).dictionary_encode()}):
        found = read_descriptors(write_parquet(tmp_path / "d.parquet", **names, **columns))
        assert found.values.tolist() == expected
        assert found.columns == ("wings", "fur", "size")
        assert found.names == (None if not names else ("5", "6", "7") if "id" in names else NAMES)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": ["x", "y"], "b": ["p", "q"], "v": [1, 2]}, "has 2 columns of text: a, b"),
        ({"name": ["x", "y"]}, "expected columns of numbers, or one of lists of them, found name"),
        ({"v": [[1, 2], [3]]}, "rows differ in length"),
        ({"v": [[1, 2], None]}, "rows differ in length"),
        ({"v": [[1, 2], [3, None]]}, "row 1, column 1: NaN or infinite"),
        ({"v": [[1, 2], [3, 4]], "w": [[1], [2]]}, "has 2 columns of lists: v, w"),
        ({"v": [1, None], "w": [3, 4]}, "row 1, column 'v': NaN or infinite"),
        ({"name": ["x", None], "v": [1, 2], "w": [3, 4]}, "row 1 has no class name"),
        ({"name": ["x", "x"], "v": [1, 2], "w": [3, 4]}, "class name 'x' occurs 2 times"),
        ({"v": pa.array([], pa.float32()), "w": pa.array([], pa.float32())}, "no descriptor row"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, columns, words):
    refused(write_parquet(tmp_path / "d.parquet", **columns), words)


def test_a_damaged_parquet_file_that_would_end_the_process(tmp_path):
    """Some damage makes pyarrow abort; most is told by it."""
    path = write_parquet(tmp_path / "d.parquet", name=NAMES, v=VALUES.tolist())
    whole = path.read_bytes()
    for data in (b"", b"PAR1", whole[:-20], whole[:40] + bytes(40) + whole[80:]):
        path.write_bytes(data)
        refused(path, "is no readable Parquet file (")


@pytest.mark.skipif(sys.platform != "linux", reason="the limit needs Linux")
def test_a_small_parquet_file_does_not_fill_the_memory(tmp_path):
    """Runs of equal numbers take a few bytes, whatever their length."""
    path = tmp_path / "d.parquet"
    block = pa.table({name: np.zeros(1 << 24, np.int64) for name in "vw"})
    with parquet.ParquetWriter(path, block.schema) as writer:
        for _ in range(4):
            writer.write_table(block)
    assert path.stat().st_size < 1 << 20
    refused(path, "is no readable Parquet file (")


def test_a_process_that_ends_early_is_an_error(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "d.parquet", v=[1, 2], w=[3, 4])
    monkeypatch.setattr("icis_cli.descriptors.parquet._MODULE", "icis_cli.no_such_module")
    refused(path, "(pyarrow ended with code 1: it is damaged, or becomes far larger than")


# MATLAB v7.3


def text_of(file: h5py.File, text: str) -> h5py.Dataset:
    units = np.frombuffer(text.encode("utf-16-le"), np.uint16).reshape(-1, 1)
    stored = file.create_dataset(f"#refs#/{len(file['#refs#'])}", data=units)
    stored.attrs["MATLAB_class"] = np.bytes_("char")
    stored.attrs["MATLAB_int_decode"] = np.int32(2)
    return stored


def write_hdf5(path: Path, *, matlab: bool = True, **datasets: Any) -> Path:
    """Write ``att`` and names as MATLAB does; ``matlab`` False leaves its own marks out."""
    with h5py.File(path, "w", userblock_size=512 if matlab else 0) as file:
        file.create_group("#refs#")
        att = file.create_dataset("att", data=VALUES.astype(float), compression="gzip")
        cells = np.empty((1, len(NAMES)), dtype=h5py.ref_dtype)
        cells[0] = [text_of(file, name).ref for name in NAMES]
        names = file.create_dataset("allclasses_names", data=cells)
        if matlab:
            att.attrs["MATLAB_class"] = np.bytes_("double")
            names.attrs["MATLAB_class"] = np.bytes_("cell")
        else:
            for part in file["#refs#"].values():
                for key in list(part.attrs):
                    del part.attrs[key]
        for name, data in datasets.items():
            file.create_dataset(name, data=data)
    if matlab:
        with path.open("r+b") as stream:
            stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


@pytest.mark.parametrize("matlab", [True, False])
def test_what_matlab_writes_as_v7_3(tmp_path, matlab):
    path = write_hdf5(tmp_path / "d.mat", matlab=matlab)
    found = read_descriptors(path)
    assert found.values.tolist() == VALUES.tolist()
    assert found.names == NAMES
    assert list_arrays(path, DescriptorError) == {"allclasses_names": (3, 1), "att": (3, 3)}


def test_kinds_of_v7_3_arrays(tmp_path):
    path = tmp_path / "d.mat"
    with h5py.File(path, "w") as file:
        lines = np.array([[ord(a), ord(b)] for a, b in zip("cat", "dog", strict=True)], np.uint16)
        file.create_dataset("lines", data=lines).attrs["MATLAB_class"] = np.bytes_("char")
        empty = file.create_dataset("empty", data=np.array([0, 3], np.uint64))
        empty.attrs["MATLAB_class"] = np.bytes_("double")
        empty.attrs["MATLAB_empty"] = np.uint8(1)
        file.create_dataset("cube", data=np.arange(24).reshape(4, 3, 2))
        file.create_group("struct").attrs["MATLAB_class"] = np.bytes_("struct")
        file.create_group("sparse").attrs["MATLAB_sparse"] = np.uint64(3)
        file.create_dataset("complex", data=np.ones((2, 2), complex))
        file.create_dataset("object", data=[[1]]).attrs["MATLAB_object_decode"] = np.int32(3)
    found = load_arrays(path, ("lines", "empty", "cube"), DescriptorError)
    assert texts(found["lines"]) == ("cat", "dog")
    assert found["empty"].shape == (0, 3)
    assert (found["cube"] == np.arange(24).reshape(4, 3, 2).T).all()
    for name, words in (
        ("struct", "a struct"),
        ("sparse", "a sparse matrix"),
        ("complex", "complex"),
        ("object", "an object"),
    ):
        with pytest.raises(DescriptorError, match=f"'{name}' is or holds {words}"):
            load_arrays(path, [name], DescriptorError)


def terabytes(file: h5py.File) -> None:
    file.create_dataset("att", shape=(10**6, 10**6), dtype="f8", chunks=(1000, 1000))


def late(file: h5py.File) -> None:
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    space = h5py.h5s.create_simple((10**5, 10**5))
    h5py.h5d.create(file.id, b"att", h5py.h5t.IEEE_F64LE, space, settings)


def chunk(file: h5py.File) -> None:
    """A few values in a chunk of a gigabyte."""
    shape = {"chunks": (16384, 8192), "maxshape": (None, None), "compression": "gzip"}
    file.create_dataset("att", (2, 3), "f8", **shape).id.write_direct_chunk((0, 0), b"x" * 9)


def filters(file: h5py.File) -> None:
    file.create_dataset("att", data=VALUES, compression="lzf")


def outside(file: h5py.File) -> None:
    file.create_dataset("att", (3, 3), "f8", external=[("/etc/passwd", 0, 72)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3, 3), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "att", (3, 3))
    file.create_virtual_dataset("att", layout)


def link(file: h5py.File) -> None:
    file["att"] = h5py.ExternalLink("other.h5", "/att")


def soft_link(file: h5py.File) -> None:
    file["att"] = h5py.SoftLink("/x")


def words(file: h5py.File) -> None:
    file.create_dataset("att", data=["a", "b"])


def nothing(file: h5py.File) -> h5py.Dataset:
    cells = file.create_dataset("att", (10, 1), h5py.ref_dtype)
    cells.attrs["MATLAB_class"] = np.bytes_("cell")
    return cells


def itself(file: h5py.File) -> None:
    cells = nothing(file)
    cells[:] = cells.ref


@pytest.mark.parametrize(
    ("hostile", "said"),
    [
        (terabytes, "an array of 8000000000000 bytes is more than it can hold"),
        (late, "an array of 80000000000 bytes is more than it can hold"),
        (chunk, "is more than it can hold"),
        (filters, "an array is packed by filters [32000]"),
        (outside, "an array lies outside the file"),
        (virtual, "an array lies outside the file"),
        (link, "'att' is a link to elsewhere"),
        (soft_link, "'att' is a link to elsewhere"),
        (words, "'att' is or holds an object"),
        (nothing, "a cell refers to nothing"),
        (itself, "a cell array is broken"),
    ],
)
def test_v7_3_files_that_no_matlab_writes(tmp_path, hostile, said):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["att"] = VALUES
    path = tmp_path / "d.mat"
    with h5py.File(path, "w") as file:
        hostile(file)
    refused(path, said)


def test_cells_that_all_refer_to_one_long_text_are_counted(tmp_path):
    path = tmp_path / "d.mat"
    write_hdf5(path)
    with h5py.File(path, "a") as file:
        del file["allclasses_names"]
        text = np.full((1 << 21, 1), 97, np.uint16)
        long = file.create_dataset("#refs#/long", data=text, compression="gzip")
        long.attrs["MATLAB_class"] = np.bytes_("char")
        cells = file.create_dataset("allclasses_names", (2000, 1), h5py.ref_dtype)
        cells[:] = long.ref
        cells.attrs["MATLAB_class"] = np.bytes_("cell")
    refused(path, "is more than it can hold")


def test_an_xlsa17_folder_of_v7_3_files_is_the_same_data_set(tmp_path):
    old = read_xlsa17(write_xlsa17(tmp_path / "old"))
    (tmp_path / "new").mkdir()
    for name, variables in zip(("res101.mat", "att_splits.mat"), xlsa17(), strict=True):
        with h5py.File(tmp_path / "new" / name, "w") as file:
            file.create_group("#refs#")
            for key, value in variables.items():
                data = np.asarray(value).T
                if data.dtype == object:
                    parts = [text_of(file, str(cell[0])).ref for cell in data.ravel()]
                    data = np.array(parts, h5py.ref_dtype).reshape(data.shape)
                file.create_dataset(key, data=data, compression="gzip")
    new = read_xlsa17(tmp_path / "new")
    assert new.class_names == old.class_names
    for part in ("features", "labels", "descriptors", "trainval", "test_seen", "test_unseen"):
        assert np.array_equal(getattr(new, part), getattr(old, part)), part


@pytest.mark.parametrize("kept", [0, 300, 600, 0.5, -8])
def test_a_cut_v7_3_file(tmp_path, kept):
    path = write_hdf5(tmp_path / "d.mat")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    refused(path, "is no readable MATLAB v")


# word vectors


@pytest.mark.parametrize("header", ["", "3 2\n"])
@pytest.mark.parametrize("separator", [" ", "\t", "  "])
def test_word_vectors_with_names_of_several_words(tmp_path, header, separator):
    lines = ["cat|1 2", "polar bear|3 4.5", "route 66|-5e0 6"]
    text = header + "\n\n".join(line.replace("|", separator) for line in lines) + " \n"
    (tmp_path / "d.vec").write_text(text)
    found = read_descriptors(tmp_path / "d.vec")
    assert found.names == ("cat", "polar bear", "route 66")
    assert found.values.tolist() == [[1, 2], [3, 4.5], [-5, 6]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("cat 1 2 3\ndog 1 2\nox 4 5 6", "line 2 has 2 numbers, expected 3 as others"),
        ("cat 1 2 3\ndog 1 x 2\nox 4 5 6", "line 2: expected 3 numbers at its end, found 'x'"),
        ("cat\t1 2\ndog\t1 2 3\nox\t5 6", "line 2 has 3 numbers, expected 2"),
        ("1 2 3\n4 5 6", "holds numbers alone, expected names before them"),
        ("3 2\ncat 1 2\ndog 3 4", "its first line tells of 3 classes, found 2"),
        ("2 99999\ncat 1 2\ndog 3 4", "line 2 has 2 numbers, expected 99999"),
        ("cat 1 nan\ndog 3 4", "cat, column 1: NaN"),
        ("cat 1 2\ncat 3 4", "class name 'cat' occurs 2 times"),
        ("cat 1 2\n\xff 3 4", "is no readable text: it is not UTF-8"),
    ],
)
def test_word_vectors_that_cannot_be_used(tmp_path, text, words):
    (tmp_path / "d.txt").write_bytes(text.encode("latin-1"))
    refused(tmp_path / "d.txt", words)


def test_the_words_of_a_language_are_no_classes(tmp_path, monkeypatch):
    monkeypatch.setattr("icis_cli.descriptors.word_text._MANY", 3)
    (tmp_path / "d.glove").write_text("a 1 2\nb 3 4\nc 5 7")
    assert "every one of its 3 words" in read_descriptors(tmp_path / "d.glove").warnings[0]


@pytest.mark.parametrize(
    ("package", "suffix", "extra"), [("h5py", ".mat", "mat"), ("pyarrow", ".parquet", "parquet")]
)
def test_a_missing_extra_is_named(tmp_path, monkeypatch, package, suffix, extra):
    path = tmp_path / f"d{suffix}"
    write_hdf5(path) if suffix == ".mat" else write_parquet(path, v=[1, 2], w=[3, 4])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InstallationError, match=f"needs the package {package}") as caught:
        read_descriptors(path)
    assert caught.value.hint == f"pip install 'icis-cli[{extra}]'"


@pytest.mark.parametrize("suffix", [".safetensors", ".parquet", ".mat", ".vec"])
def test_fit_with_descriptors_of_every_new_format(folder, world, suffix):
    path = folder / f"attrs{suffix}"
    values = world.descriptors
    if suffix == ".safetensors":
        names = json.dumps(world.names)
        save_file({"att": torch.from_numpy(values)}, path, {"names": names})
    elif suffix == ".parquet":
        write_parquet(path, name=world.names, embedding=values.tolist())
    elif suffix == ".mat":
        with h5py.File(path, "w") as file:
            file["att"] = values
        (folder / "names.txt").write_text("\n".join(world.names))
    else:
        lines = [f"{n} {' '.join(map(str, v))}" for n, v in zip(world.names, values, strict=True)]
        path.write_text("\n".join(lines))
    named = ("--classes", "names.txt") if suffix == ".mat" else ()
    done = icis(
        "fit", "--weights", "model.pt", "--attrs", path.name, *named, "--method", "ridge", "--json",
        cwd=folder,
    )  # fmt: skip
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["out"] == "injector.safetensors"

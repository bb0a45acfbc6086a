"""Which column names the classes, in every format: ids and line numbers are no attributes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from safetensors.numpy import save_file

from icis_cli import Descriptors, read_descriptors
from icis_cli.errors import DescriptorError

VALUES = [[1, 3.5], [2, 4], [5, 4]]
NAMES = ("cat", "wolf", "ox")


def read_csv(folder: Path, text: str) -> Descriptors:
    (folder / "d.csv").write_text(text)
    return read_descriptors(folder / "d.csv")


def read_json(folder: Path, content: object) -> Descriptors:
    (folder / "d.json").write_text(json.dumps(content))
    return read_descriptors(folder / "d.json")


def require_told(found: Descriptors, note: str | None) -> None:
    """Check that the first note says so; or that there is none."""
    assert (note is None) == (not found.notes)
    assert note is None or found.notes[0].startswith(f"{found.path}: ")
    assert note is None or note in found.notes[0]


@pytest.mark.parametrize(
    ("text", "names", "note"),
    [
        ("class,x,y\nA,1.5,2\nB,3,4\n", "A B", None),
        ("class,x,y\n7,1.5,2\n3,3,4\n", "7 3", None),
        ("species,x,y\n7,1.5,2\n3,3,4\n", "7 3", None),
        ("class_id,x,y\n7,1.5,2\n3,3,4\n", "7 3", "the numbers in column 'class_id' are taken"),
        ("label_id,x,y\n7,1.5,2\n3,3,4\n", "7 3", "the numbers in column 'label_id' are taken"),
        ("WNID,x,y\n7,1.5,2\n3,3,4\n", "7 3", "the numbers in column 'WNID' are taken for"),
        (",Class ID,x,y\n0,7,1.5,2\n1,3,3,4\n", "7 3", "counts the lines and is left out; the s"),
        (",class,x,y\n5,A,1.5,2\n2,B,3,4\n", "A B", "numbers the lines or the classes and is"),
        (",wnid,x,y\n5,7,1.5,2\n2,3,3,4\n", "7 3", "numbers the lines or the classes and is le"),
        ("id,name,x,y\n5,A,1.5,2\n2,B,3,4\n", "A B", "('id') numbers the lines or the classes"),
        ("id,beast,x,y\n5,A,1.5,2\n2,B,3,4\n", "A B", "('id') numbers the lines or the classes"),
        ("label,species,x,y\n5,A,1.5,2\n2,B,3,4\n", "A B", "('label') numbers the lines or the"),
        ("wnid,class,x,y\nn5,A,1.5,2\nn2,B,3,4\n", "A B", "('wnid') numbers the lines or the"),
        ("class,id,x,y\nA,5,1.5,2\nB,2,3,4\n", "A B", "not used as attributes: id ('class' n"),
        ("class,x,y,label\nA,1.5,2,5\nB,3,4,2\n", "A B", "attributes: label ('class' names"),
        ("class,wnid,x,y\nA,n5,1.5,2\nB,n2,3,4\n", "A B", "not used as attributes: wnid ('cl"),
        ("x,y\nA,1.5,2\nB,3,4\n", "A B", "the header has 2 cells, the lines 3: it is taken"),
    ],
)
def test_which_column_of_a_text_table_names_the_classes(tmp_path, text, names, note):
    found = read_csv(tmp_path, text)
    assert found.values.tolist() == [[1.5, 2], [3, 4]]
    assert found.names == tuple(names.split())
    assert found.columns == ("x", "y")
    require_told(found, note)


@pytest.mark.parametrize("name", ["class", "label", "class_id", "id", "species"])
def test_numbers_of_classes_in_another_column_than_the_first_are_refused(tmp_path, name):
    """Nothing tells whether they are the names or an attribute."""
    with pytest.raises(DescriptorError, match=f"'{name}' is called like class names") as caught:
        read_csv(tmp_path, f"x,y,{name}\n1,2,5\n3,4,2\n")
    assert "move it to the front" in caught.value.hint


def test_many_numbers_of_classes_are_told_in_one_line(tmp_path):
    """Whatever their number: each is not left out on its own."""
    ids = ["id"] * 30_000
    lines = [[name, *(str(k) for _ in ids), str(k), "3"] for k, name in enumerate(("A", "B", "C"))]
    text = "\n".join(",".join(cells) for cells in [["", *ids, "x", "y"], *lines])
    found = read_csv(tmp_path, text)
    assert found.columns == ("x", "y")
    (note,) = found.notes
    assert note.endswith("id, id, id, id, id and 29995 more (the first column names the classes)")


def test_lines_that_are_counted_without_a_header_are_told(tmp_path):
    found = read_csv(tmp_path, "0,.5,1\n1,3,4\n2,1,1\n")
    require_told(found, "the first column counts the lines, and is used as an attribute")


def test_a_label_that_repeats_is_told_to_be_an_attribute(tmp_path):
    note = "used as attributes, as their numbers repeat, or are not whole: label"
    found = read_csv(tmp_path, "class,label,x\nA,1,2\nB,1,4\nC,2,5\n")
    assert found.columns == ("label", "x")
    require_told(found, note)
    rows = [{"name": name, "label": 1, "x": x, "y": 1} for name, x in (("a", 1), ("b", 2))]
    found = read_json(tmp_path, rows)
    assert found.columns == ("label", "x", "y")
    require_told(found, note)
    table = pa.table({"name": NAMES, "label": [1, 1, 2], "v": [1, 2, 5]})
    parquet.write_table(table, tmp_path / "d.parquet")
    found = read_descriptors(tmp_path / "d.parquet")
    assert found.columns == ("label", "v")
    require_told(found, note)


@pytest.mark.parametrize(
    ("row", "name", "note"),
    [
        ({"id": 7, "name": "a"}, "a", "not used as attributes: id ('name' names the classes)"),
        ({"label": 7, "class": "a"}, "a", "not used as attributes: label ('class' names the cl"),
        ({"label": 7, "wnid": "a"}, "a", "not used as attributes: label ('wnid' names the cl"),
        ({"label": 7, "species": "a"}, "a", "not used as attributes: label ('species' names"),
        ({"Name": 7}, "7", None),
        ({"Class ID": 7}, "7", "the numbers in 'Class ID' are taken for class names"),
        ({"index": 7}, None, "not used as attributes: index"),
        ({"index": 7, "name": "a"}, "a", "not used as attributes: index ('name' names the cl"),
        ({"class": "a"}, "a", None),
    ],
)
def test_which_key_of_records_names_the_classes(tmp_path, row, name, note):
    later = {key: value + 1 if isinstance(value, int) else "b" for key, value in row.items()}
    found = read_json(tmp_path, [{**row, "x": 1, "y": 2}, {**later, "x": 3, "y": 4}])
    assert found.columns == ("x", "y")
    assert found.values.tolist() == [[1, 2], [3, 4]]
    assert (found.names or (None,))[0] == name
    require_told(found, note)


def test_names_of_records_may_be_numbers_and_texts(tmp_path):
    rows = [{"class": 7, "x": 1, "y": 2}, {"class": "seven", "x": 3, "y": 4}]
    assert read_json(tmp_path, rows).names == ("7", "seven")


def test_an_id_beside_names_that_are_keys_is_no_attribute(tmp_path):
    found = read_json(tmp_path, {"a": {"id": 7, "x": 1, "y": 2}, "b": {"id": 8, "x": 3}})
    assert found.names == ("a", "b")
    assert found.columns == ("x", "y")
    require_told(found, "not used as attributes: id (the outer key names the classes)")


def test_two_keys_that_may_name_the_classes_are_refused(tmp_path):
    rows = [{"label": 7 + x, "class": 3 + x, "x": x, "y": 1} for x in (1, 2)]
    with pytest.raises(DescriptorError, match="2 columns that may name the classes: label, class"):
        read_json(tmp_path, rows)


@pytest.mark.parametrize("names", [["a", "b"], [7, 8]])
def test_what_pandas_writes_without_an_orient_is_turned_where_that_is_plain(tmp_path, names):
    table = {"x": [1, 3], "class": names, "y": [2, 4]}
    content = {key: dict(zip("01", values, strict=True)) for key, values in table.items()}
    found = read_json(tmp_path, content)
    assert found.names == tuple(map(str, names))
    assert found.columns == ("x", "y")
    assert found.values.tolist() == [[1, 2], [3, 4]]
    require_told(found, "its outer keys are taken for columns, as 'class' is one of them")


def test_which_way_a_full_table_is_read_is_told(tmp_path):
    """By its shape alone it may be turned: ``DataFrame.to_json`` writes columns first."""
    found = read_json(tmp_path, {"x": {"a": 1, "b": 3, "c": 0}, "y": {"a": 2, "b": 4, "c": 1}})
    assert found.names == ("x", "y")
    require_told(found, "outer keys (x, y) are taken for classes, the inner ones (a, b, ...) for")


@pytest.mark.parametrize(
    "content",
    [
        {"label": {"a": 0, "b": 1}, "x": {"a": 1, "b": 2}, "y": {"a": 3, "b": 5}},
        {"name": [1, 2, 3], "x": [1, 3, 0], "y": [2, 4, 1]},
        {"name": ["a", "b", "c"], "x": [1, 3, 0], "y": [2, 4, 1]},
    ],
)
def test_columns_as_outer_keys_are_refused_where_they_may_be_classes(tmp_path, content):
    with pytest.raises(DescriptorError, match="outer keys may be classes or columns") as caught:
        read_json(tmp_path, content)
    assert 'to_json(orient="records")' in caught.value.hint


def test_rows_by_number_may_hold_their_names(tmp_path):
    content = {"0": {"class": 11, "x": 1, "y": 2}, "1": {"class": 5, "x": 3, "y": 4}}
    found = read_json(tmp_path, content)
    assert found.names == ("11", "5")
    assert found.columns == ("x", "y")


@pytest.mark.parametrize(
    ("columns", "names", "note"),
    [
        ({"__index_level_0__": [7, 8, 2]}, None, "not used as attributes: __index_level_0__"),
        ({"class": NAMES, "__index_level_0__": [7, 8, 2]}, NAMES, "attributes: __index_level_0__"),
        ({"name": NAMES, "id": [7, 8, 2]}, NAMES, "attributes: id ('name' names the classes)"),
        ({"name": NAMES, "index": [0, 1, 2]}, NAMES, "not used as attributes: index ("),
        ({"what": NAMES, "label": [7, 8, 2]}, NAMES, "attributes: label ('what' names the cla"),
        ({"class_id": [7, 8, 2]}, ("7", "8", "2"), "numbers in 'class_id' are taken for class na"),
        ({"id": [1, 2, 3], "label": [7, 8, 2]}, ("7", "8", "2"), "attributes: id ('label' names"),
        ({"__index_level_0__": NAMES}, NAMES, None),
        ({"class": [7, 8, 2]}, ("7", "8", "2"), None),
    ],
)
def test_which_column_of_parquet_names_the_classes(tmp_path, columns, names, note):
    table = pa.table({"v": [1, 2, 5], "w": [3.5, 4, 4], **columns})
    parquet.write_table(table, tmp_path / "d.parquet")
    found = read_descriptors(tmp_path / "d.parquet")
    assert found.columns == ("v", "w")
    assert found.values.tolist() == VALUES
    assert found.names == names
    require_told(found, note)


@pytest.mark.parametrize(
    ("lists", "names", "note"),
    [
        ({"labels": NAMES}, NAMES, None),
        ({"class_names": NAMES, "names": tuple("pqr")}, NAMES, "not used: names ('class_names'"),
        ({"names": tuple("pqrs"), "labels": NAMES}, NAMES, "not used: names ('labels' names the"),
        ({"labels": [3, 1, 2]}, None, "not used: labels"),
        ({"names": NAMES, "class_id": [3, 1, 2]}, NAMES, "not used: class_id ('names' names the"),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_which_list_beside_a_matrix_names_the_classes(tmp_path, suffix, lists, names, note):
    path = tmp_path / f"d{suffix}"
    arrays: dict[str, Any] = {key: np.array(entries) for key, entries in lists.items()}
    matrix = np.array(VALUES, dtype=np.float32)
    if suffix == ".npz":
        np.savez(path, descriptors=matrix, **arrays)
    else:
        texts = {k: json.dumps(v) for k, v in lists.items() if isinstance(v, tuple)}
        numbers = {key: arrays[key] for key in arrays if key not in texts}
        save_file({"descriptors": matrix, **numbers}, path, texts)
    found = read_descriptors(path)
    assert found.names == names
    assert found.values.tolist() == VALUES
    require_told(found, note)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_names_of_more_or_fewer_columns_are_refused(tmp_path, suffix):
    path = tmp_path / f"d{suffix}"
    matrix = np.array(VALUES, dtype=np.float32)
    if suffix == ".npz":
        np.savez(path, descriptors=matrix, columns=["x", "y", "z"])
    else:
        save_file({"descriptors": matrix}, path, {"columns": '["x", "y", "z"]'})
    with pytest.raises(DescriptorError, match="'columns' holds 3 names for 2 columns"):
        read_descriptors(path)

"""JSON tables as people write them: records, attributes that are misspelt, lists of names."""

from __future__ import annotations

import json

import pytest

from icis_cli import read_descriptors
from icis_cli.errors import DescriptorError


def read(folder, content):
    (folder / "d.json").write_text(json.dumps(content))
    return read_descriptors(folder / "d.json")


@pytest.mark.parametrize("key", ["name", "class", "label"])
def test_records_name_their_classes(tmp_path, key):
    """As pandas writes them with orient="records"."""
    found = read(tmp_path, [{key: "a", "y": 2, "x": 1.5}, {"x": 3, "y": True, key: "b"}])
    assert found.names == ("a", "b")
    assert found.columns == ("y", "x")  # as they come first
    assert found.values.tolist() == [[2, 1.5], [1, 3]]
    assert found.notes == ()


def test_a_number_names_a_class_only_where_no_text_does(tmp_path):
    found = read(tmp_path, [{"class": 7, "x": 1, "y": 2}, {"class": 8, "x": 3, "y": 4}])
    assert found.names == ("7", "8")
    assert found.columns == ("x", "y")


ANIMALS = {f"animal {n}": {"striped": n % 2, "legs": n} for n in range(1, 13)}


def test_a_misspelt_attribute_is_told(tmp_path):
    animals = {**ANIMALS, "zebra": {"stripd": 1, "legs": 4}}
    (note,) = read(tmp_path, animals).notes
    assert note == (
        f"{tmp_path / 'd.json'}: attribute 'stripd' is given for 1 of 13 classes ('zebra'); the "
        "others count as 0 (is it 'striped', misspelt?)"
    )


def test_what_half_of_the_classes_list_is_not_told(tmp_path):
    animals = {
        name: {**row, **({"wings": 1} if row["striped"] else {})} for name, row in ANIMALS.items()
    }
    assert read(tmp_path, animals).notes == ()


def test_many_rare_attributes_are_counted(tmp_path):
    animals = {name: {**row, name: 1} for name, row in ANIMALS.items()}
    notes = read(tmp_path, animals).notes
    assert len(notes) == 6
    assert notes[-1].endswith("7 more attributes are given for hardly any class")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["a", "b"], "holds no numbers: it looks like a list of class names"),
        ({"a": "it runs", "b": "it flies"}, "holds no numbers: it looks like"),
        ({"a": ["ox", "cow"], "b": ["fox"]}, "holds no numbers: it looks like"),
        ([{"name": "a", "x": None, "y": 1}], "class 'a': expected a list of numbers, found null"),
        ({"a": {"x": "red", "y": 1}}, "numbers, found \"red\" in 'x'"),
        ({"a": [1, 2], "b": 7}, "class 'b': expected a list of numbers, found 7"),
    ],
)  # fmt: skip
def test_what_is_no_table_says_why(tmp_path, content, message):
    with pytest.raises(DescriptorError) as caught:
        read(tmp_path, content)
    assert message in caught.value.message


def test_answers_in_words_are_refused_with_the_numbers_for_them(tmp_path):
    with pytest.raises(DescriptorError, match="found \"yes\" in 'x'") as caught:
        read(tmp_path, {"a": {"x": "yes", "y": 1}, "b": {"x": "no", "y": 2}})
    assert caught.value.hint == "replace yes by 1, no by 0"


def test_json_in_utf_16_is_read_and_latin_1_is_told(tmp_path):
    text = '{"Z\u00e8bre": [1, 2], "b": [3, 4]}'
    (tmp_path / "d.json").write_bytes(text.encode("utf-16"))
    assert read_descriptors(tmp_path / "d.json").names == ("Z\u00e8bre", "b")
    (tmp_path / "d.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DescriptorError) as caught:
        read_descriptors(tmp_path / "d.json")
    assert caught.value.message.endswith("is no readable JSON: it is not UTF-8")
    assert caught.value.hint == "save it in UTF-8"

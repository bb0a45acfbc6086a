"""Words for yes and no in tables: read as 1 and 0 with one note."""

from __future__ import annotations

import pytest

from icis_cli import read_descriptors
from icis_cli.errors import DescriptorError


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("class,a,b\nA,yes,No\nB,no,YES\nC,no,yes\n", "read as 1: yes; as 0: no (in a, b)"),
        ("A,yes,no\nB,no,yes\nC,no,yes\n", "read as 1: yes; as 0: no (in column 2, column 3)"),
        ("A,y,n\nB,n,y\nC,n,y\n", "read as 1: y; as 0: n (in column 2, column 3)"),
        ("class;a;b\nA;ja;1\nB;nein;7\nC;nein;4\n", "read as 1: ja; as 0: nein (in a)"),
        ("class,a,b\nA,x,\nB,,X\nC,,x\n", "read as 1: x; as 0: an empty cell (in a, b)"),
        ("class,a,b\nA,y,no\nB,n,yes\nC,n,yes\n", "read as 1: y, yes; as 0: n, no (in a, b)"),
        (",a,b\nA,yes,no\nB,no,yes\nC,no,yes\n", "read as 1: yes; as 0: no (in a, b)"),
        ("class,a,b\nA,TRUE,2\nB,FALSE,3\nC,false,3\n", "read as 1: true; as 0: false (in a)"),
    ],
)
def test_words_for_yes_and_no_are_read_with_one_note(tmp_path, text, note):
    (tmp_path / "d.csv").write_text(text)
    found = read_descriptors(tmp_path / "d.csv")
    assert found.names == ("A", "B", "C")
    assert found.values[:, 0].tolist() == [1, 0, 0]
    assert [one for one in found.notes if "read as" in one] == [f"{tmp_path / 'd.csv'}: {note}"]


def test_line_numbers_beside_answers_are_no_reason_to_take_those_for_names(tmp_path):
    (tmp_path / "d.csv").write_text(",a,b\n0,yes,no\n1,no,yes\n2,yes,yes\n")
    found = read_descriptors(tmp_path / "d.csv")
    assert found.names == ("0", "1", "2")
    assert found.values.tolist() == [[1, 0], [0, 1], [1, 1]]


def test_crosses_are_read_though_none_of_some_new_classes_has_an_attribute(tmp_path):
    (tmp_path / "d.csv").write_text("class,a,b,c\nA,x,,\nB,,,x\n")
    found = read_descriptors(tmp_path / "d.csv")
    assert found.values.tolist() == [[1, 0, 0], [0, 0, 1]]
    (tmp_path / "d.csv").write_text("class,a,b,c\nA,x,,2\nB,,,3\n")
    with pytest.raises(DescriptorError, match="found an empty cell in column 'b'"):
        read_descriptors(tmp_path / "d.csv")


def test_columns_may_be_called_y_and_n(tmp_path):
    (tmp_path / "d.csv").write_text("animal,y,n\nA,1,0\nB,0,1\n")
    found = read_descriptors(tmp_path / "d.csv")
    assert found.columns == ("y", "n")
    assert found.names == ("A", "B")


def test_answers_alone_have_no_names(tmp_path):
    (tmp_path / "d.csv").write_text("stripes,hooves,big\nyes,no,no\nno,yes,no\nyes,yes,yes\n")
    found = read_descriptors(tmp_path / "d.csv")
    assert found.names is None
    assert found.values.tolist() == [[1, 0, 0], [0, 1, 0], [1, 1, 1]]

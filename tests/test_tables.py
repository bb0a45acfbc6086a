"""Spreadsheets as people save them: what is understood, with a note, and what is refused, why."""

from __future__ import annotations

import pytest

from icis_cli import read_descriptors
from icis_cli.errors import DescriptorError


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("class;x;y\na;1,5;2\nb;3;,25\n", "0,5 is read as 0.5 (decimal comma)"),
        ("a;1,5;2\nb;3;0,25\n", "decimal comma"),
        ("1,5;2,0\n3,0;2,5e-1\n", "decimal comma"),
        ('class,x,y\na,"1,5",2\nb,3,"0,25"\n', "decimal comma"),
        (",class,x,y\n0,a,1.5,2\n1,b,3,.25\n", "the first column counts the lines"),
        ("Unnamed: 0,animal,x,y\n0,a,1.5,2\n1,b,3,.25\n", "the second names the classes"),
        ("index,x,y\n0,1.5,2\n1,3,.25\n", "the first column counts the lines and is left out"),
        ("class,x,y,\na,1.5,2,\nb,3,.25,\n", "the last column is empty and is left out"),
        ("class,x,y\na,1.5,2,\nb,3,.25,\n", "the last column is empty and is left out"),
        ("a,1.5,2,,\nb,3,.25,,\n", "the last column is empty and is left out"),
        ("class,x,y,\na,1.5,2\nb,3,.25\n", None),
    ],
)
def test_what_is_understood_is_told(tmp_path, text, note):
    (tmp_path / "d.csv").write_text(text)
    found = read_descriptors(tmp_path / "d.csv")
    assert found.values.tolist() == [[1.5, 2], [3, 0.25]]
    assert found.names == (("a", "b") if "a" in text.partition("\n")[2] + text[:1] else None)
    assert found.columns == (("x", "y") if "x" in text else None)
    assert all(str(tmp_path) in told for told in found.notes)
    assert note is None or note in found.notes[0]
    assert (note is None) == (not found.notes)


def test_true_and_false_are_numbers(tmp_path):
    """As pandas writes columns of bool."""
    (tmp_path / "d.csv").write_text("a,True,False\nb,False,TRUE\n")
    assert read_descriptors(tmp_path / "d.csv").values.tolist() == [[1, 0], [0, 1]]


def test_numbers_may_be_names_under_a_header_that_says_so(tmp_path):
    """Nothing else names the classes."""
    (tmp_path / "d.csv").write_text(",x,y\n0,1,2\n1,3,4\n")
    assert read_descriptors(tmp_path / "d.csv").names == ("0", "1")
    (tmp_path / "names.txt").write_text("a\nb\n")
    assert read_descriptors(tmp_path / "d.csv", tmp_path / "names.txt").names == ("a", "b")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("class,x,y\na,0,5,1,0\n", "header has 3 cells, but line 2 has 5", "with semicolons"),
        ("class,x,y,z,u\na,1,2\n", "header has 5 cells, but line 2 has 3", "one name for every"),
        ("c;x;y\na;1,500;2\nb;3;4\n", "found '1,500': a comma may be", "with decimal points"),
        ("c;x;y\na;1,5;2.5\nb;3;4\n", "found '1,5' and '2.5': a comma", "with decimal points"),
        (
            "class,x,y,colour\na,1,2,red\nb,3,4,blue\nc,5,6,red\n",
            "column 'colour' holds words ('red', 'blue'), expected numbers",
            "a column of 0 and 1 for each of these words",
        ),
        (
            "class,x,y,about\na,1,2,it runs\nb,3,4,it flies\nc,5,6,it swims\n",
            "column 'about' holds words ('it runs', 'it flies', 'it swims')",
            "sentences about classes into a file for --names",
        ),
        (
            "x,y,name\n1,2,a\n3,4,b\n5,6,c\n",
            "column 'name' holds words ('a', 'b', 'c')",
            "class names belong into the first column: move it there",
        ),
        ("class,x,y\na,1,\nb,3,\nc,5,\n", "column 'y' is empty", "fill it in, or take it out"),
        (
            "class,x,y\na,1,2\nb,3,\nc,5,6\n",
            "line 3: expected a number, found an empty cell in co",
            "fill in",
        ),
        ("class,x,y\na,1,2\nb,3,40%\nc,5,6\n", "line 3: expected a number, found '40%'", "as 0.5"),
        ("class\na\nb\n", "holds no numbers: it looks like a list of class names", "--names "),
    ],
)
def test_what_is_wrong_is_told_with_the_way_out(tmp_path, text, message, hint):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(DescriptorError) as caught:
        read_descriptors(tmp_path / "d.csv")
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["horse\nzebra\n", "sea lion | Zalophus\nfox\n\n"])
def test_a_list_of_names_has_no_numbers(tmp_path, text):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(DescriptorError, match="holds no numbers: it looks like a list") as caught:
        read_descriptors(tmp_path / "names.txt")
    assert f"--names {tmp_path / 'names.txt'} with --encoder" in caught.value.hint

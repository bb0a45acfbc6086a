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
        ("x;y\n1,5;2\n3;0,25\n", "decimal comma"),
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


@pytest.mark.parametrize("header", ["", "x;y\n"])
def test_numbers_with_a_decimal_comma_are_no_names(tmp_path, header):
    """Even where the first column is the only one that has commas."""
    (tmp_path / "d.csv").write_text(f"{header}1,5;2\n3,0;4\n")
    found = read_descriptors(tmp_path / "d.csv")
    assert found.names is None
    assert found.values.tolist() == [[1.5, 2], [3, 4]]
    assert "decimal comma" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "columns", "note"),
    [
        ("species,2001,2002\nA,1.5,2\nB,3,4\n", ("2001", "2002"), "(species, 2001, 2002) is taken"),
        ("animal,2001,2002\nA,1.5,2\nB,3,4\n", ("2001", "2002"), "(animal, 2001, 2002) is taken"),
        ("species,true,false\nA,1.5,2\nB,3,4\n", ("true", "false"), "the first line (species, tr"),
        ("class,0,1\nA,1.5,2\nB,3,4\n", ("0", "1"), None),
        ("animal,big,old\nA,1.5,2\nB,3,4\n", ("big", "old"), None),
    ],
)
def test_a_header_of_numbers_is_told(tmp_path, text, columns, note):
    (tmp_path / "d.csv").write_text(text)
    found = read_descriptors(tmp_path / "d.csv")
    assert found.names == ("A", "B")
    assert found.columns == columns
    assert (note is None) == (not found.notes)
    assert note is None or note in found.notes[0]


def test_a_counted_header_over_numbers_that_are_not_whole_is_told(tmp_path):
    (tmp_path / "d.csv").write_text("x,0,1,2\nA,.5,1,2\nB,3,4,2\n")
    found = read_descriptors(tmp_path / "d.csv")
    assert found.columns == ("0", "1", "2")
    assert "the first line (x, 0, 1, 2) is taken for the header" in found.notes[0]


def test_a_wide_header_that_counts_is_plain(tmp_path):
    """As pandas writes embeddings."""
    wide = ",".join(map(str, range(9)))
    (tmp_path / "d.csv").write_text(f"{wide}\n{wide[::-1]}\n{'1,2,' * 4}7\n")
    found = read_descriptors(tmp_path / "d.csv")
    assert found.columns == tuple(wide.split(","))
    assert found.notes == ()


def test_years_in_every_line_are_numbers(tmp_path):
    (tmp_path / "d.csv").write_text("A,2001,2002\nB,1999,2010\n")
    found = read_descriptors(tmp_path / "d.csv")
    assert found.names == ("A", "B")
    assert found.columns is None


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
        ("class,a\nx,0,5\ny,1,5\n", "header has 2 cells, but line 2 has 3", "with semicolons"),
        ("class,a,b\nx,0,5,1\ny,1,5,2\n", "header has 3 cells, but line 2 has 4", "or tabs"),
        ("a,NA,NA\nb,1,0\nc,0,1\n", "line 1: expected a number, found 'NA'", "fill in"),
        ("a,?,-\nb,1,0\nc,0,1\n", "line 1: expected a number, found '?'", "fill in"),
        ("a,yes,no\nb,1,0\nc,0,1\n", "line 1: expected a number, found 'yes'", "fill in"),
        ("a,0,1,2\nb,3,4,5\n", "first line (a, 0, 1, 2) may name the columns, or", "above it"),
        ("1,2,3\n4,5,7\n1,0,1\n", "first line (1, 2, 3) may name the columns, or desc", "above it"),
        ("c;x;y\na;1.000;2\nb;3.500;4\n", "found '1.000': the point may be", "1.0 or 1000 ins"),
        ("c,x,y\na,1_000,2\nb,3,4\n", "line 2: expected a number, found '1_000'", "fill in"),
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

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
        ("a,yes,no\nb,1,0\nc,0,1\n", "line 1: expected a number, found 'yes'", "yes by 1"),
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
        (
            "class,x,y\na,1,2\nb,3,40%\nc,5,6\n",
            "line 3: expected a number, found '40%'",
            "write 0.4",
        ),
        (
            "class,x,y\na,1,80%\nb,3,4 %\nc,5,0%\n",
            "column 'y' holds words ('80%', '4 %', '0%'), expected numbers",
            "write 0.8 for 80%",
        ),
        (
            "class,x,y\na,yes,2\nb,,4\nc,no,6\n",
            "line 3: found an empty cell in column 'x', expected yes or no",
            "replace yes by 1, no by 0",
        ),
        (
            "class,x,y\na,j,2\nb,n,4\nc,n,6\nd,1,6\n",
            "line 5: found '1' in column 'x', expected j or n",
            "replace j by 1, n by 0",
        ),
        (
            "class,x,y\na,1,2\nb,no,4\nc,0,6\n",
            "line 3: expected a number, found 'no' in column 'x'",
            "replace yes by 1, no by 0",
        ),
        (
            "class,x,y\na,x,2\nb,xl,4\nc,s,6\nd,s,6\n",
            "column 'x' holds words ('x', 'xl', 's')",
            "a column of 0 and 1 for each of these words",
        ),
        # Without a header, nothing tells whether somebody forgot to fill in a cell.
        ("a,x,\nb,,x\nc,x,x\nd,x,x\n", "column 2 holds words ('x')", "replace x by 1, an empty"),
        ("class,x,y\na,x,2\nb,3,\nc,5,2\n", "line 2: expected a number, found 'x'", "fill in"),
        ("class,x,y\na,x,\nb,,\nc,,\n", "2 descriptor row(s) are all zero", "describe it"),
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


ROWS = "Animal;Stripes;Hooves\nGoat;{};{}\nSkunk;{};{}\n"
WORDS, NUMBERS = ("no", "yes", "yes", "no"), (0, 1, 1, 0)


@pytest.mark.parametrize("cells", [WORDS, NUMBERS, ("0,5", "1", "1", "0"), ("80%", "0%", "1%", "")])
@pytest.mark.parametrize(
    ("above", "message", "hint"),
    [
        ("My animals;;\n", "line 1 looks like a title, line 2 like", "delete line 1"),
        ("My animals\n", "line 1 looks like a title, line 2 like", "delete line 1"),
        ("My animals, in spring\n", "line 1 looks like a title, line 2 like", "delete line 1"),
        ('"My animals; in spring"\n', "line 1 looks like a title, line 2 like", "delete line 1"),
        ("My animals\n;;\n\n", "line 1 looks like a title, line 4 like", "delete line 1"),
        (
            "My animals\n(of 2026)\n",
            "lines 1 to 2 look like a title, line 3 like",
            "delete lines 1 to 2",
        ),
    ],
)
def test_a_title_above_the_header_is_told(tmp_path, above, cells, message, hint):
    (tmp_path / "d.csv").write_text(above + ROWS.format(*cells))
    with pytest.raises(DescriptorError, match=message + " the column names") as caught:
        read_descriptors(tmp_path / "d.csv")
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "text",
    ["a,,\nb,1,2\nc,1,2\n", "a,,\nb,yes,no\nc,no,yes\n", "a\nfox, red\nwolf\nbear\n"],
)
def test_a_class_without_values_is_no_title(tmp_path, text):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(DescriptorError) as caught:
        read_descriptors(tmp_path / "d.csv")
    assert "title" not in caught.value.message


TABLE = "class;größe;y\nZèbre;1;2\nÖchse;3;4\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_encodings_of_spreadsheets_are_read_without_their_mark(tmp_path, encoding, mark):
    (tmp_path / "d.csv").write_bytes((mark + TABLE).encode(encoding))
    found = read_descriptors(tmp_path / "d.csv")
    assert found.names == ("Zèbre", "Öchse")
    assert found.columns == ("größe", "y")


def test_a_second_mark_is_no_part_of_the_first_title(tmp_path):
    """As where a program adds it to a file that had it."""
    (tmp_path / "d.csv").write_text("\ufeff\ufeffsize,legs\n1,2\n3,4\n", encoding="utf-8")
    assert read_descriptors(tmp_path / "d.csv").columns == ("size", "legs")


def test_both_orders_of_utf_16_are_read(tmp_path):
    for order in ("be", "le"):
        (tmp_path / "d.csv").write_bytes(("\ufeff" + TABLE).encode(f"utf-16-{order}"))
        assert read_descriptors(tmp_path / "d.csv").names == ("Zèbre", "Öchse")


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (TABLE.encode("latin-1"), "it is not UTF-8", "Save as > CSV UTF-8"),
        (TABLE.encode("utf-16")[:-1], "it begins as UTF-16, and is not", "save it in UTF-8"),
    ],
)
def test_another_encoding_is_told_without_jargon(tmp_path, content, message, hint):
    (tmp_path / "d.csv").write_bytes(content)
    with pytest.raises(DescriptorError) as caught:
        read_descriptors(tmp_path / "d.csv")
    assert caught.value.message.endswith(message)
    assert hint in caught.value.hint

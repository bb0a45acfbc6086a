"""Taxonomies: which columns there are, how classes are found, and tables that are none."""

from __future__ import annotations

import numpy as np
import pytest

from icis_cli import describe_names
from icis_cli.encoders.names_file import read_names
from icis_cli.encoders.registry import encode_classes
from icis_cli.errors import DescriptorError

LINKS = """child,parent
dog,canine
grey wolf,canine
canine,carnivore
cat,feline
feline,carnivore
carnivore,animal
horse,animal
dog,pet
cat,pet
animal,entity
pet,entity
rock,mineral
mineral,entity
"""


@pytest.fixture
def tree(tmp_path):
    path = tmp_path / "tree.csv"
    path.write_text(LINKS)
    return path


def encoded(path, *names, encoding=None):
    """Describe classes of a names file, where synonyms follow a name behind bars."""
    listed = path.with_name("names.txt")
    listed.write_text("\n".join(names) + "\n")
    if encoding is None:
        return describe_names(listed, str(path))
    return encode_classes(read_names(listed), listed, encoding)


def described(found):
    """The columns in which each class has a 1."""
    return {
        name: {column for column, value in zip(found.columns, row, strict=True) if value}
        for name, row in zip(found.names, found.values, strict=True)
    }


def test_classes_are_described_by_the_ancestors_that_some_but_not_all_share(tree):
    found = encoded(tree, "dog", "grey wolf", "cat", "horse", "rock")
    assert described(found) == {
        "dog": {"canine", "carnivore", "animal", "pet"},
        "grey wolf": {"canine", "carnivore", "animal"},
        "cat": {"carnivore", "animal", "pet"},
        "horse": {"animal"},
        "rock": {"rock"},  # like nothing else; what all are below (entity) tells nothing
    }
    assert set(np.unique(found.values)) == {0, 1}
    assert any("'rock'" in note for note in found.notes)


def test_a_class_that_is_above_another_counts_itself(tree):
    found = encoded(tree, "dog", "carnivore", "horse", "rock")
    assert described(found)["carnivore"] == {"carnivore", "animal"}


def test_names_may_be_spelt_otherwise_or_by_a_synonym(tree):
    found = encoded(tree, "Grey_Wolf", "tabby|kitty|cat", "horse", "rock")
    assert described(found)["Grey_Wolf"] == described(found)["tabby"] == {"carnivore", "animal"}


def test_further_classes_get_the_columns_of_the_first(tree):
    first = encoded(tree, "dog", "cat", "horse", "rock")
    tree.write_text(LINKS + "lion,feline\nquartz,mineral\n")  # the tree may grow
    again = encoded(tree, "lion", encoding=first.encoding)
    assert again.columns == first.columns
    assert described(again) == {"lion": {"carnivore", "animal"}}
    with pytest.raises(DescriptorError, match=r"no ancestor in common .* 'quartz'"):
        encoded(tree, "lion", "quartz", encoding=first.encoding)
    tree.write_text(LINKS.replace("pet", "beast"))
    with pytest.raises(DescriptorError, match="lacks 1 nodes that it had before, first 'pet'"):
        encoded(tree, "dog", encoding=first.encoding)


def test_a_class_without_a_node_is_told_with_a_near_one(tree):
    with pytest.raises(DescriptorError, match=r"no node for 2 of 3 .*'hors' \(did you mean 'horse"):
        encoded(tree, "dog", "hors", "unicorn")


def test_an_ambiguous_class_is_refused(tree):
    tree.write_text(LINKS + "grey-wolf,feline\n")
    with pytest.raises(DescriptorError, match="matches several nodes: 'grey wolf', 'grey-wolf'"):
        encoded(tree, "Grey_wolf", "dog")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected 'child,parent'"),
        ("dog,canine\ncat,feline\n", "first line is 'dog,canine', expected 'child,parent'"),
        ("child,parent\n", "no link below it"),
        ("child,parent\ndog,canine,x\n", "line 2: expected a child and a parent, found 3 cells"),
        ("child,parent\ndog,\n", "line 2: expected a child and a parent"),
        ('child,parent\n"dog,canine\n', "no readable text table"),
        ("child,parent\ndog,dog\n", "its own ancestor: dog > dog"),
        ("child,parent\nx,a\na,b\nb,c\nc,a\n", "its own ancestor: a > b > c > a"),
        (b"child,parent\n\xff,a\n", "it is not UTF-8"),
    ],
)
def test_a_table_that_is_no_taxonomy_is_one_line(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DescriptorError, match=message):
        encoded(path, "dog", "cat")


def test_two_ways_up_are_no_cycle_and_a_long_one_needs_no_recursion(tmp_path):
    path = tmp_path / "t.tsv"
    chain = [f"n{n}\tn{n + 1}" for n in range(5000)]
    links = ["a\tleft", "a\tright", "left\tn0", "right\tn0", "b\tn0", *chain, "c\tn4999"]
    path.write_text("\n".join(["child\tparent", *links]) + "\n")
    found = encoded(path, "a", "b", "c")
    assert {"n0", "n4998"} <= set(found.columns or ())
    assert "n4999" not in (found.columns or ())
    path.write_text("\n".join(["child\tparent", *links, "n5000\tn0"]) + "\n")
    with pytest.raises(
        DescriptorError, match=r"own ancestor: n0 > n1 > n2 > n3 > n4 > \.\.\. > n0"
    ):
        encoded(path, "a", "b", "c")

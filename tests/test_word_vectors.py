"""Word vectors: formats, how names are looked up, and damaged files."""

from __future__ import annotations

import hashlib
import json
import tracemalloc

import numpy as np
import pytest

from icis_cli import describe_names
from icis_cli.encoders import word_vectors
from icis_cli.encoders.names_file import read_names
from icis_cli.encoders.registry import encode_classes
from icis_cli.errors import DescriptorError, UsageError

GLOVE = """dog 1 0 0 0
wolf 0 1 0 0
sea 0 0 1 0
lion 0 0 0 1
sea_lion 1 1 1 1
red 2 0 0 0
fox 0 0 4 0
black 1 1 0 0
footed 0 0 1 1
albatross 0 1 1 0
Paris 3 0 0 4
. . . 9 9 9 9
"""


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(GLOVE)
    return path


def listed(folder, classes):
    """Write a names file; a mapping has synonyms in lists, and texts."""
    path = folder / "names.json"
    content = classes if isinstance(classes, dict) else {name: [] for name in classes}
    path.write_text(json.dumps(content))
    return path


def encoded(path, *classes):
    """Describe classes, given as names, or as one mapping with synonyms and texts."""
    given = classes[0] if isinstance(classes[0], dict) else classes
    return describe_names(listed(path.parent, given), str(path))


def unit(*values):
    row = np.array(values, dtype=np.float64)
    return row / np.linalg.norm(row)


def test_a_name_is_looked_up_as_a_whole_then_word_by_word(glove):
    found = encoded(glove, "dog", "Sea lion", "Red_fox", "001.Black-footed_Albatross", "paris")
    np.testing.assert_allclose(found.values[0], [1, 0, 0, 0])
    np.testing.assert_allclose(found.values[1], [0.5] * 4)  # sea_lion, not sea and lion
    np.testing.assert_allclose(found.values[2], unit(1, 0, 2, 0), rtol=1e-6)
    # the mean of black, footed and albatross
    np.testing.assert_allclose(found.values[3], unit(1, 2, 2, 1), rtol=1e-6)
    np.testing.assert_allclose(found.values[4], unit(3, 0, 0, 4), rtol=1e-6)
    assert found.names is not None
    assert found.names[1] == "Sea lion"


def test_synonyms_are_averaged_as_directions_and_unknown_ones_do_not_count(glove):
    given = {"fox": ["dog", "vulpes"], "dog": []}
    np.testing.assert_allclose(encoded(glove, given).values[0], unit(1, 0, 1, 0), rtol=1e-6)


def test_texts_count_for_half(glove):
    expected = unit(*(unit(0, 0, 1, 0) + unit(1, 1, 0, 0)))
    found = encoded(glove, {"fox": "dog wolf", "dog": []})
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-6)


def test_word2vec_has_a_header_and_spaces_at_its_line_ends(tmp_path, glove):
    path = tmp_path / "vectors.vec"
    lines = GLOVE.splitlines()[:-1]
    path.write_text(f"{len(lines)} 4\n" + "".join(f"{line} \n" for line in lines))
    names = ("dog", "sea lion", "red fox")
    np.testing.assert_array_equal(encoded(path, *names).values, encoded(glove, *names).values)


def test_missing_words_are_told(glove):
    found = encoded(glove, "spotted dog", "grey wolf")
    assert any("2 words" in note and "'spotted', 'grey'" in note for note in found.notes)
    with pytest.raises(DescriptorError, match=r"no word of 2 class\(es\) of .*names.json: 'okapi'"):
        encoded(glove, "dog", "okapi", "quagga")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("dog\n", "is no file of word vectors"),
        ("dog,1,2\n", "is no file of word vectors"),
        ("dog 1 x\n", "is no file of word vectors"),
        ("dog 1 2\nwolf 1\n", "line 2 has 1 numbers, expected 2"),
        ("dog 1 2\nwolf\n", "line 2 has 0 numbers"),
        ("dog 1 2\nwolf 1 2\n\nfox 1 2\n", "line 3 has 0 numbers"),
        ("dog 1 2\nwolf 1 nan\n", "line 2: expected 2 finite numbers"),
        ("dog 1 2\nwolf 1 1e60\n", "line 2: expected 2 finite numbers"),
        ("dog 1 2\nwolf 1 two\n", "line 2: expected 2 finite numbers"),
        ("dog 1 2\nwolf 0 0\n", "line 2: expected 2 finite numbers"),
        ("3 2\ndog 1 2\nwolf 2 1\n", "holds 2 words, but its first line says 3"),
    ],
)
def test_a_damaged_file_is_one_line_with_its_number(tmp_path, content, message):
    path = tmp_path / "w.txt"
    path.write_text(content)
    with pytest.raises(DescriptorError, match=message) as caught:
        encoded(path, "dog", "wolf")
    assert caught.value.path == path


def test_lines_are_found_across_the_chunks_that_are_read(glove, monkeypatch):
    names = ("dog", "sea lion", "Paris")
    whole = encoded(glove, *names).values
    monkeypatch.setattr(word_vectors, "_CHUNK", 7)
    np.testing.assert_array_equal(encoded(glove, *names).values, whole)


def test_a_file_without_lines_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "w.txt"
    path.write_bytes(b"1 " * (1 << 20))
    monkeypatch.setattr(word_vectors, "_CHUNK", 1 << 18)
    with pytest.raises(DescriptorError, match="no text of lines"):
        encoded(path, "dog", "wolf")


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    path = tmp_path / "w.txt"
    row = " ".join(["0.125"] * 50)
    with path.open("w") as stream:
        stream.writelines(f"word{n} {row}\n" for n in range(40_000))
        stream.write(f"dog {row}\nwolf 1 {row[6:]}\n")
    monkeypatch.setattr(word_vectors, "_CHUNK", 1 << 16)
    encoding = encoded(path, "dog", "wolf").encoding
    names = listed(tmp_path, ["dog", "wolf"])
    classes = read_names(names)
    tracemalloc.start()
    encode_classes(classes, names, encoding)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 12e6
    assert peak < 2e6


def test_another_file_than_before_is_noticed(glove):
    first = encoded(glove, "dog", "wolf")
    assert first.encoding is not None
    assert first.encoding.digest == hashlib.sha256(GLOVE.encode()).hexdigest()
    names = listed(glove.parent, ["fox"])
    again = encode_classes(read_names(names), names, first.encoding)
    np.testing.assert_allclose(again.values[0], [0, 0, 1, 0])
    glove.write_text(GLOVE.replace("fox 0 0 4 0", "fox 0 4 0 0"))
    with pytest.raises(DescriptorError, match="another encoder than the one that was used before"):
        encode_classes(read_names(names), names, first.encoding)


def test_prompts_are_refused(glove):
    with pytest.raises(UsageError, match="word vectors take no sentences"):
        describe_names(listed(glove.parent, ["dog"]), str(glove), ["a photo of a {}."])

"""Which class a folder of images is: by name, by a list, or by number."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import icis_cli as icis
from icis_cli.errors import AlignmentError, DescriptorError, FeatureError
from icis_cli.evaluation.image_batches import Damaged, ImageFiles

NAMES = ("great white shark", "tench, Tinca tinca", "7-up", "zebra", "n0 one")


def images(root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(root / folder / "a.png")
    return root


@pytest.mark.parametrize("between", [", ", "\t", " ", ",", "   "])
def test_a_list_says_which_class_a_folder_is(tmp_path, between):
    root = images(tmp_path / "images", "n01440764", "n01484850", "n 9,x")
    lines = ["n01484850=great_white_shark", "n01440764=tench, Tinca tinca", "n 9,x=zebra",
             "n99999999=not there", "n01484850=great_white_shark", "a word"]  # fmt: skip
    (tmp_path / "classes.txt").write_text("\n".join(line.replace("=", between) for line in lines))
    found = icis.find_images(root, NAMES, tmp_path / "classes.txt")
    by_folder = {path.parent.name: row for path, row in zip(found.paths, found.labels, strict=True)}
    assert sorted(by_folder.values()) == [0, 1, 3]
    assert by_folder["n01440764"] == 1
    assert by_folder["n01484850"] == 0
    assert found.notes == ()


def test_lists_that_do_not_say_it_are_refused(tmp_path):
    root, path = images(tmp_path / "images", "n1", "n2"), tmp_path / "classes.txt"
    path.write_text("n1, zebra\n")
    with pytest.raises(FeatureError, match=r"lists no class for 1 of the 2 folders .* first 'n2'"):
        icis.find_images(root, NAMES, path)
    path.write_text("n1, zebra\nn2, 7-up\nn1, tench\n")
    with pytest.raises(FeatureError, match="lists the folder 'n1' twice"):
        icis.find_images(root, NAMES, path)
    path.write_text("n1, zebra\nn2, unicorn\n")
    with pytest.raises(AlignmentError, match="'unicorn'"):
        icis.find_images(root, NAMES, path)
    with pytest.raises(DescriptorError, match="cannot be read"):
        icis.find_images(root, NAMES, tmp_path / "nowhere.txt")
    with pytest.raises(AlignmentError, match="'n1'") as caught:
        icis.find_images(root, NAMES)
    assert "--folders FILE" in caught.value.hint
    assert "--seen" not in caught.value.hint  # icis eval has no such option


def test_numbers_are_rows_where_no_class_has_such_a_name(tmp_path):
    found = icis.find_images(images(tmp_path / "a", "0", "03"), NAMES)
    assert found.labels.tolist() == [0, 3]
    assert found.notes == ("folders are numbers: taken as rows of the head, counted from 0",)
    found = icis.find_images(images(tmp_path / "b", "1", "2"), ("2", "0", "1"))
    assert found.labels.tolist() == [2, 0]  # there are classes of these names
    assert found.notes == ()
    for folders in (("5",), ("1", "01")):
        with pytest.raises(AlignmentError, match="the head has rows 0 to 4"):
            icis.find_images(images(tmp_path / "-".join(folders), *folders), NAMES)
    with pytest.raises(AlignmentError, match="'1'"):
        icis.find_images(images(tmp_path / "c", "1", "zebra"), NAMES)


def test_a_part_of_a_data_set_that_is_alone_is_gone_into(tmp_path):
    root = images(tmp_path / "one", "val/zebra", "val/7-up")
    found = icis.find_images(root, NAMES)
    assert found.labels.tolist() == [2, 3]
    assert found.notes == (f"classes are the folders in {root / 'val'}",)
    images(root, "train/zebra")
    with pytest.raises(FeatureError, match="holds train, val, expected one folder") as caught:
        icis.find_images(root, NAMES)
    assert caught.value.hint == f"pass --images {root / 'val'}"
    assert icis.find_images(images(tmp_path / "two", "test"), ("test", "zebra")).labels[0] == 0


def test_a_picture_like_a_thread_is_not_blown_up(tmp_path):
    Image.fromarray(np.zeros((1, 60000, 3), np.uint8)).save(tmp_path / "a.png")
    found = ImageFiles((tmp_path / "a.png",), np.asarray)[0]
    assert isinstance(found, Damaged)
    assert found.problem == "is 60000 x 1 pixels, far too long for its width"
    Image.fromarray(np.zeros((1, 400, 3), np.uint8)).save(tmp_path / "b.png")
    assert ImageFiles((tmp_path / "b.png",), np.asarray)[0].shape == (1, 400, 3)

"""The protocol's library part: xlsa17 folders, the base head, published figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from icis_cli import read_xlsa17
from icis_cli.errors import DescriptorError, FeatureError, TrainingError
from icis_cli.evaluation.metrics import per_class_mean
from icis_cli.methods.base import Step
from icis_cli.protocol.base_head import BaseRecipe, train_base_head
from icis_cli.protocol.folders import find_datasets
from icis_cli.protocol.published import PUBLISHED, published_for

savemat = pytest.importorskip("scipy.io").savemat

NAMES = ("zebra", "ant", "newt", "bee", "yak", "cat")
SEEN, UNSEEN = (0, 2, 3, 5), (1, 4)
PER_CLASS, WIDTH, ATTRIBUTES = 10, 12, 7


def cells(names):
    """MATLAB's cell array (C, 1) of strings."""
    array = np.empty((len(names), 1), dtype=object)
    array[:, 0] = [np.array([name]) for name in names]
    return array


def content():
    """Two files' variables; class k lies at 10 * e_k, and its descriptor starts with k + 1."""
    generator = np.random.default_rng(3)
    labels = generator.permutation(np.repeat(np.arange(len(NAMES)), PER_CLASS))
    features = generator.standard_normal((len(labels), WIDTH)) + 10 * np.eye(WIDTH)[labels]
    att = generator.random((ATTRIBUTES, len(NAMES)))
    att[0] = np.arange(1, len(NAMES) + 1)
    rows = {k: np.flatnonzero(labels == k) for k in range(len(NAMES))}
    splits = {
        "trainval_loc": np.concatenate([rows[k][:7] for k in SEEN]),
        "test_seen_loc": np.concatenate([rows[k][7:] for k in SEEN]),
        "test_unseen_loc": np.concatenate([rows[k] for k in UNSEEN]),
    }
    return (
        {"features": features.T, "labels": (labels + 1.0)[:, None]},
        {
            "att": att,
            "allclasses_names": cells(NAMES),
            **{name: (loc + 1)[:, None].astype(np.uint16) for name, loc in splits.items()},
        },
    )


def write(folder, samples=None, splits=None, name="res101.mat"):
    """Write a data set; a value of None takes a variable out."""
    folder.mkdir(parents=True, exist_ok=True)
    given = zip(content(), (samples or {}, splits or {}), (name, "att_splits.mat"), strict=True)
    for variables, changes, file in given:
        merged = {**variables, **changes}
        savemat(
            folder / file,
            {key: value for key, value in merged.items() if value is not None},
            do_compression=True,
        )
    return folder


def test_orders_follow_the_files(tmp_path):
    data = read_xlsa17(write(tmp_path / "TOY"))
    samples, splits = content()
    assert data.name == "TOY"
    assert data.features.shape == (60, WIDTH)
    assert data.features.dtype == np.float32
    assert data.features.flags.c_contiguous
    assert data.class_names == NAMES
    assert data.descriptors[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert (data.features.argmax(axis=1) == data.labels).all()  # label k is column k of att
    assert (data.labels == samples["labels"].ravel() - 1).all()
    assert (data.trainval == splits["trainval_loc"].ravel() - 1.0).all()
    assert data.seen_classes.tolist() == list(SEEN)
    assert data.unseen_classes.tolist() == list(UNSEEN)
    assert data.head_classes.tolist() == [*SEEN, *UNSEEN]
    assert data.head_classes[data.head_rows(data.test_unseen)].tolist() == (
        data.labels[data.test_unseen].tolist()
    )
    assert data.head_rows(data.test_unseen).min() == len(SEEN)
    assert data.notes == ()


def test_base_head_on_a_read_data_set(tmp_path):
    data = read_xlsa17(write(tmp_path / "TOY"))
    labels = data.head_rows(data.trainval)
    rows = train_base_head(data.features[data.trainval], labels, len(SEEN), seed=0)
    logits = data.features[data.test_seen] @ rows[:, :-1].T + rows[:, -1]
    assert (logits.argmax(axis=1) == data.head_rows(data.test_seen)).all()


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (None, "there are none"),
        (np.arange(6.0)[:, None], "not every one is a text"),
        (cells(NAMES[:5]), "5 class names for 6"),
        (cells([*NAMES[:5], "ant"]), "'ant' occurs 2 times"),
    ],
)
def test_class_names_that_cannot_be_used_become_numbers(tmp_path, names, reason):
    data = read_xlsa17(write(tmp_path, splits={"allclasses_names": names}))
    assert data.class_names == tuple(f"class_{row}" for row in range(6))
    assert len(data.notes) == 1
    assert reason in data.notes[0]


def test_flo_has_embeddings_that_are_not_of_unit_norm(tmp_path):
    embeddings = np.random.default_rng(0).normal(0, 3, (1024, 6))
    data = read_xlsa17(
        write(tmp_path / "FLO", splits={"att": embeddings, "allclasses_names": None})
    )
    assert np.allclose(data.descriptors, embeddings.T)


def test_classes_of_no_split_are_noted(tmp_path):
    _, splits = content()
    samples, _ = content()
    labels = samples["labels"].ravel() - 1
    kept = [loc for loc in splits["test_unseen_loc"].ravel() if labels[loc - 1] == UNSEEN[0]]
    data = read_xlsa17(write(tmp_path, splits={"test_unseen_loc": np.array(kept)}))
    assert data.unseen_classes.tolist() == [UNSEEN[0]]
    assert "1 of 6 classes are in no split" in data.notes[0]


def test_features_file_of_another_name(tmp_path):
    folder = write(tmp_path / "CUB", name="vgg.mat")
    savemat(folder / "other.mat", {"x": np.eye(2)})
    assert read_xlsa17(folder).features_path == folder / "vgg.mat"
    write(folder, name="finetuned.mat")
    with pytest.raises(FeatureError, match=r"expected one: finetuned\.mat, vgg\.mat"):
        read_xlsa17(folder)
    assert read_xlsa17(folder, folder / "vgg.mat").features_path == folder / "vgg.mat"
    write(folder)
    assert read_xlsa17(folder).features_path == folder / "res101.mat"


def test_no_features_file_lists_what_is_there(tmp_path):
    folder = write(tmp_path / "CUB")
    (folder / "res101.mat").unlink()
    with pytest.raises(FeatureError, match=r"expected res101\.mat.*found att_splits\.mat"):
        read_xlsa17(folder)
    savemat(folder / "other.mat", {"x": np.eye(2)})
    (folder / "damaged.mat").write_bytes(b"nothing of the kind")
    with pytest.raises(FeatureError, match=r"damaged\.mat \(is no readable.*other\.mat with x"):
        read_xlsa17(folder)


@pytest.mark.parametrize("place", ["", "data", "xlsa17/data"])
def test_data_sets_are_found_from_above(tmp_path, place):
    for name in ("SUN", "CUB"):
        write(tmp_path / place / name)
    (tmp_path / place / "empty").mkdir()
    assert [path.name for path in find_datasets(tmp_path)] == ["CUB", "SUN"]
    single = tmp_path / place / "CUB"
    assert find_datasets(single) == (single,)


def test_a_name_is_known_even_of_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path / "SUN"))
    assert find_datasets(".") == (Path(),)
    assert read_xlsa17(".").name == "SUN"


def test_no_data_set(tmp_path):
    with pytest.raises(FeatureError, match="expected a folder with xlsa17 data, found nothing"):
        find_datasets(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(FeatureError, match=r"holds no data set.*found notes\.txt"):
        find_datasets(tmp_path)
    with pytest.raises(FeatureError, match="found a file"):
        find_datasets(tmp_path / "notes.txt")
    with pytest.raises(FeatureError, match=r"att_splits\.mat: no such file"):
        read_xlsa17(tmp_path)


def changed(name, position, value):
    """One of the files' arrays with one number changed."""
    samples, splits = content()
    array = {**samples, **splits}[name].copy()
    array.flat[position] = value
    return {name: array}


FIRST_UNSEEN_SAMPLE = int(content()[1]["test_unseen_loc"].flat[0])
FIRST_TRAINVAL_SAMPLE = int(content()[1]["trainval_loc"].flat[0])


@pytest.mark.parametrize(
    ("samples", "splits", "message"),
    [
        ({"labels": None}, {}, "res101.mat: expected 'features' and 'labels', labels not"),
        ({"features": np.eye(60)[:, :59]}, {}, "(60, 59), expected (D, 60)"),
        ({"features": np.ones((60, WIDTH))}, {}, "(60, 12), expected (D, 60)"),
        ({"features": cells(["x"] * 60)}, {}, "'features' is (60, 1) object"),
        ({"features": np.ones((2, 2, 60))}, {}, "'features' is (2, 2, 60) float64"),
        (changed("features", 65, np.nan), {}, "'features' of sample 6 (and of 0 more)"),
        (changed("features", 65, 1e300), {}, "expected finite float32"),
        ({"labels": content()[0]["labels"] - 1}, {}, "'labels' are 0 to 5, expected 1 to 6"),
        (changed("labels", 3, 7), {}, "'labels' are 1 to 7, expected 1 to 6"),
        (changed("labels", 3, 1.5), {}, "'labels' holds 1.5 at position 4"),
        (changed("labels", 3, np.nan), {}, "'labels' holds nan at position 4"),
        ({"labels": np.ones((6, 10))}, {}, "'labels' is (6, 10) float64"),
        ({"labels": np.ones((0, 1))}, {}, "n at least 1"),
        ({}, {"test_seen_loc": None}, "found trainval_loc, test_unseen_loc"),
        ({}, changed("trainval_loc", 0, 61), "'trainval_loc' has sample numbers"),
        ({}, changed("trainval_loc", 0, 0), "expected 1 to 60 (counted from 1)"),
        ({}, changed("test_unseen_loc", 1, FIRST_UNSEEN_SAMPLE), "twice, expected once"),
        ({}, changed("test_seen_loc", 1, FIRST_TRAINVAL_SAMPLE), "have 1 samples in common"),
        ({}, {"test_unseen_loc": np.zeros((0, 1))}, "'test_unseen_loc' is (0,"),
    ],
)
def test_bad_arrays(tmp_path, samples, splits, message):
    with pytest.raises(FeatureError) as caught:
        read_xlsa17(write(tmp_path, samples, splits))
    assert message in caught.value.message
    assert caught.value.path.parent == tmp_path


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"att": None}, "expected 'att' (attributes, classes)"),
        ({"att": content()[1]["att"].T}, "expected one column per class"),
        (changed("att", 8, np.nan), "newt, column 1: NaN"),
        ({"att": np.zeros((3, 6))}, "all zero"),
        ({"att": np.full((7, 6), "x", dtype=object)}, "expected a matrix of numbers"),
        ({"att": np.ones((2, 2, 2))}, "'att' is (2, 2, 2)"),
    ],
)
def test_bad_descriptors(tmp_path, splits, message):
    with pytest.raises(DescriptorError) as caught:
        read_xlsa17(write(tmp_path, splits=splits))
    assert caught.value.path == tmp_path / "att_splits.mat"
    assert message in caught.value.message


def test_an_unseen_class_in_trainval(tmp_path):
    _, splits = content()
    moved = splits["test_unseen_loc"][0]
    changes = {
        "trainval_loc": np.vstack([splits["trainval_loc"], [moved]]),
        "test_unseen_loc": splits["test_unseen_loc"][1:],
    }
    with pytest.raises(FeatureError, match=r"1 classes are both in 'trainval_loc' and in .*'ant'"):
        read_xlsa17(write(tmp_path, splits=changes))
    changes["test_seen_loc"] = np.vstack([splits["test_seen_loc"], [moved]])
    changes["trainval_loc"] = splits["trainval_loc"]
    with pytest.raises(FeatureError, match=r"1 classes of 'test_seen_loc' are not in .*'ant'"):
        read_xlsa17(write(tmp_path, splits=changes))


@pytest.mark.parametrize("file", ["res101.mat", "att_splits.mat"])
def test_damaged_files(tmp_path, file):
    folder = write(tmp_path)
    whole = (folder / file).read_bytes()
    for length in (0, 3, 100, 128, 140, len(whole) // 2, len(whole) - 5):
        (folder / file).write_bytes(whole[:length])
        with pytest.raises((FeatureError, DescriptorError)) as caught:
            read_xlsa17(folder)
        assert caught.value.path == folder / file
    for seed in range(60):
        generator = np.random.default_rng(seed)
        damaged = bytearray(whole)
        for position in generator.integers(0, len(whole), 4):
            damaged[position] = generator.integers(256)
        (folder / file).write_bytes(damaged)
        try:
            read_xlsa17(folder)
        except (FeatureError, DescriptorError) as error:
            assert error.path == folder / file  # noqa: PT017 (it need not fail)


def test_a_type_code_that_ends_the_process_in_scipy(tmp_path):
    folder = write(tmp_path)
    savemat(folder / "res101.mat", content()[0])  # not compressed
    damaged = bytearray((folder / "res101.mat").read_bytes())
    assert damaged[184:188] == b"\x09\0\0\0"  # numbers of 8 bytes
    damaged[185] = 2
    (folder / "res101.mat").write_bytes(damaged)
    with pytest.raises(FeatureError, match="numbers have type code 521"):
        read_xlsa17(folder)


@pytest.mark.parametrize("file", ["res101.mat", "att_splits.mat"])
@pytest.mark.parametrize(
    "start",
    [
        b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM",
        b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n",
        b"\x89HDF\r\n\x1a\n",
    ],
)
def test_matlab_7_3(tmp_path, file, start):
    folder = write(tmp_path)
    (folder / file).write_bytes(start + bytes(600))
    with pytest.raises(FeatureError, match=r"is no readable MATLAB v7\.3 file \(") as caught:
        read_xlsa17(folder)
    assert caught.value.path == folder / file
    assert "-v7" in caught.value.hint


def blobs(classes=5, per_class=30, width=20, spread=1.0):
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(classes), per_class)
    centres = generator.standard_normal((classes, width)) * 2
    noise = spread * generator.standard_normal((len(labels), width))
    return (centres[labels] + noise).astype(np.float32), labels


def accuracy(rows, features, labels):
    answers = (features @ rows[:, :-1].T + rows[:, -1]).argmax(axis=1)
    return per_class_mean(answers == labels, labels, len(rows))


def test_base_head_separates_what_can_be_separated():
    features, labels = blobs()
    rows = train_base_head(features[::2], labels[::2], 5, seed=0)
    assert rows.shape == (5, 21)
    assert rows.dtype == np.float32
    assert accuracy(rows, features[1::2], labels[1::2]) == 1
    two = train_base_head(features[:60] + 100, labels[:60], 2, seed=0)
    assert accuracy(two, features[:60] + 100, labels[:60]) == 1


@pytest.mark.parametrize(("factor", "shift"), [(1e-3, 0.0), (1e3, 0.0), (1.0, 50.0), (1e12, 1e12)])
def test_base_head_does_not_depend_on_scale_or_offset(factor, shift):
    features, labels = blobs(spread=3.0)
    plain = train_base_head(features, labels, 5, seed=0)
    moved = (features.astype(np.float64) * factor + shift).astype(np.float32)
    rows = train_base_head(moved, labels, 5, seed=0)
    assert np.allclose(rows[:, :-1] * factor, plain[:, :-1], atol=2e-3)
    logits = features @ plain[:, :-1].T + plain[:, -1]
    same = moved.astype(np.float64) @ rows[:, :-1].T + rows[:, -1]
    assert np.allclose(same, logits, atol=0.02)


def test_base_head_is_deterministic():
    features, labels = blobs(spread=3.0)
    before = features.copy()
    features.setflags(write=False)
    recipe = BaseRecipe(epochs=2, min_steps=1)
    first, again, other = (
        train_base_head(features, labels, 5, seed=seed, recipe=recipe) for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).any()
    assert (features == before).all()


def test_base_head_tells_of_every_epoch():
    features, labels = blobs(spread=0.5)
    steps: list[Step] = []
    recipe = BaseRecipe(epochs=4, min_steps=1)
    train_base_head(features.astype(np.float16), labels, 5, recipe=recipe, watch=steps.append)
    assert [(step.epoch, step.epochs) for step in steps] == [(n, 4) for n in (1, 2, 3, 4)]
    assert steps[-1].loss < steps[0].loss


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y, 6), "needs samples of each of 0 to 5"),
        (lambda x, y: (x, y + 1, 5), "found 5 classes from 1 to 5"),
        (lambda x, y: (x, y[:-1], 5), "features \\(N, D\\) and labels"),
        (lambda x, y: (np.ones_like(x), y, 5), "all equal"),
        (lambda x, y: (x * np.float32("nan"), y, 5), "NaN or infinite"),
        (lambda x, y: (x * np.float32(1e-40), y, 5), "too small"),
    ],
)
def test_base_head_refuses(change, message):
    features, labels, classes = change(*blobs())
    with pytest.raises(TrainingError, match=message):
        train_base_head(features, labels, classes, seed=0)


def test_published_figures_only_for_data_of_their_kind():
    found = published_for("cub", width=2048, classes=200)
    assert found is not None
    assert (found.zsl_top1, found.harmonic) == (0.606, 0.565)
    assert published_for("CUB", width=4096, classes=200) is None
    assert published_for("CUB", width=2048, classes=199) is None
    assert published_for("FLO", width=2048, classes=102) is None
    for row in PUBLISHED:
        mean = 2 * row.seen * row.unseen / (row.seen + row.unseen)
        assert row.harmonic == pytest.approx(mean, abs=0.0011)


@pytest.fixture(scope="module")
def cub_folder(cub, tmp_path_factory):
    """The real data as an xlsa17 folder."""
    folder = tmp_path_factory.mktemp("data") / "CUB"
    folder.mkdir()
    (folder / "att_splits.mat").symlink_to(cub / "att_splits.mat")
    with np.load(cub / "features.npz") as archive:
        features, labels = archive["features"], archive["labels"]
    savemat(
        folder / "res101.mat",
        {"features": features.T.astype(np.float32), "labels": labels[:, None].astype(float) + 1},
    )
    return folder


def test_real_data(cub, cub_folder):
    data = read_xlsa17(cub_folder)
    names = (cub / "classes.txt").read_text().splitlines()
    assert list(data.class_names) == names
    assert names != sorted(names)
    assert np.allclose(data.descriptors, np.load(cub / "descriptors.npy"))
    assert data.features.shape == (11788, 4096)
    assert [len(s) for s in (data.trainval, data.test_seen, data.test_unseen)] == [7057, 1764, 2967]
    for kind, rows in (("seen", data.seen_classes), ("unseen", data.unseen_classes)):
        listed = (cub / f"{kind}.txt").read_text().splitlines()
        assert {names[row] for row in rows} == set(listed)
    assert data.notes == ()


@pytest.mark.slow
def test_base_head_on_real_data(cub_folder):
    data = read_xlsa17(cub_folder)
    rows = train_base_head(data.features[data.trainval], data.head_rows(data.trainval), 150)
    test = data.test_seen
    assert accuracy(rows, data.features[test], data.head_rows(test)) >= 0.685

"""Features, what is known of a head, comparison with true rows, and images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import icis_cli as icis
from icis_cli import compare_rows
from icis_cli.errors import AlignmentError, CheckpointError, FeatureError, InjectorError, UsageError
from icis_cli.evaluation.features import LabelMap
from icis_cli.evaluation.reference import compare_with_reference


@pytest.fixture
def injected(folder, world):
    """The small classifier with its new classes: checkpoint and injector."""
    checkpoint = icis.open_checkpoint(folder / "model.pt")
    head = icis.find_head(checkpoint)
    classes = icis.align(head.rows, icis.read_descriptors(folder / "attrs.csv"))
    injector = icis.fit(checkpoint, head, classes, icis.Ridge())
    icis.expand(checkpoint, injector, calibration="none").write(folder / "new.pt")
    return icis.open_checkpoint(folder / "new.pt"), injector


def samples(world, path, *, labels="rows", per_class=5):
    """Features near the true rows, which a good head answers rightly."""
    generator = np.random.default_rng(1)
    rows = np.repeat(np.arange(len(world.names)), per_class)
    weight = world.rows[:, :-1]
    features = weight[rows] + 0.3 * generator.standard_normal((len(rows), weight.shape[1]))
    named = np.array([world.names[row] for row in rows]) if labels == "names" else rows
    np.savez(path, features=features.astype(np.float32), labels=named)
    return path


@pytest.mark.parametrize("labels", ["rows", "names"])
def test_features_are_evaluated_as_the_expanded_network_would_answer(
    injected, world, folder, labels
):
    checkpoint, _ = injected
    features = icis.read_features(samples(world, folder / "test.npz", labels=labels))
    result = icis.evaluate_features(icis.known_head(checkpoint), features)
    state = torch.load(folder / "new.pt", weights_only=True)
    with torch.no_grad():
        logits = torch.from_numpy(features.values.copy()) @ state["fc.weight"].T + state["fc.bias"]
    answers = logits.argmax(dim=1).numpy()
    true = np.repeat(np.arange(46), 5)
    recalls = [np.mean(answers[true == c] == c) for c in range(46)]
    assert result.seen == pytest.approx(np.mean(recalls[:40]))
    assert result.unseen == pytest.approx(np.mean(recalls[40:]))
    assert result.zsl_top1 > 0.5  # by chance: 1 in 6
    assert [c.name for c in result.classes] == list(world.names)


def test_half_precision_features_are_not_rounded_further(injected, world, folder):
    checkpoint, _ = injected
    known = icis.known_head(checkpoint)
    features = icis.read_features(samples(world, folder / "test.npz"))
    half = replace(features, values=features.values.astype(np.float16))
    wide = replace(features, values=half.values.astype(np.float64))
    figures = [icis.evaluate_features(known, f).to_json() for f in (half, wide)]
    assert figures[0] == figures[1]


def test_number_labels_are_descriptor_rows_not_head_rows():
    known = LabelMap(("c", "a", "b"), (2, 0, 1))
    rows = known.head_rows(np.array([0, 1, 2]), Path("x.npz"))
    assert rows.tolist() == [1, 2, 0]
    assert known.head_rows(["a", "b", "c"], Path("x.npz")).tolist() == [1, 2, 0]
    with pytest.raises(FeatureError, match=r"1 labels are no class .* first 7"):
        known.head_rows(np.array([0, 7]), Path("x.npz"))


def test_number_labels_are_refused_where_several_files_numbered_the_classes():
    known = LabelMap(("a", "b"), None)
    assert known.head_rows(["b"], Path("x.npz")).tolist() == [1]
    with pytest.raises(FeatureError, match="nothing tells which descriptor row"):
        known.head_rows(np.array([0]), Path("x.npz"))


def test_descriptor_row_zero_is_a_row_like_any_other():
    assert LabelMap(("a", "b"), (1, 0)).head_rows(np.array([0]), Path("x.npz")).tolist() == [1]


def test_texts_of_digits_are_numbers_unless_one_is_a_class_name():
    rows = LabelMap(("c", "a", "b"), (2, 0, 1)).head_rows(["0", "02", "0"], Path("x"))
    assert rows.tolist() == [1, 0, 1]
    named = LabelMap(("2", "0", "1"), (0, 1, 2))
    assert named.head_rows(["0", "1", "2"], Path("x")).tolist() == [1, 2, 0]
    with pytest.raises(FeatureError, match=r"1 labels are no class .* first '7'"):
        named.head_rows(["0", "7"], Path("x"))
    with pytest.raises(FeatureError, match=r"2 labels are no class .* first '9{30}'"):
        LabelMap(("a", "b"), (0, 1)).head_rows(["9" * 30, "x"], Path("x"))


def test_labels_may_be_spelt_otherwise_where_one_class_is_left():
    known = LabelMap(("001.Sea_Lion", "Cardigan", "cardigan"), None)
    labels = ["sea lion", "Cardigan", "001.Sea_Lion", "cardigan"]
    assert known.head_rows(labels, Path("x.npz")).tolist() == [0, 1, 0, 2]
    with pytest.raises(FeatureError, match="1 labels are no class of this checkpoint, first 'CARD"):
        known.head_rows(["sea-lion", "CARDIGAN"], Path("x.npz"))


def test_many_labels_are_the_rows_that_a_loop_finds():
    generator = np.random.default_rng(2)
    rows = generator.permutation(1000)
    known = LabelMap(tuple(f"class {n}" for n in range(1000)), tuple(rows.tolist()))
    labels = generator.integers(0, 1000, 20_000)
    expected = [rows.tolist().index(label) for label in labels.tolist()]
    assert known.head_rows(labels, Path("x")).tolist() == expected
    names = [f"class {n}" for n in labels]
    assert known.head_rows(names, Path("x")).tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (
            np.nan,
            np.float32,
            r"f\.npz: 'features' holds NaN or infinite values, first in sample 57 ",
        ),
        (-np.inf, np.float16, "'features' holds NaN or infinite values, first in sample 57 "),
        (
            -1e200,
            np.float64,
            r"holds 1e\+200 \(or its negative\).* fit float32; first in sample 57 ",
        ),
    ],
)
def test_odd_features_are_found_by_an_evaluation_and_by_a_look_of_its_own(
    injected, world, folder, value, dtype, message
):
    features = icis.read_features(samples(world, folder / "f.npz"))
    features.require_float32()
    values = features.values.astype(dtype)
    values[[57, 99], [20, 3]] = value
    np.savez(folder / "f.npz", features=values, labels=features.labels)
    odd = icis.read_features(folder / "f.npz")
    with pytest.raises(FeatureError, match=message):
        odd.require_float32()
    with pytest.raises(FeatureError, match=message):
        icis.evaluate_features(icis.known_head(injected[0]), odd)


def test_without_a_record_the_injector_or_names_tell_the_classes(injected, world, folder):
    checkpoint, injector = injected
    (folder / "new.pt.icis.json").unlink()
    with pytest.raises(AlignmentError, match="does not say which classes"):
        icis.known_head(checkpoint)
    by_injector = icis.known_head(checkpoint, injector)
    by_names = icis.known_head(checkpoint, names=world.names, unseen=world.names[40:])
    assert by_injector.names == by_names.names == world.names
    assert by_injector.seen_classes == by_names.seen_classes == 40
    with pytest.raises(AlignmentError, match="not the last rows"):
        icis.known_head(checkpoint, names=world.names, unseen=world.names[:6])
    with pytest.raises(AlignmentError, match="nothing tells which classes are new"):
        icis.known_head(checkpoint, names=world.names)
    state = torch.load(folder / "new.pt", weights_only=True)
    swapped = [*range(40), *range(45, 39, -1)]
    turned = {k: v[swapped] if k.startswith("fc") else v for k, v in state.items()}
    torch.save(turned, folder / "turned.pt")
    with pytest.raises(InjectorError, match="not those of this injector"):
        icis.known_head(icis.open_checkpoint(folder / "turned.pt"), injector)
    with pytest.raises(InjectorError, match="40 rows"):
        icis.known_head(icis.open_checkpoint(folder / "model.pt"), injector)


def test_a_side_file_of_another_checkpoint_is_noticed(injected, folder):
    torch.save({"fc.weight": torch.ones(9, 24), "fc.bias": torch.ones(9)}, folder / "new.pt")
    with pytest.raises(AlignmentError, match="9 rows, but its record lists 46"):
        icis.known_head(icis.open_checkpoint(folder / "new.pt"))


def test_features_of_another_width_and_foreign_labels_are_refused(injected, folder):
    known = icis.known_head(injected[0])
    np.savez(folder / "wide.npz", features=np.ones((2, 25), np.float32), labels=[0, 1])
    with pytest.raises(FeatureError, match=r"wide\.npz: features have 25 columns.* takes 24"):
        icis.evaluate_features(known, icis.read_features(folder / "wide.npz"))
    np.savez(
        folder / "odd.npz", features=np.ones((2, 24), np.float32), labels=["kind a0", "kind a"]
    )
    with pytest.raises(FeatureError, match=r"first 'kind a' \(did you mean 'kind a"):
        icis.evaluate_features(known, icis.read_features(folder / "odd.npz"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": np.ones((2, 3))}, "expected arrays 'features' and 'labels'"),
        ({"features": np.ones(3), "labels": np.ones(3, int)}, "expected floats"),
        ({"features": np.ones((2, 3)), "labels": np.ones(3, int)}, "'labels' is"),
        ({"features": np.ones((2, 3)), "labels": np.ones(2)}, "names or whole numbers"),
        ({"features": np.ones((0, 3)), "labels": np.ones(0, int)}, "holds no sample"),
    ],
)
def test_unusable_feature_files_say_what_is_wrong(tmp_path, arrays, message):
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(FeatureError, match=message):
        icis.read_features(tmp_path / "f.npz")


def test_pickled_features_are_refused(tmp_path):
    objects = np.array([{"a": 1}, {"b": 2}], dtype=object)
    np.savez(tmp_path / "f.npz", features=objects, labels=np.arange(2))
    with pytest.raises(FeatureError, match="cannot be read"):
        icis.read_features(tmp_path / "f.npz")


def test_labels_may_lie_beside_the_features(injected, world, folder):
    known = icis.known_head(injected[0])
    for labels in ("names", "rows"):
        whole = icis.read_features(samples(world, folder / "f.npz", labels=labels))
        expected = icis.evaluate_features(known, whole).to_json()
        np.save(folder / "f.npy", whole.values)
        np.savez(folder / "bare.npz", features=whole.values)
        np.save(folder / "labels.npy", np.array(whole.labels))
        (folder / "labels.txt").write_text("\n".join(map(str, whole.labels)) + "\n")
        for name in ("f.npy", "bare.npz"):
            for beside in ("labels.npy", "labels.txt"):
                found = icis.read_features(folder / name, folder / beside)
                assert icis.evaluate_features(known, found).to_json() == expected
    with pytest.raises(FeatureError, match=r"f\.npy: is one array .* without labels"):
        icis.read_features(folder / "f.npy")


def saved(path: Path, array: np.ndarray) -> None:
    """Save an array under a name without a suffix, which numpy would add."""
    with path.open("wb") as stream:
        np.save(stream, array)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_text("a\nb\n"), r"l: holds 2 labels, expected 3, one for each"),
        (lambda path: path.write_text("\n"), "l: is empty"),
        (lambda path: path.write_bytes(b"\xff\xfd"), "l: is no readable list"),
        (
            lambda path: saved(path, np.ones(3)),
            r"l: is \(3,\) float64, expected \(3,\)",
        ),
        (lambda path: saved(path, np.arange(4)), r"l: is \(4,\) int64, expected"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01"), "l: is no readable numpy file"),
    ],
)
def test_unusable_labels_say_what_is_wrong(tmp_path, make, message):
    np.save(tmp_path / "f.npy", np.ones((3, 4), np.float32))
    make(tmp_path / "l")
    with pytest.raises(FeatureError, match=message):
        icis.read_features(tmp_path / "f.npy", tmp_path / "l")


def test_row_comparison_of_a_case_computed_by_hand():
    seen = np.array([[1.0, 1.0], [-1.0, -1.0]], dtype=np.float32)  # mean row: 0
    true = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    predicted = np.array([[2.0, 0.0], [3.0, 4.0]], dtype=np.float32)
    found = compare_rows(predicted, true, seen)
    assert found.cosine == pytest.approx((1 + 0.8) / 2)
    assert found.raw_cosine == pytest.approx(0.9)
    assert found.nearest == 1
    assert found.norm_ratio == pytest.approx(3.5)
    assert compare_rows(predicted[::-1].copy(), true, seen).nearest == 0


def test_injected_rows_beat_the_controls_against_the_true_rows(injected, world, folder):
    checkpoint, injector = injected
    rows = torch.from_numpy(world.rows)
    torch.save({"fc.weight": rows[:, :-1].clone(), "fc.bias": rows[:, -1].clone()}, folder / "t.pt")
    reference = icis.open_checkpoint(folder / "t.pt")
    head = icis.find_head(reference)
    known = icis.known_head(checkpoint)
    with pytest.raises(AlignmentError, match="no names for them"):
        compare_with_reference(known, reference, head)
    order = list(world.names)
    comparisons = compare_with_reference(known, reference, head, order, injector)
    by_name = {part.name: part.figures for part in comparisons}
    assert by_name["injected"].cosine > by_name["control: nearest"].cosine + 0.1
    assert by_name["control: mean"].cosine == pytest.approx(0, abs=1e-3)
    order[40:] = order[:39:-1]  # wrong names must show
    wrong = compare_with_reference(known, reference, head, order)[0].figures
    assert wrong.cosine < by_name["injected"].cosine - 0.3


@pytest.fixture
def network(tmp_path):
    """A real torchvision network with random weights, injected; and a folder of images."""
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=14)
    model.eval()
    names = [f"thing {n}" for n in range(16)]
    torch.save({"state_dict": model.state_dict(), "arch": "shufflenet_v2_x0_5"}, tmp_path / "m.pth")
    generator = np.random.default_rng(0)
    (tmp_path / "names.txt").write_text("\n".join(names))
    np.save(tmp_path / "d.npy", generator.standard_normal((16, 5)))
    for name in ("thing_3", "thing 15"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for n in range(2):
            pixels = generator.integers(0, 255, (40, 60, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{n}.png")
    checkpoint = icis.open_checkpoint(tmp_path / "m.pth")
    head = icis.find_head(checkpoint)
    table = icis.read_descriptors(tmp_path / "d.npy", tmp_path / "names.txt")
    injector = icis.fit(checkpoint, head, icis.align(head.rows, table), icis.Ridge())
    icis.expand(checkpoint, injector).write(tmp_path / "new.pth")
    return tmp_path


def test_images_run_through_the_real_network(network):
    import torchvision

    checkpoint = icis.open_checkpoint(network / "new.pth")
    known = icis.known_head(checkpoint)
    images = icis.find_images(network / "images", known.names)
    assert images.labels.tolist() == [15, 15, 3, 3]
    assert images.notes == ("folder 'thing_3' is taken for class 'thing 3'",)
    done = []
    result = icis.evaluate_images(
        checkpoint, known, images, batch=3, watch=lambda *step: done.append(step)
    )
    assert done == [(3, 4), (4, 4)]
    model = torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=16)
    loaded = torch.load(network / "new.pth", weights_only=True)
    model.load_state_dict(loaded["state_dict"], strict=True)
    model.eval()
    weights = torchvision.models.get_model_weights("shufflenet_v2_x0_5")
    transform = weights.DEFAULT.transforms()
    with torch.inference_mode():
        pixels = [transform(Image.open(path).convert("RGB")) for path in images.paths]
        right = model(torch.stack(pixels)).argmax(dim=1).numpy() == images.labels
    assert result.unseen == pytest.approx(right[:2].mean())
    assert result.seen == pytest.approx(right[2:].mean())
    assert result.samples == 4


def test_unusable_images_and_architectures_say_what_is_wrong(network):
    checkpoint = icis.open_checkpoint(network / "new.pth")
    known = icis.known_head(checkpoint)
    images = icis.find_images(network / "images", known.names)
    with pytest.raises(UsageError, match="torchvision has no classifier 'nonet'"):
        icis.evaluate_images(checkpoint, known, images, arch="nonet")
    with pytest.raises(CheckpointError, match="does not load into resnet18"):
        icis.evaluate_images(checkpoint, known, images, arch="resnet18")
    images.paths[0].write_bytes(b"no image")
    with pytest.raises(FeatureError, match=r"0\.png: is no readable image"):
        icis.evaluate_images(checkpoint, known, images)
    (network / "images" / "stranger").mkdir()
    with pytest.raises(AlignmentError, match="'stranger'"):
        icis.find_images(network / "images", known.names)
    with pytest.raises(FeatureError, match="no such folder"):
        icis.find_images(network / "nowhere", known.names)

"""The head is found where it is, or not at all: a wrong guess would rewrite the wrong layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from icis_cli import Head, find_head, open_checkpoint
from icis_cli.errors import HeadError


def find(
    tmp_path: Path,
    shapes: dict[str, tuple[int, ...]],
    key: str | None = None,
    **special: torch.Tensor,
) -> Head:
    """Find the head among random tensors of these shapes; dots are written ``__``."""
    state = {name: torch.randn(shape) for name, shape in shapes.items()}
    state.update({name.replace("__", "."): tensor for name, tensor in special.items()})
    save_file(state, tmp_path / "m.safetensors")
    return find_head(open_checkpoint(tmp_path / "m.safetensors"), key)


TWO = {"proj.weight": (8, 4), "proj.bias": (8,), "last.weight": (3, 8), "last.bias": (3,)}


@pytest.mark.parametrize("key", ["last", "last.weight", "last.bias", "last."])
def test_the_key_that_the_user_gives(tmp_path, key):
    head = find(tmp_path, TWO, key)
    assert (head.key, head.found) == ("last", "as given by --head")
    assert head.weight.shape == (3, 8)
    assert head.bias is not None
    assert head.rows.shape == (3, 9)
    np.testing.assert_array_equal(head.rows[:, 8], head.bias)
    np.testing.assert_array_equal(head.rows[:, :8], head.weight)


def test_the_key_without_the_prefix_of_a_wrapper(tmp_path):
    shapes = {f"module.{name}": shape for name, shape in TWO.items()}
    assert find(tmp_path, shapes, "last").key == "module.last"
    assert find(tmp_path, shapes, "module.proj").key == "module.proj"


def test_the_user_is_believed_before_the_layout(tmp_path):
    shapes = {
        "conv1.weight": (2, 3, 1, 1), "layer1.0.conv1.weight": (2, 2, 1, 1),
        "fc.weight": (5, 2), "aux.weight": (4, 2),
    }  # fmt: skip
    assert find(tmp_path, shapes).found == "known for ResNet"
    assert find(tmp_path, shapes).key == "fc"
    assert find(tmp_path, shapes, "aux").key == "aux"


@pytest.mark.parametrize(
    ("shapes", "key", "found"),
    [
        ({"body.weight": (2, 3, 1, 1), "odd.name.weight": (5, 2)}, "odd.name", "the only linear"),
        ({"a.weight": (5, 2), "classifier.weight": (3, 5)}, "classifier", "by its name"),
        ({"blocks.0.mlp.weight": (5, 2), "head.fc.weight": (3, 5)}, "head.fc", "by its name"),
        ({"module.a.weight": (5, 2), "module.fc.weight": (3, 5)}, "module.fc", "by its name"),
        ({"fc.weight": (2, 2, 1, 1), "out.weight": (3, 5)}, "out", "the only linear"),
    ],
)
def test_by_uniqueness_and_by_name(tmp_path, shapes, key, found):
    head = find(tmp_path, shapes)
    assert head.key == key
    assert found in head.found
    assert head.bias is None
    assert head.rows is head.weight


@pytest.mark.parametrize("names", [("proj", "last"), ("fc", "classifier"), ("a", "head", "fc")])
def test_more_than_one_candidate_is_an_error_that_lists_them(tmp_path, names):
    with pytest.raises(HeadError) as caught:
        find(tmp_path, {f"{name}.weight": (5, 4 + n) for n, name in enumerate(names)})
    assert f"{len(names)} linear layers could be the head" in caught.value.message
    for number, name in enumerate(names):
        assert f"{name} (5, {4 + number})" in caught.value.message
    assert caught.value.hint.startswith("name it, e.g. --head ")


def test_a_missing_key_is_answered_with_a_near_one(tmp_path):
    shapes = {"classifier.6.weight": (3, 8), "features.weight": (8, 4), "conv.weight": (1, 1, 1, 1)}
    with pytest.raises(HeadError, match=r"no layer 'clasifier.6'.*'clasifier.6.weight'") as caught:
        find(tmp_path, shapes, "clasifier.6")
    assert caught.value.hint == "linear layers there: classifier.6"
    with pytest.raises(HeadError, match="no layer 'zzz'") as caught:
        find(tmp_path, shapes, "zzz")
    assert "classifier.6" in caught.value.hint
    assert "features" in caught.value.hint
    with pytest.raises(HeadError) as caught:
        find(tmp_path, {"conv.weight": (1, 1, 1, 1)}, "fc")
    assert caught.value.hint == "it holds no linear layer"


def test_no_linear_layer(tmp_path):
    with pytest.raises(HeadError, match="expected a linear layer"):
        find(tmp_path, {"conv.weight": (2, 2, 1, 1), "norm.weight": (2,)})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["fc__weight", "fc__bias"])
def test_values_that_are_not_finite(tmp_path, where, value):
    parts = {"fc__weight": torch.ones(3, 2), "fc__bias": torch.ones(3)}
    parts[where].view(-1)[1] = value
    with pytest.raises(HeadError, match=r"head 'fc' holds NaN or infinite values"):
        find(tmp_path, {}, None, **parts)


def test_a_float64_head_beyond_float32(tmp_path):
    weight = torch.full((3, 2), 1e300, dtype=torch.float64)
    with pytest.raises(HeadError, match="holds NaN or infinite values"):
        find(tmp_path, {}, fc__weight=weight)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"fc__weight": torch.ones(3, 2, 3, 1)}, r"shape \(3, 2, 3, 1\) and dtype F32, expected"),
        ({"fc__weight": torch.ones(3, 2, dtype=torch.int8)}, "dtype I8, expected a float matrix"),
        ({"fc__weight": torch.ones(3, 2), "fc__bias": torch.ones(2)}, r"3 rows but a bias of shap"),
        ({"fc__weight": torch.ones(3, 2), "fc__bias": torch.ones(3, dtype=torch.int8)}, "dtype I8"),
        ({"fc__weight": torch.ones(0, 2)}, "there is nothing in it"),
        ({"fc__weight": torch.ones(3, 0)}, "there is nothing in it"),
    ],
)
def test_a_layer_that_cannot_be_a_head(tmp_path, parts, words):
    with pytest.raises(HeadError, match=words) as caught:
        find(tmp_path, {}, "fc", **parts)
    assert "m.safetensors: head 'fc'" in caught.value.message


@pytest.mark.parametrize(
    ("dtype", "code"),
    [
        (torch.float32, "F32"),
        (torch.float16, "F16"),
        (torch.bfloat16, "BF16"),
        (torch.float64, "F64"),
    ],
)
def test_each_dtype_is_read_by_value(tmp_path, dtype, code):
    weight = torch.randn(3, 2).to(dtype)
    head = find(tmp_path, {}, fc__weight=weight, fc__bias=torch.arange(3, dtype=torch.float32))
    np.testing.assert_array_equal(head.weight, weight.float().numpy())
    assert head.weight.dtype == np.float32
    assert head.dtype == code
    assert head.rows[:, 2].tolist() == [0, 1, 2]


def test_the_last_of_numbered_layers_that_feed_each_other(tmp_path):
    shapes: dict[str, tuple[int, ...]] = {
        "0.weight": (6, 3, 3, 3),
        "5.weight": (48, 64),
        "10.weight": (7, 48),
    }
    assert find(tmp_path, shapes).key == "10"
    nested: dict[str, tuple[int, ...]] = {"net.1.4.weight": (5, 10), "net.1.8.weight": (3, 5)}
    assert find(tmp_path, nested).key == "net.1.8"
    for other in ((7, 47), (7, 64)):  # it does not take what the first one gives
        with pytest.raises(HeadError, match="2 linear layers could be the head"):
            find(tmp_path, {**shapes, "10.weight": other})


def test_a_common_name_whose_layer_feeds_another_is_not_believed(tmp_path):
    with pytest.raises(HeadError, match="2 linear layers could be the head"):
        find(tmp_path, {"fc.weight": (5, 10), "fc2.weight": (3, 5)})
    assert find(tmp_path, {"fc.weight": (3, 5), "proj.weight": (5, 10)}).key == "fc"


def test_a_network_of_which_a_part_is_wrapped(tmp_path):
    alexnet: dict[str, tuple[int, ...]] = {
        "features.module.0.weight": (4, 3, 11, 11),
        "classifier.1.weight": (6, 9),
        "classifier.4.weight": (6, 6),
        "classifier.6.weight": (5, 6),
    }
    assert find(tmp_path, alexnet).key == "classifier.6"


@pytest.mark.parametrize(
    ("markers", "first", "last"),
    [
        ({"features.0.0.weight": (4, 3, 3, 3)}, "classifier.1", "classifier.4"),  # EfficientNet
        (
            {
                "features.0.weight": (4, 3, 3, 3),
                "classifier.0.weight": (64, 100),
                "classifier.3.weight": (64, 64),
            },
            "classifier.6",
            "classifier.8",
        ),  # VGG
    ],
)
def test_layers_of_ones_own_after_the_known_head(tmp_path, markers, first, last):
    own = {f"{first}.weight": (20, 64), f"{last}.weight": (5, 20)}
    assert find(tmp_path, {**markers, **own}).key == last
    assert find(tmp_path, {**markers, f"{first}.weight": (64, 64)}).key == first

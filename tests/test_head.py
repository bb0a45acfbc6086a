"""The head is found where it is, or not at all: a wrong guess would rewrite the wrong layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from icis_cli import (
    Head,
    Mean,
    align,
    expand,
    find_head,
    fit,
    known_head,
    open_checkpoint,
    read_descriptors,
    remove,
    verify,
)
from icis_cli.cli.main import run
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


ODD = (
    "", ".", "..", ".a", "a.", "a..b", " ", " a ", "é", "😀.", "x" * 3000, "module", "module.",
    ".module.", "model.head.", "weight", ".weight", "a.weight", "a.bias", ".bias", "-x", "a\nb",
    "0",
)  # fmt: skip


def odd_model(folder: Path, name: str, suffix: str) -> Path:
    """Write a checkpoint with a head of this name, and others that are called much the same."""
    generator = torch.Generator().manual_seed(0)
    state = {
        key: torch.randn(shape, generator=generator)
        for key, shape in {
            f"{name}x.weight": (5, 3), f"{name}..weight": (5, 3), f"{name}.weight.weight": (5, 3),
            f"{name}.weight": (6, 3), f"{name}.bias": (6,),
        }.items()
    }  # fmt: skip
    path = folder / f"m{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    np.save(folder / "d.npy", np.random.default_rng(0).standard_normal((8, 4)))
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("name", ODD)
def test_a_layer_may_have_any_name(tmp_path, name, suffix):
    before = open_checkpoint(odd_model(tmp_path, name, suffix))
    head = find_head(before, name)
    assert head.key == name
    injector = fit(before, head, align(head.rows, read_descriptors(tmp_path / "d.npy")), Mean())
    expand(before, injector).write(tmp_path / f"n{suffix}")
    verify(before, tmp_path / f"n{suffix}").require()
    new = open_checkpoint(tmp_path / f"n{suffix}")
    assert known_head(new).head.key == name
    assert known_head(new, names="abcdefgh", unseen="gh").head.key == name
    remove(new).write(tmp_path / f"b{suffix}")
    after = open_checkpoint(tmp_path / f"b{suffix}")
    assert list(before.tensors) == list(after.tensors)
    assert all(bytes(before.raw(key)) == bytes(after.raw(key)) for key in before.tensors)


@pytest.mark.parametrize("name", ["", ".", "-x"])
def test_every_command_finds_a_layer_of_any_name(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    odd_model(tmp_path, name, ".safetensors")
    np.savez("f.npz", features=np.ones((8, 3), np.float32), labels=np.arange(8))
    fitted = ["--weights", "m.safetensors", "--attrs", "d.npy", "--method", "mean", "--cv", "0"]
    for command in (
        ["fit", *fitted, "--head", name],
        ["inject"],
        ["verify", "m.safetensors", "m.injected.safetensors"],
        ["eval", "--weights", "m.injected.safetensors", "--features", "f.npz"],
        ["inject", "--remove", "--weights", "m.injected.safetensors", "--out", "b.safetensors"],
    ):
        assert run([*command, "--quiet"]) == 0, capsys.readouterr().err
    assert Path("b.safetensors").read_bytes() == Path("m.safetensors").read_bytes()


def test_a_name_that_is_shown_can_be_copied_into_a_shell(tmp_path):
    with pytest.raises(HeadError) as caught:
        find(tmp_path, {" a.weight": (3, 4), "b c.weight": (3, 4)})
    assert caught.value.hint == "name it, e.g. --head 'b c'"


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
    head = find(tmp_path, {"fc.weight": (5, 10), "fc2.weight": (3, 5)})
    assert head.key == "fc2"
    assert head.found == "the linear layer that all others lead to"
    assert find(tmp_path, {"fc.weight": (3, 5), "proj.weight": (5, 10)}).key == "fc"


def test_a_common_name_within_a_module_is_not_believed_if_there_are_layers_beside_it(tmp_path):
    body = {"backbone.fc.weight": (20, 10)}
    assert find(tmp_path, {**body, "new.weight": (5, 20)}).key == "new"
    with pytest.raises(HeadError, match="2 linear layers could be the head"):
        find(tmp_path, {**body, "new.weight": (5, 10)})


@pytest.mark.parametrize(
    ("layers", "key"),
    [
        ({"fc1": (32, 6), "fc2": (16, 32), "fc3": (5, 16)}, "fc3"),
        ({"fc": (32, 6), "out": (5, 32)}, "out"),
        ({"backbone.fc": (32, 6), "classifier": (5, 32)}, "classifier"),
        ({"encoder": (8, 32), "decoder": (32, 8), "probe": (5, 8)}, "probe"),
        ({"a.0.fc": (32, 6), "a.1.fc": (16, 32), "a.2.fc": (5, 16)}, "a.2.fc"),
        ({"dense": (32, 6), "dense_1": (5, 32)}, "dense_1"),
        ({"embedding": (1000, 6), "hidden": (7, 6), "last": (5, 7)}, "last"),
        ({"word_emb": (1000, 6), "decoder": (5, 9)}, "decoder"),
    ],
)  # fmt: skip
def test_the_layer_that_all_others_lead_to(tmp_path, layers, key):
    shapes = {f"{name}.weight": shape for name, shape in layers.items()}
    assert find(tmp_path, shapes).key == key
    torch.save({name: torch.ones(shape) for name, shape in shapes.items()}, tmp_path / "m.pt")
    assert find_head(open_checkpoint(tmp_path / "m.pt")).key == key  # in an order that tells


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ({"x": (32, 6), "y": (5, 32), "z": (7, 32)}, "z"),  # two ends
        ({"boxes": (4, 32), "classes": (7, 32), "depth": (1, 32)}, "classes"),  # three
        ({"y": (5, 32), "z": (7, 32), "zz": (32, 6)}, "z"),  # named are ends
        ({"fc1": (5, 5), "fc2": (5, 5)}, "fc2"),  # no end
        ({"a": (5, 4), "b": (5, 5), "c": (5, 6)}, "b"),  # as many rows as others
        ({"fc1": (16, 5), "fc2": (5, 16)}, "fc2"),  # as many classes as inputs
        ({"g1": (4, 64), "g2": (64, 4), "last": (5, 9)}, "last"),  # two that do not lead there
        ({"fc1": (10, 6), "fc2": (16, 10), "lstm.weight_ih_l0": (12, 16)}, "fc2"),
    ],
)
def test_where_several_could_be_the_last_none_is_taken(tmp_path, layers, named):
    shapes = {name if "lstm" in name else f"{name}.weight": shape for name, shape in layers.items()}
    if "fc1" in layers and len(layers) == 2:  # numbered, but not as parts of a module
        shapes = {f"m.{name}": shape for name, shape in shapes.items()}
        named = f"m.{named}"
    with pytest.raises(HeadError, match="linear layers could be the head") as caught:
        find(tmp_path, shapes)
    assert caught.value.hint == f"name it, e.g. --head {named}"


def test_an_order_that_tells_must_agree(tmp_path):
    torch.save({"y.weight": torch.ones(5, 8), "x.weight": torch.ones(8, 3)}, tmp_path / "m.pt")
    with pytest.raises(HeadError, match="2 linear layers could be the head"):
        find_head(open_checkpoint(tmp_path / "m.pt"))


def test_class_names_must_agree_with_the_last_layer(tmp_path):
    state = {"fc1.weight": torch.ones(8, 3), "fc2.weight": torch.ones(5, 8)}
    for count, found in ((5, "fc2"), (8, "fc1")):
        names = [f"c{n}" for n in range(count)]
        torch.save({"model": state, "classes": names}, tmp_path / "m.pt")
        assert find_head(open_checkpoint(tmp_path / "m.pt")).key == found
    torch.save({"model": state, "classes": ["a", "b"]}, tmp_path / "m.pt")
    with pytest.raises(HeadError, match="2 linear layers could be the head"):
        find_head(open_checkpoint(tmp_path / "m.pt"))


@pytest.mark.parametrize(
    "names",
    [
        ("last.parametrizations.weight.original0", "last.parametrizations.weight.original1"),
        ("last.weight_g", "last.weight_v"),
    ],
)
def test_a_weight_that_is_made_of_others_may_be_that_of_the_head(tmp_path, names):
    made: dict[str, tuple[int, ...]] = {names[0]: (5, 1), names[1]: (5, 6)}
    chain = {"a.weight": (8, 3), "b.weight": (6, 8)}
    for others in ({}, {"hidden.weight": (6, 4)}, chain, {"a.weight": (8, 3), "fc.weight": (6, 8)}):
        with pytest.raises(HeadError, match="whose weight is made of other tensors") as caught:
            find(tmp_path, {**made, **others})
        assert "remove_parametrizations" in caught.value.hint
    assert find(tmp_path, {**made, "a.weight": (8, 3), "fc.weight": (7, 8)}).key == "fc"
    assert find(tmp_path, {**made, "hidden.weight": (6, 4)}, "hidden").key == "hidden"


def test_adapters_are_to_be_merged_first(tmp_path):
    adapter: dict[str, tuple[int, ...]] = {
        "base_model.model.vit.query.lora_A.weight": (2, 6),
        "base_model.model.vit.query.lora_B.weight": (6, 2),
        "base_model.model.classifier.weight": (5, 6),
    }
    with pytest.raises(HeadError, match=r"an adapter \(LoRA\), e.g. '.*lora_A.weight'") as caught:
        find(tmp_path, adapter)
    assert "merge_and_unload()" in caught.value.hint
    # A head that has none itself may be named.
    assert find(tmp_path, adapter, "base_model.model.classifier").weight.shape == (5, 6)
    own: dict[str, tuple[int, ...]] = {
        "fc.base_layer.weight": (5, 6),
        "fc.lora_A.default.weight": (2, 6),
        "fc.lora_B.default.weight": (5, 2),
    }
    with pytest.raises(HeadError, match="an adapter"):
        find(tmp_path, own, "fc.base_layer")


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

"""A layer whose answers go on into another one is no head, whatever its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from icis_cli import find_head, open_checkpoint
from icis_cli.errors import HeadError

RESNET = {"conv1.weight": (8, 3, 3, 3), "layer1.0.conv1.weight": (8, 8, 3, 3)}
VGG = {
    "features.0.weight": (8, 3, 3, 3), "classifier.0.weight": (16, 100),
    "classifier.3.weight": (16, 16),
}  # fmt: skip


def in_both_orders(tmp_path: Path, shapes: Mapping[str, tuple[int, ...]]) -> list[Path]:
    """Write random tensors in this order, and in that of the alphabet."""
    state = {name: torch.randn(shape) for name, shape in shapes.items()}
    torch.save(state, tmp_path / "m.pt")
    save_file(state, tmp_path / "m.safetensors")
    return [tmp_path / "m.pt", tmp_path / "m.safetensors"]


@pytest.mark.parametrize(
    ("shapes", "last"),
    [
        ({"fc.weight": (64, 32), "classifier.2.weight": (30, 64)}, "classifier.2"),
        ({"fc.weight": (64, 32), "heads.species.weight": (30, 64)}, "heads.species"),
        ({"head.weight": (64, 32), "classifiers.0.weight": (30, 64)}, "classifiers.0"),
        ({"linear.weight": (64, 32), "out.1.weight": (30, 64)}, "out.1"),
        ({"head.fc.weight": (64, 32), "logits_head.l.weight": (30, 64)}, "logits_head.l"),
        (
            {"fc.weight": (64, 32), "mlp.0.weight": (64, 64), "mlp.2.weight": (30, 64)},
            "mlp.2",
        ),
        (
            {
                "fc.weight": (64, 32),
                "mlp.0.weight": (48, 64),
                "mlp.2.weight": (64, 48),
                "mlp.4.weight": (30, 64),
            },
            "mlp.4",
        ),
        ({**RESNET, "fc.weight": (64, 8), "classifier.1.weight": (30, 64)}, "classifier.1"),
        ({**RESNET, "fc.weight": (8, 8), "cls.0.weight": (30, 8)}, "cls.0"),
        ({**RESNET, "fc.weight": (64, 8), "head.0.weight": (30, 64)}, "head.0"),
        ({**VGG, "classifier.6.weight": (64, 16), "final.0.weight": (30, 64)}, "final.0"),
        (
            {"stem.weight": (64, 3, 3, 3), "fc.weight": (64, 32), "classifier.2.weight": (30, 64)},
            "classifier.2",
        ),
    ],
)
def test_a_layer_in_another_module_may_follow_one_named_as_heads_are(tmp_path, shapes, last):
    for path in in_both_orders(tmp_path, shapes):
        head = find_head(open_checkpoint(path))
        assert (head.key, head.found) == (last, "the linear layer that all others lead to")
        assert find_head(open_checkpoint(path), "fc" if "fc.weight" in shapes else last)


def test_two_layers_in_other_modules_may_follow(tmp_path):
    shapes = {"fc.weight": (32, 64), "head_cls.0.weight": (30, 32), "head_box.0.weight": (4, 32)}
    for path in in_both_orders(tmp_path, shapes):
        with pytest.raises(HeadError, match="3 linear layers could be the head") as caught:
            find_head(open_checkpoint(path))
        assert caught.value.hint == "name it, e.g. --head head_cls.0"


def test_a_layer_of_another_purpose_is_not_taken_instead(tmp_path):
    shapes = {"fc.weight": (128, 32), "projection.0.weight": (96, 128)}
    for path in in_both_orders(tmp_path, shapes):
        with pytest.raises(HeadError, match="2 linear layers could be the head"):
            find_head(open_checkpoint(path))


def test_a_layer_of_the_body_is_not_taken_instead(tmp_path):
    body = {"stages.0.attn.qkv.weight": (40, 9), "stages.0.attn.proj.weight": (9, 8)}
    save_file(
        {name: torch.ones(shape) for name, shape in {**body, "head.weight": (8, 9)}.items()},
        tmp_path / "m.safetensors",
    )
    with pytest.raises(HeadError, match="3 linear layers could be the head"):
        find_head(open_checkpoint(tmp_path / "m.safetensors"))


def test_as_many_rows_as_class_names_are_a_head_whatever_follows(tmp_path):
    state = {"fc.weight": torch.ones(7, 5), "caption.cell.weight": torch.ones(9, 7)}
    torch.save(state, tmp_path / "m.pt")
    assert find_head(open_checkpoint(tmp_path / "m.pt")).key == "caption.cell"
    names = [f"c{n}" for n in range(7)]
    torch.save({"model": state, "classes": names}, tmp_path / "m.pt")
    assert find_head(open_checkpoint(tmp_path / "m.pt")).key == "fc"


@pytest.mark.parametrize("name", ["gate", "proj", "se"])
def test_a_convolution_that_takes_what_the_only_linear_layer_gives(tmp_path, name):
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (8, 8), f"{name}.bias": (8,)}
    conv = {"classifier.weight": (30, 8, 1, 1), "classifier.bias": (30,)}
    for path in in_both_orders(tmp_path, {**shapes, **conv}):
        head = find_head(open_checkpoint(path))
        assert (head.key, head.found, head.weight.shape) == ("classifier", "by its name", (30, 8))
    conv = {f"z.{key}": shape for key, shape in conv.items()}
    for path in in_both_orders(tmp_path, {**shapes, **conv}):
        with pytest.raises(
            HeadError, match=rf"'{name}' \(8, 8\).* into 'z.classifier.we"
        ) as caught:
            find_head(open_checkpoint(path))
        assert caught.value.hint.startswith("name the last layer: --head z.classifier, or ")
        assert find_head(open_checkpoint(path), "z.classifier").weight.shape == (30, 8)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("prototypes", (30, 64)),
        ("weight", (30, 64)),
        ("margin.W", (30, 64)),
        ("metric.kernel", (64, 30)),
        ("W", (64, 30)),
        ("fc_weights", (64, 30)),
        ("cap.weight_ih_l0", (48, 64)),
    ],
)
def test_parameters_that_take_what_the_head_would_give(tmp_path, name, shape):
    layer = {"fc.weight": (64, 32), "fc.bias": (64,)}
    for body in ({}, RESNET):
        for path in in_both_orders(tmp_path, {**body, **layer, name: shape}):
            with pytest.raises(HeadError, match=rf"'fc' \(64, 32\), but .*'{name}' ") as caught:
                find_head(open_checkpoint(path))
            assert caught.value.hint.startswith(f"rows cannot be added to '{name}'; ")
            assert find_head(open_checkpoint(path), "fc").weight.shape == (64, 32)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("centers", (64, 32)),  # of the classes, where the head is, too
        ("attributes", (64, 85)),
        ("confusion", (64, 64)),
        ("pos_embed", (10, 64)),
        ("layers.0.attn.bias_table", (10, 64)),
        ("aux.fc.weight", (64, 16)),
    ],
)
def test_parameters_beside_a_head(tmp_path, name, shape):
    for path in in_both_orders(tmp_path, {**RESNET, "fc.weight": (64, 32), name: shape}):
        assert find_head(open_checkpoint(path)).found == "known for ResNet"


def test_as_many_classes_as_the_body_is_wide(tmp_path):
    block = {"attn.qkv.weight": (24, 8), "attn.proj.weight": (8, 8), "mlp.fc1.weight": (32, 8)}
    body = {f"blocks.{n}.{name}": shape for n in range(2) for name, shape in block.items()}
    stage = {"qkv.weight": (40, 9), "proj.weight": (9, 8)}
    single = {f"stages.0.blocks.0.attn.{name}": shape for name, shape in stage.items()}
    tabular = {"layers.0.weight": (16, 8), "layers.2.weight": (12, 16)}
    for start, width in ((body, 8), (body, 9), (single, 9), (tabular, 12)):
        for path in in_both_orders(tmp_path, {**start, "classifier.weight": (8, width)}):
            assert find_head(open_checkpoint(path)).found == "by its name"


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8])
def test_a_head_of_another_dtype_is_named(tmp_path, dtype):
    small = {"fc.weight": torch.ones(3, 2).to(dtype), "conv.weight": torch.ones(2, 2, 1, 1)}
    code = "F8_E4M3" if dtype.is_floating_point else "I8"
    for others in ({}, {"gate.weight": torch.ones(2, 2)}):
        save_file({**small, **others}, tmp_path / "m.safetensors")
        with pytest.raises(HeadError) as caught:
            find_head(open_checkpoint(tmp_path / "m.safetensors"))
        assert caught.value.message.endswith(
            "expected a linear layer of F32, F16, BF16 or F64, found 'fc.weight' (3, 2) of " + code
        )
        assert "before it was quantised" in caught.value.hint
    state = {"last.weight": small["fc.weight"], "first.weight": torch.ones(2, 4)}
    save_file(state, tmp_path / "m.safetensors")
    with pytest.raises(HeadError, match=r"'first' \(2, 4\), but .*'last.weight' \(3, 2\)"):
        find_head(open_checkpoint(tmp_path / "m.safetensors"))

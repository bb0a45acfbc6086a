"""Where each torchvision classification architecture keeps its head, told by its tensor names.

A layout matches when all its marker tensors and its head are in the state dict. No model is built
and torchvision is not imported. A new family is one line.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """The marker tensors of an architecture family and the key of its head.

    Attributes:
        family: its name, for people.
        head: state-dict key of the head.
        markers: tensors that all its members have.
        auxiliary: keys of further heads that take part in training alone.

    """

    family: str
    head: str
    markers: tuple[str, ...]
    auxiliary: tuple[str, ...] = ()


LAYOUTS = (
    Layout("ResNet", "fc", ("conv1.weight", "layer1.0.conv1.weight")),
    Layout("ViT", "heads.head", ("class_token", "encoder.pos_embedding")),
    Layout("ConvNeXt", "classifier.2", ("features.0.0.weight", "features.1.0.layer_scale")),
    Layout("Swin", "head", ("features.0.0.weight", "features.1.0.norm1.weight")),
    Layout("MaxViT", "classifier.5", ("stem.0.0.weight", "classifier.3.weight")),
    Layout(
        "AlexNet or VGG",
        "classifier.6",
        ("features.0.weight", "classifier.1.weight", "classifier.4.weight"),
    ),
    Layout(
        "AlexNet or VGG",
        "classifier.6",
        ("features.0.weight", "classifier.0.weight", "classifier.3.weight"),
    ),
    Layout("DenseNet", "classifier", ("features.conv0.weight", "features.norm0.weight")),
    Layout("MobileNetV3", "classifier.3", ("features.0.0.weight", "classifier.0.weight")),
    Layout("EfficientNet or MobileNetV2", "classifier.1", ("features.0.0.weight",)),
    Layout("MNASNet", "classifier.1", ("layers.0.weight", "layers.8.0.layers.0.weight")),
    Layout("RegNet", "fc", ("stem.0.weight", "trunk_output.block1.block1-0.f.a.0.weight")),
    Layout("ShuffleNetV2", "fc", ("conv1.0.weight", "stage2.0.branch1.0.weight")),
    Layout(
        "GoogLeNet",
        "fc",
        ("conv1.conv.weight", "inception3a.branch1.conv.weight"),
        ("aux1.fc2", "aux2.fc2"),
    ),
    Layout(
        "Inception v3",
        "fc",
        ("Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch1x1.conv.weight"),
        ("AuxLogits.fc",),
    ),
    Layout("CrossViT", "head.0", ("patch_embed.0.proj.weight", "patch_embed.1.proj.weight")),
    Layout("CrossViT", "head.0", ("patch_embed.0.proj.0.weight", "patch_embed.1.proj.0.weight")),
    Layout("SqueezeNet", "classifier.1", ("features.0.weight", "features.3.squeeze.weight")),
)

#: Names under which other architectures (timm, Hugging Face, own code) commonly keep the head.
COMMON_HEADS = (
    "fc", "classifier", "head", "head.fc", "heads.head", "heads", "_fc", "last_linear", "logits",
    "output", "linear", "classifier.fc", "head.l", "head.linear", "head.fc.fc2", "classif",
    "classifier.1", "classifier.linear", "cls_classifier", "score", "head.head.l",
    "head.fc2", "head.classifier.4", "head.classifier.linear",
)  # fmt: skip

#: Pairs of heads, each on a token or branch of its own; the answer is their mean.
TWINS = (
    ("head", "head_dist"), ("head.l", "head_dist.l"), ("head", "dist_head"),
    ("head.linear", "head_dist.linear"), ("head.head.l", "head.head_dist.l"),
    ("cls_classifier", "distillation_classifier"), ("classifier", "distillation_classifier"),
    ("classifier.linear", "classifier_distill.linear"), ("head.0", "head.1"),
)  # fmt: skip

#: Pairs of heads whose answers are put together in another way (VOLO: by a maximum over places).
NO_TWINS = (("head", "aux_head"),)


def layout_of(keys: Collection[str]) -> Layout | None:
    """Return the layout that a state dict with these bare ``keys`` has, or None."""
    for layout in LAYOUTS:
        if all(name in keys for name in (f"{layout.head}.weight", *layout.markers)):
            return layout
    return None

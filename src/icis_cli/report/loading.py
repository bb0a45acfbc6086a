"""Lines of Python that load a new checkpoint, as far as it is known which network it is of.

Whoever runs them needs the network's own library; icis only where a file holds values beside its
tensors that torch alone would refuse. Names of files and networks come from
strangers: they are written as Python literals, never as code.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from icis_cli.checkpoint.folder import FolderCheckpoint, TorchFolderCheckpoint
from icis_cli.checkpoint.linear_layers import strip_prefixes
from icis_cli.checkpoint.onnx import OnnxCheckpoint
from icis_cli.checkpoint.registry import container_for
from icis_cli.checkpoint.safetensors import SafetensorsCheckpoint
from icis_cli.checkpoint.torch_pickle import TorchCheckpoint
from icis_cli.checkpoint.torch_values import extra_classes
from icis_cli.injection.expansion import Expansion

#: Networks of torchvision with heads that take part in training alone.
_INCEPTIONS = ("googlenet", "inception_v3")
_AUXILIARY = ("aux1.", "AuxLogits.")


def loading_lines(expansion: Expansion, out: Path, network: str | None) -> list[str]:
    """Return Python that makes ``model`` (or ``session``) of the new checkpoint.

    Args:
        expansion: how it was made.
        out: where it is written; the lines are run in its folder.
        network: library and name, e.g. ``"timm/resnet18"``; None where it is not known.

    """
    container = container_for(out, expansion.checkpoint)
    if issubclass(container, OnnxCheckpoint):
        return _onnx(out)
    library, _, name = (network or "").partition("/")
    maker = _MAKERS.get(library, _unknown)
    lines = maker(expansion, out, name)
    return sorted(lines, key=lambda line: not line.startswith(("import ", "from ")))


def library_of(expansion: Expansion, out: Path, network: str | None) -> str | None:
    """Return how Hugging Face's hub calls the library that loads the checkpoint, where it does."""
    if issubclass(container_for(out, expansion.checkpoint), OnnxCheckpoint):
        return "onnx"
    library = (network or "").partition("/")[0]
    return library if library in ("timm", "transformers") else None


def _onnx(out: Path) -> list[str]:
    return [
        "import onnxruntime",
        f"session = onnxruntime.InferenceSession({out.name!r})",
        "name = session.get_inputs()[0].name",
        "logits = session.run(None, {name: images})[0]",
    ]


def _torchvision(expansion: Expansion, out: Path, name: str) -> list[str]:
    count = len(expansion.class_names)
    options = _torchvision_options(expansion, name)
    return [
        *_state(expansion, out),
        "import torchvision",
        (
            f"model = torchvision.models.get_model({name!r}, weights=None, num_classes={count}"
            f"{options})"
        ),
        *_LOADED,
    ]


def _torchvision_options(expansion: Expansion, name: str) -> str:
    """Return arguments without which a network of torchvision has other tensors."""
    shapes = {strip_prefixes(key): info.shape for key, info in expansion.checkpoint.tensors.items()}
    if name in _INCEPTIONS:
        dropped = expansion.record is not None and expansion.record.dropped
        there = not dropped and any(key.startswith(_AUXILIARY) for key in shapes)
        return f", init_weights=False, aux_logits={there}"
    positions, patches = shapes.get("encoder.pos_embedding", ()), shapes.get("conv_proj.weight", ())
    if name.startswith("vit_") and len(positions) == 3 and len(patches) == 4:
        side = round((positions[1] - 1) ** 0.5) * patches[-1]
        return f", image_size={side}"
    return ""


def _timm(expansion: Expansion, out: Path, name: str) -> list[str]:
    if _is_folder(expansion, out) and _has_config(expansion):
        return [
            "import timm",
            f"model = timm.create_model({'local-dir:' + out.name!r}, pretrained=True).eval()",
        ]
    options = ", **model_args)  # as in the config.json" if _has_config(expansion) else ")"
    return [
        *_state(expansion, out),
        "import timm",
        f"model = timm.create_model({name!r}, num_classes={len(expansion.class_names)}{options}",
        *_LOADED,
    ]


def _transformers(expansion: Expansion, out: Path, name: str) -> list[str]:
    if _is_folder(expansion, out):
        return [
            "from transformers import AutoModelForImageClassification",
            f"model = AutoModelForImageClassification.from_pretrained({out.name!r})",
        ]
    if not name.isidentifier():
        return _unknown(expansion, out, name)
    source = expansion.checkpoint.path
    folder = source if source.is_dir() else source.parent
    return [
        *_state(expansion, out),
        f"from transformers import AutoConfig, {name}",
        f"config = AutoConfig.from_pretrained({folder.name!r})  # the folder of its config.json",
        f"config.num_labels = {len(expansion.class_names)}",
        f"model = {name}.from_pretrained(None, config=config, state_dict=state)",
    ]


def _unknown(expansion: Expansion, out: Path, name: str) -> list[str]:  # noqa: ARG001 - as others
    count = len(expansion.class_names)
    if isinstance(expansion.checkpoint, TorchFolderCheckpoint) and _is_folder(expansion, out):
        file = f"{out.name}/pytorch_model.bin"
        reading = ["import torch", f"state = torch.load({file!r}, weights_only=True)"]
    elif _is_folder(expansion, out):
        reading = [
            "from pathlib import Path",
            "from safetensors.torch import load_file",
            f"files = Path({out.name!r}).glob('*.safetensors')",
            "state = {key: value for file in files for key, value in load_file(file).items()}",
        ]
    else:
        reading = _state(expansion, out)
    return [*reading, f"model = ...  # your own network, made for {count} classes", *_LOADED]


_LOADED = ("model.load_state_dict(state)", "model.eval()")

_MAKERS: dict[str, Callable[[Expansion, Path, str], list[str]]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "transformers": _transformers,
}


def _is_folder(expansion: Expansion, out: Path) -> bool:
    return issubclass(container_for(out, expansion.checkpoint), FolderCheckpoint)


def _has_config(expansion: Expansion) -> bool:
    checkpoint = expansion.checkpoint
    return isinstance(checkpoint, FolderCheckpoint) and checkpoint.config is not None


def _state(expansion: Expansion, out: Path) -> list[str]:
    """Return lines that read the state dict of a file, with keys as the bare network has them."""
    checkpoint = expansion.checkpoint
    key = expansion.head.key
    prefix = key.removesuffix(strip_prefixes(key))
    if issubclass(container_for(out, checkpoint), SafetensorsCheckpoint):
        lines = ["from safetensors.torch import load_file", f"state = load_file({out.name!r})"]
    else:
        entry = ""
        if isinstance(checkpoint, TorchCheckpoint) and checkpoint.chosen.key is not None:
            entry = f"[{checkpoint.chosen.key!r}]"
        extra = extra_classes(checkpoint.root) if isinstance(checkpoint, TorchCheckpoint) else set()
        lines = ["import torch"]
        if extra == {argparse.Namespace}:
            lines = ["import argparse, torch",
                     "torch.serialization.add_safe_globals([argparse.Namespace])"]  # fmt: skip
        reading = f"torch.load({out.name!r}, weights_only=True){entry}"
        if extra - {argparse.Namespace}:  # numbers of numpy, say: torch alone would refuse them
            lines, reading = ["import icis_cli"], f"icis_cli.open_checkpoint({out.name!r}).state"
        lines.append(f"state = {reading}")
    if prefix:
        lines.append(
            f"state = {{k.removeprefix({prefix!r}): v for k, v in state.items() "
            f"if k.startswith({prefix!r})}}"
        )
    return lines

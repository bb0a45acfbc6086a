"""Encoders that were trained with images: the text half of models of the library open_clip."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.encoders.base import Encoder, Encoding
from icis_cli.encoders.model_folders import (
    EXTRA,
    digest_of,
    require_sound,
    snapshot,
)
from icis_cli.encoders.prompts import CLIP_PROMPTS, TextEncoder
from icis_cli.errors import DescriptorError, first_line
from icis_cli.files import sha256_of
from icis_cli.quiet import offline, quietly
from icis_cli.runtime import import_extra, import_torch

KIND = "open_clip"

_SETTINGS = "open_clip_config.json"
_FILES = ("open_clip_*.json", "open_clip_*.safetensors")

#: Texts that are encoded at a time.
_BATCH = 64


@dataclass(frozen=True)
class _Model:
    """What the library needs to be told.

    Attributes:
        name: of an architecture, or a folder as it writes that.
        weights: file of them; None where the folder holds them.
        digest: of the files.
        quick_gelu: whether it was trained with another activation than the architecture tells.

    """

    name: str
    weights: Path | None
    digest: str
    quick_gelu: bool = False


def is_one(path: Path) -> bool:
    """Tell whether a folder holds such a model."""
    return (path / _SETTINGS).is_file()


def open_encoder(encoding: Encoding, *, download: bool) -> Encoder:
    """Load a model.

    Raises:
        DescriptorError: it is not there, damaged, or would run code of its own.
        InstallationError: the extra is not installed.

    """
    with quietly():
        library = import_extra("open_clip", EXTRA, "this encoder")
    found = _located(encoding, library, download=download)
    # Some models have their tokenizer elsewhere.
    network = contextlib.nullcontext() if download else offline()
    with quietly(), network:
        try:
            model = library.create_model(
                found.name,
                None if found.weights is None else str(found.weights),
                device="cpu",
                force_quick_gelu=found.quick_gelu,
                require_pretrained=True,
                weights_only=True,
            ).eval()
            tokenizer = library.get_tokenizer(found.name)
        except Exception as error:  # a damaged file can raise anything
            raise DescriptorError(
                encoding.place,
                f"is no readable model of open_clip ({first_line(error)})",
                "expected its weights as .safetensors, or as a .pt of plain tensors"
                if encoding.path
                else "if a file of it is not in the local cache, pass --download",
            ) from None
    torch = import_torch()

    def embed(texts: Sequence[str]) -> FloatArray:
        parts: list[Any] = []
        with quietly(), torch.inference_mode():
            for start in range(0, len(texts), _BATCH):
                tokens = tokenizer(list(texts[start : start + _BATCH]))
                parts.append(model.encode_text(tokens, normalize=True).float().numpy())
        return np.concatenate(parts)

    prompts = encoding.prompts or CLIP_PROMPTS
    return TextEncoder(replace(encoding, prompts=prompts, digest=found.digest), embed)


def _located(encoding: Encoding, library: Any, *, download: bool) -> _Model:
    """Find the files of a model.

    Raises:
        DescriptorError: they are not there, or of no known architecture.

    """
    path = Path(encoding.path)
    if encoding.path and not encoding.name:
        require_sound(path)
        return _Model(f"local-dir:{path}", None, digest_of(path))
    architecture, _, tag = encoding.name.partition("@")
    if architecture not in library.list_models():
        raise DescriptorError(
            encoding.place,
            f"open_clip knows no architecture {architecture!r}",
            f"expected e.g. {KIND}/ViT-B-32@laion2b_s34b_b79k, or a folder with {_SETTINGS}",
        )
    if encoding.path:
        return _Model(architecture, path, sha256_of(path))
    published = library.get_pretrained_cfg(architecture, tag)
    if not published:
        tags = ", ".join(library.list_pretrained_tags_by_model(architecture)) or "none"
        raise DescriptorError(
            encoding.place, f"{architecture} has no published weights {tag!r}, only {tags}"
        )
    repo = os.path.split(published.get("hf_hub", ""))[0]
    if not repo:
        raise DescriptorError(
            encoding.place,
            "is published as a pickle alone",
            f"download it yourself, and pass {KIND}/{architecture}@FILE",
        )
    folder = snapshot(repo, _FILES, ("open_clip_*.safetensors",), download=download)
    weights = sorted(folder.glob("open_clip_*.safetensors"))[0]
    gelu = bool(published.get("quick_gelu", False))
    return _Model(architecture, weights, sha256_of(weights), gelu)

"""Encoders of sentences: models of the library sentence-transformers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.encoders.base import Encoder, Encoding
from icis_cli.encoders.model_folders import (
    EXTRA,
    digest_of,
    read_settings,
    require_sound,
    snapshot,
)
from icis_cli.encoders.prompts import SENTENCE_PROMPTS, TextEncoder
from icis_cli.errors import DescriptorError, first_line
from icis_cli.quiet import offline, quietly
from icis_cli.runtime import import_extra

KIND = "sentence-transformers"

#: Parts of a model that are known to do nothing but compute; a folder may name any class there is.
_PARTS = re.compile(
    r"sentence_transformers(\.\w+)*\."
    r"(Transformer|Pooling|Normalize|Dense|LayerNorm|Dropout|StaticEmbedding)"
)

_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*_*/*.json", "*_*/*.safetensors")
_LEAVES = re.compile(r"(^|\.)pooler\.")


def is_one(path: Path) -> bool:
    """Tell whether a folder holds such a model."""
    return (path / "modules.json").is_file()


def open_encoder(encoding: Encoding, *, download: bool) -> Encoder:
    """Load a model.

    Raises:
        DescriptorError: it is not there, damaged, or would run code of its own.
        InstallationError: the extra is not installed.

    """
    folder = Path(encoding.path)
    if not encoding.path:
        repo = encoding.name if "/" in encoding.name else f"{KIND}/{encoding.name}"
        folder = snapshot(repo, _FILES, ("modules.json", "*.safetensors"), download=download)
    _check_parts(folder / "modules.json")
    require_sound(folder)
    with quietly():
        library = import_extra("sentence_transformers", EXTRA, "this encoder")
        try:
            with offline():
                model = library.SentenceTransformer(
                    str(folder),
                    device="cpu",
                    trust_remote_code=False,
                    local_files_only=True,
                    model_kwargs={"use_safetensors": True},
                )
        except Exception as error:  # a damaged folder can raise anything
            raise DescriptorError(
                folder, f"is no readable model of sentence-transformers ({first_line(error)})"
            ) from None
    _check_weights(folder, model)

    def embed(texts: Sequence[str]) -> FloatArray:
        with quietly():
            found = model.encode(list(texts), show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(found, dtype=np.float32)

    prompts = encoding.prompts or SENTENCE_PROMPTS
    return TextEncoder(replace(encoding, prompts=prompts, digest=digest_of(folder)), embed)


def _check_parts(path: Path) -> None:
    """Refuse parts that are not of the library itself: they are loaded by their name."""
    parts = read_settings(path)
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise DescriptorError(path, "expected a list of the parts of a model")
    for part in parts:
        if not isinstance(part.get("type"), str) or not _PARTS.fullmatch(part["type"]):
            raise DescriptorError(
                path,
                f"names the part {part.get('type')!r}, which icis does not load",
                "use a model of Transformer, Pooling, Dense and Normalize",
            )


def _check_weights(folder: Path, model: Any) -> None:
    """Refuse weights that lack a tensor: it would be drawn at random, and tell nothing."""
    from safetensors import safe_open

    inner = getattr(model[0], "auto_model", None)
    if inner is None:
        return
    stored: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="np") as content:
            stored |= set(content.keys())
    ends = {key.split(".", start)[-1] for key in stored for start in range(key.count(".") + 1)}
    state = {key: value for key, value in inner.state_dict().items() if not _LEAVES.search(key)}
    there = {value.data_ptr() for key, value in state.items() if key in ends}  # may be shared
    missing = [key for key, value in state.items() if value.data_ptr() not in there]
    if missing:
        raise DescriptorError(
            folder, f"its weights lack {len(missing)} of {len(state)} tensors, first {missing[0]!r}"
        )

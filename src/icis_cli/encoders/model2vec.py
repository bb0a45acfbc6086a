"""Static encoders: models of the library model2vec, which need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

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

KIND = "model2vec"

_FILES = ("config.json", "tokenizer.json", "model.safetensors")


def is_one(path: Path) -> bool:
    """Tell whether a folder holds such a model."""
    if not all((path / name).is_file() for name in _FILES):
        return False
    settings = read_settings(path / "config.json")
    return isinstance(settings, dict) and (
        settings.get("model_type") == KIND
        or settings.get("architectures") == ["StaticModel"]
        or "embedding_dtype" in settings  # written by the library itself, whatever else is
    )


def open_encoder(encoding: Encoding, *, download: bool) -> Encoder:
    """Load a model.

    Raises:
        DescriptorError: it is not there, or damaged.
        InstallationError: the extra is not installed.

    """
    folder = Path(encoding.path)
    if not encoding.path:
        repo = encoding.name if "/" in encoding.name else f"minishlab/{encoding.name}"
        folder = snapshot(repo, _FILES, _FILES, download=download)
    require_sound(folder)
    with quietly():
        library = import_extra("model2vec", EXTRA, "this encoder")
        try:
            with offline():
                model = library.StaticModel.from_pretrained(str(folder))
        except Exception as error:  # a damaged folder can raise anything
            raise DescriptorError(
                folder, f"is no readable model of model2vec ({first_line(error)})"
            ) from None

    def embed(texts: Sequence[str]) -> FloatArray:
        with quietly():
            return np.asarray(model.encode(list(texts), use_multiprocessing=False), np.float32)

    prompts = encoding.prompts or SENTENCE_PROMPTS
    return TextEncoder(replace(encoding, prompts=prompts, digest=digest_of(folder)), embed)

"""Folders of published models: where they are, what is refused in them, silence while they load.

Models come from strangers. They are only ever loaded from a local folder, from weights without
pickle, and never with code of their own; the network is used to fill the cache, where that was
asked for, and for nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from icis_cli.errors import DescriptorError, first_line
from icis_cli.files import sha256_of
from icis_cli.quiet import quietly
from icis_cli.runtime import import_extra

#: The extra that brings all text encoders.
EXTRA = "text"

#: Beyond it a file of settings is none.
_LARGEST_JSON = 1 << 28

#: Settings whose product is about the size of one stored matrix, or less than all of them.
_PRODUCTS = (
    ("vocab_size", "hidden_size"),
    ("max_position_embeddings", "hidden_size"),
    ("intermediate_size", "hidden_size"),
    ("num_hidden_layers", "hidden_size", "hidden_size"),
    ("vocab_size", "width"),
    ("context_length", "width"),
    ("layers", "width", "width"),
    ("embed_dim", "width"),
)

#: A matrix may be used by several layers, or be stored in half a byte a number.
_SLACK = 8

#: In settings, what makes a library run code that lies beside them.
_CODE = ("auto_map", "trust_remote_code", "custom_pipelines")


def snapshot(repo: str, patterns: Sequence[str], needs: Sequence[str], *, download: bool) -> Path:
    """Return the folder of a model in the cache of Hugging Face.

    Args:
        repo: e.g. ``sentence-transformers/all-MiniLM-L6-v2``.
        patterns: of the files to download.
        needs: patterns of which each must be there.
        download: whether the network may be used where the cache lacks it.

    Raises:
        DescriptorError: it is not there, or cannot be downloaded.
        InstallationError: the extra is not installed.

    """
    with quietly():
        hub = import_extra("huggingface_hub", EXTRA, "an encoder that is named")
    try:
        with quietly():
            folder = Path(hub.snapshot_download(repo, local_files_only=True))
    except Exception:  # its kind depends on the version
        folder = None
    if folder is None or not _has(folder, needs):
        if not download:
            raise DescriptorError(
                repo,
                "is not in the local cache of models",
                "pass --download to get it from huggingface.co, or the path of a local folder",
            )
        try:
            with quietly():
                folder = Path(hub.snapshot_download(repo, allow_patterns=list(patterns)))
        except Exception as error:  # of the network, of the hub, of the disk
            raise DescriptorError(
                repo, f"cannot be downloaded from huggingface.co ({first_line(error)})"
            ) from None
    missing = next((need for need in needs if not _has(folder, (need,))), None)
    if missing is not None:
        raise DescriptorError(
            repo, f"has no {missing}", "it is of another kind, or has pickles only"
        )
    return folder


def _has(folder: Path, needs: Sequence[str]) -> bool:
    return all(any(folder.glob(need)) for need in needs)


def read_settings(path: Path) -> Any:
    """Read a JSON file of a model.

    Raises:
        DescriptorError: it is missing, large, or no JSON.

    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_JSON + 1)
        if len(content) > _LARGEST_JSON:
            raise DescriptorError(path, "is larger than 256 MiB, expected settings of a model")
        return json.loads(content)
    except OSError as error:
        raise DescriptorError(path, f"cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise DescriptorError(path, f"is no readable JSON ({first_line(error)})") from None


def require_sound(folder: Path) -> None:
    """Refuse a model that would run code of its own, or takes far more memory than its weights.

    Raises:
        DescriptorError: naming the file.

    """
    stored = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    if not stored:
        raise DescriptorError(
            folder, "has no .safetensors weights", "pickled weights are never loaded: convert them"
        )
    for path in sorted(folder.rglob("*config*.json")):
        for settings in _objects(read_settings(path)):
            asked = next((key for key in _CODE if settings.get(key)), None)
            if asked is not None:
                raise DescriptorError(
                    path, f"asks to run code of its own ({asked}), which icis never does"
                )
            _require_small(path, settings, stored)


def _require_small(path: Path, settings: dict[str, Any], stored: int) -> None:
    for keys in _PRODUCTS:
        numbers = [settings.get(key) for key in keys]
        size = 1
        for number in numbers:
            size *= number if type(number) is int else 0
        if size > _SLACK * stored:
            told = " x ".join(f"{key} {settings[key]}" for key in dict.fromkeys(keys))
            raise DescriptorError(
                path, f"{told}: that is far more than the {stored} bytes of its weights"
            )


def _objects(content: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a JSON text, however deep."""
    waiting = [content]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()


def digest_of(folder: Path) -> str:
    """Return a sha256 of the files in a folder that decide what a model makes of a text."""
    digest = hashlib.sha256()
    files = (
        path
        for suffix in ("safetensors", "json", "txt", "model")
        for path in folder.rglob(f"*.{suffix}")
    )
    for path in sorted(files):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_of(path)}\0".encode())
    return digest.hexdigest()

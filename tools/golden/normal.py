"""What of a text is not about the tool: folders, versions, times, hashes of what is computed."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import icis_cli

#: Libraries whose versions files and pages name.
LIBRARIES = (
    "numpy", "torch", "torchvision", "safetensors", "onnx", "timm", "transformers", "pillow",
    "h5py", "pyarrow", "rich", "typer",
)  # fmt: skip

_HASH = re.compile(r"\b[0-9a-f]{16,64}\b")
_SECONDS = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?= s\b)")
_TIMED = re.compile(r"\btime s\b")
_LAST_NUMBER = re.compile(r"\d+\.\d+(?=\D*$)")


def versions() -> dict[str, str]:
    """Return what is installed: names and versions."""
    found = {"python": platform.python_version(), "icis": icis_cli.__version__}
    return found | {name: metadata.version(name) for name in LIBRARIES}


class Normal:
    """Takes out of texts what differs from run to run.

    Attributes:
        hashes: sha256 of files by which texts may name them, and their names.

    """

    def __init__(self, folder: Path, found: Mapping[str, str]) -> None:
        """Know the folder that commands run in, and versions of libraries."""
        self.hashes: dict[str, str] = {}
        self._folder = str(folder)
        self._versions = [
            (re.compile(rf"(?<![\w.]){re.escape(version)}(?!\w|\.\d)"), f"<{name} version>")
            for name, version in found.items()
        ]

    def text(self, text: str) -> str:
        """Return a text with names in angle brackets for what differs."""
        text = text.replace(self._folder, "<folder>")
        text = _HASH.sub(self._named, text)
        for version, name in self._versions:
            text = version.sub(name, text)
        return _SECONDS.sub("#", _without_times(text))

    def _named(self, match: re.Match[str]) -> str:
        short = match[0]
        for sha256, name in self.hashes.items():
            if sha256.startswith(short):
                return f"<sha256 of {name}>"
        return short


def _without_times(text: str) -> str:
    """Take the last number of every line of a table whose last title is a time."""
    lines, timed = [], False
    for line in text.split("\n"):
        timed = bool(_TIMED.search(line)) or (timed and bool(line.strip()))
        lines.append(_LAST_NUMBER.sub("#.#", line) if timed else line)
    return "\n".join(lines)


def outline(value: Any, path: str = "") -> Iterator[str]:
    """Yield a JSON value as lines: where something is, and what; floats with six digits."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from outline(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(part, dict | list) and part for part in value):
        for number, part in enumerate(value):
            yield from outline(part, f"{path}[{number}]")
    elif path.rpartition(".")[2].endswith("seconds") and value is not None:
        yield f"{path} = #"
    else:
        yield f"{path} = {json.dumps(_rounded(value), ensure_ascii=False)}"


def _rounded(value: Any) -> Any:
    if isinstance(value, list) and len(value) > 32 and isinstance(value[-1], float):
        return [_rounded(value[0]), f"... {len(value)} numbers ...", float(f"{value[-1]:.2g}")]
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def as_json(text: str) -> Any:
    """Return the object that a text is, or None."""
    if not text.startswith(("{", "[")):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found

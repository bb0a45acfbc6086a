"""Late, checked imports of the heavy packages, so that ``icis --help`` starts at once."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
from importlib import metadata
from types import ModuleType
from typing import Any

from icis_cli.errors import InstallationError, UsageError

DEVICES = ("auto", "cpu", "cuda")


def import_torch() -> Any:
    """Import torch.

    Raises:
        InstallationError: it is not installed, or its libraries do not load.

    """
    try:
        return importlib.import_module("torch")
    except (ImportError, OSError) as error:
        raise InstallationError(
            f"torch cannot be imported ({error})", "pip install torch torchvision"
        ) from error


def import_torchvision() -> ModuleType:
    """Import torchvision.

    Raises:
        InstallationError: it is not installed, or was built for another torch.

    """
    import_torch()
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        raise InstallationError(
            "torchvision was built for another torch (operator torchvision::nms does not exist)",
            "install both from one place: pip install --force-reinstall torch torchvision",
        ) from error
    except (ImportError, OSError) as error:
        raise InstallationError(
            f"torchvision cannot be imported ({error})", "pip install torch torchvision"
        ) from error


def library_versions() -> dict[str, str]:
    """Return the versions on which the bytes of a result depend, without an import."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "torch"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def core_count() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def import_extra(module: str, extra: str, purpose: str) -> Any:
    """Import a module that an optional extra brings.

    Raises:
        InstallationError: it is not installed; the hint names the extra.

    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InstallationError(
            f"{purpose} needs the package {module.partition('.')[0]}, which is not installed",
            f"pip install 'icis-cli[{extra}]'",
        ) from error


def choose_device(device: str) -> str:
    """Return ``"cpu"`` or ``"cuda"`` for ``"auto"``, else ``device`` itself; imports torch.

    Raises:
        UsageError: another name.
        InstallationError: CUDA is asked for but not there.

    """
    require_device(device)
    if device == "cpu":
        return device
    there = import_torch().cuda.is_available()
    if device == "cuda" and not there:
        raise InstallationError("no CUDA device is there", "pass --device cpu")
    return "cuda" if there else "cpu"


def require_device(device: str) -> None:
    """Refuse a name that is no device, without importing torch.

    Raises:
        UsageError: it is none.

    """
    if device not in DEVICES:
        raise UsageError(f"--device {device}: expected one of {', '.join(DEVICES)}")

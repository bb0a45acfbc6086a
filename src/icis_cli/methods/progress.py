"""Progress of long trainings on disk, so that a fit that was killed can go on.

It goes where a :data:`Watch` goes. One file for each training that takes long, named by a digest
of all that the training depends on: what it says fits that training alone, and a fit of several
finds those that are done. A training that goes on from it ends with the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icis_cli.errors import OutputError
from icis_cli.files import appearing_together
from icis_cli.methods.base import Step, Watch

State = Mapping[str, NDArray[Any]]

_SUFFIX = ".state.safetensors"


@dataclass(frozen=True)
class Progress:
    """Keeps the state of trainings in a folder of its own.

    Attributes:
        folder: made when there is something to keep.
        versions: text of all that the bytes of a training depend on beside what is trained how:
            versions of libraries, device, number of threads.
        watch: told about every epoch.
        seconds: from one keeping to the next, at least; shorter trainings are not kept at all.
        share: of the time that keeping may take, above 0 up to 1.
        stale: called once where trainings are kept anew, though those of an earlier run are there
            and none of them fits; None for nobody.
        earlier: files of an earlier run of which none has been found to fit so far.

    """

    folder: Path
    versions: str
    watch: Watch | None = None
    seconds: float = 10.0
    share: float = 0.05
    stale: Callable[[], None] | None = None
    earlier: set[Path] = field(default_factory=set)

    def __call__(self, step: Step) -> None:
        """Pass on how far the training is."""
        if self.watch is not None:
            self.watch(step)

    def begin(self, how: str, *data: NDArray[Any]) -> Keeper:
        """Return what keeps one training, which depends on ``how`` and ``data`` alone."""
        digest = hashlib.sha256(f"{self.versions} {how}".encode())
        for part in data:
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        return Keeper(self.folder / f"{digest.hexdigest()[:32]}{_SUFFIX}", self)

    def kept(self) -> set[Path]:
        """Return the files of trainings that are there."""
        return set(self.folder.glob(f"*{_SUFFIX}"))

    def forget(self) -> None:
        """Remove all that was kept: the fit is complete, or starts anew."""
        for path in self.kept():
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is not there, or somebody put a file into it
            self.folder.rmdir()


class Keeper:
    """The state of one training, in one file."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self.path = path
        self._progress = progress
        self._next = time.monotonic() + progress.seconds

    def found(self) -> State | None:
        """Return what an earlier run kept of this training, or None.

        Raises:
            OutputError: it is damaged.

        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if not self.path.is_file():
            return None
        self._progress.earlier.clear()  # they are of this fit
        try:
            return load_file(self.path)
        except (SafetensorError, OSError, ValueError) as error:
            raise OutputError(
                self.path, f"is damaged ({error})", f"remove {self.path.parent} to start anew"
            ) from None

    @property
    def is_due(self) -> bool:
        """Whether it is time to keep the state."""
        return time.monotonic() >= self._next

    def keep(self, state: State) -> None:
        """Put a state in the place of the one before; whole or not at all.

        Raises:
            OutputError: it cannot be written.

        """
        from safetensors.numpy import save

        start = time.monotonic()
        if self._progress.earlier and self._progress.stale is not None:
            self._progress.stale()
        self._progress.earlier.clear()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with appearing_together((self.path,), force=True) as streams:
            streams[self.path].write(save(dict(state)))
        end = time.monotonic()
        pause = (end - start) * (1 / self._progress.share - 1)
        self._next = end + max(self._progress.seconds, pause)

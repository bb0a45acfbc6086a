"""Runs the command lines of one file of the record in a folder of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tools.forkserver import ONE_CORE, ForkServer
from tools.golden.contents import Contents, has_times
from tools.golden.normal import Normal, as_json, outline
from tools.golden.transcript import Exact, Step

#: What of the environment commands see, beside variables of libraries of linear algebra.
_KEPT = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "SYSTEMROOT", "TMPDIR")

#: Which variables choose kernels: they are kept, and are part of the fingerprint.
KERNELS = ("OPENBLAS_CORETYPE", "ATEN_CPU_CAPABILITY", "MKL_", "ONEDNN_", "DNNL_", "NPY_")


@dataclass(frozen=True)
class Material:
    """What the groups share.

    Attributes:
        folder: the inputs; each group has a copy.
        known: hashes of what is in them.
        versions: of libraries.

    """

    folder: Path
    known: frozenset[str]
    versions: Mapping[str, str]


def environment(home: Path) -> dict[str, str]:
    """Return what commands see: little, so that it is the same everywhere."""
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    kernels = {key: value for key, value in os.environ.items() if key.startswith(KERNELS)}
    fixed = {"COLUMNS": "80", "LANG": "C.UTF-8", "HOME": str(home), "HF_HUB_OFFLINE": "1"}
    fixed["CUDA_VISIBLE_DEVICES"] = ""  # a graphics card rounds otherwise
    return kept | kernels | ONE_CORE | fixed


class Group:
    """A folder in which command lines run one after the other."""

    def __init__(self, name: str, server: ForkServer, material: Material, folder: Path) -> None:
        """Copy the material."""
        self.name = name
        self._server = server
        self._folder = folder / name
        shutil.copytree(material.folder, self._folder)
        self._environment = server.on_path(environment(folder / "home"))
        self._normal = Normal(self._folder, material.versions)
        self._contents = Contents(material.known, self._normal)
        self._seen: dict[tuple[object, ...], str] = {}
        self._files = self._look()
        for name, sha256 in sorted(self._files.items()):
            self._normal.hashes.setdefault(sha256, name)

    def _look(self) -> dict[str, str]:
        """Return the sha256 of every file; those that nobody has touched are not read again."""
        found = {}
        for path in sorted(self._folder.rglob("*")):
            if path.is_file():
                status = path.stat()
                key = (path, status.st_ino, status.st_mtime_ns, status.st_size)
                if key not in self._seen:
                    self._seen[key] = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path.relative_to(self._folder))] = self._seen[key]
        return found

    def run(self, steps: Sequence[Step]) -> tuple[list[Step], list[Exact]]:
        """Run all steps; return them with their new records, and the files that they wrote."""
        done, files = [], []
        for step in steps:
            ended = subprocess.run(  # noqa: S603
                ["bash", "-c", step.command],  # noqa: S607
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
            record = [f"exit {ended.returncode}"]
            before, self._files = self._files, self._look()
            changed = [name for name in self._files if self._files[name] != before.get(name)]
            for name in changed:
                self._normal.hashes.setdefault(self._files[name], name)
            if step.recorded or ended.returncode:
                record += self._printed("out", ended.stdout) + self._printed("err", ended.stderr)
            if step.recorded:
                record += self._told(changed, before)
                files += [self._exact(step, name) for name in changed if not self._timed(name)]
            kept = step.recorded or ended.returncode
            done.append(replace(step, record=tuple(record) if kept else ()))
        return done, files

    def _printed(self, stream: str, content: bytes) -> list[str]:
        """Return what was printed, line by line; a JSON object as an outline."""
        text = content.decode(errors="backslashreplace")
        found = as_json(text)
        if found is not None:
            title = f"JSON, {len(text.splitlines())} line(s):"
            text = "\n".join([title, *outline(found)])
        lines = self._normal.text(text).splitlines()
        return [f"{stream}| {line}".rstrip() for line in lines]

    def _told(self, changed: Sequence[str], before: Mapping[str, str]) -> Iterator[str]:
        """Yield what has become of files."""
        for name in changed:
            yield f"{'changed' if name in before else 'wrote'} {name}"
            for line in self._contents.lines(self._folder / name):
                yield f"    {line}".rstrip()
        for name in before:
            if name not in self._files:
                yield f"removed {name}"

    def _timed(self, name: str) -> bool:
        return has_times((self._folder / name).read_bytes())

    def _exact(self, step: Step, name: str) -> Exact:
        size = (self._folder / name).stat().st_size
        return Exact(self.name, step.command, name, size, self._files[name])

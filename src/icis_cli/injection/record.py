"""The record: what a checkpoint says about the rows that were injected into it.

It lies as sorted JSON in the safetensors metadata under the single key ``icis`` and in the side
file ``NEW.icis.json``, without time stamps or folders: same input, same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from icis_cli import __version__
from icis_cli.checkpoint.base import Checkpoint
from icis_cli.errors import CheckpointError
from icis_cli.runtime import library_versions

SCHEMA_VERSION = 1
METADATA_KEY = "icis"
KIND = "expanded checkpoint"

#: Stands for the digest of a file that has not been read yet; as long as any.
PENDING = "0" * 64


@dataclass(frozen=True)
class Round:
    """One injection.

    Attributes:
        classes: how many rows it added.
        descriptor_rows: their descriptor row numbers.
        method: name of the method, its ``settings`` and ``seed``.
        calibration: the offset gamma added to the new rows' biases.
        calibration_kind: ``"auto"``, ``"fixed"`` or ``"none"``.
        evening, reach: exponent and mean distance of the evening of lengths; 0 without it.
        standing: per new class, the share of held-out seen classes whose rows looked less sure;
            empty where no class was held out.
        injector_sha256, weights_sha256: of the files that were read; the latter is ``PENDING``
            until the checkpoint is written.
        descriptors: name and sha256 of each descriptor file.
        version: of the package.
        libraries: versions of what the bytes of the result depend on.

    """

    classes: int
    descriptor_rows: tuple[int, ...]
    method: str
    settings: Mapping[str, Any]
    seed: int
    calibration: float
    injector_sha256: str
    weights_sha256: str
    descriptors: tuple[tuple[str, str], ...]
    calibration_kind: str = "fixed"
    evening: float = 0.0
    reach: float = 0.0
    standing: tuple[float, ...] = ()
    version: str = __version__
    libraries: Mapping[str, str] = field(default_factory=library_versions)


@dataclass(frozen=True)
class Record:
    """Everything about an expanded checkpoint.

    Attributes:
        head: state-dict key of the head.
        class_names: of all rows, in order.
        seen: number K of rows that were trained; the rest were injected.
        seen_descriptor_rows: K descriptor row numbers.
        seen_descriptors: name and sha256 of each file that these rows are of.
        original_sha256: of the checkpoint before the first injection.
        rounds: the injections in order.
        auxiliary: keys of heads that take part in training alone, which got neutral rows.
        dropped: modules with such heads that were left out, e.g. ``"aux1"``.

    """

    head: str
    class_names: tuple[str, ...]
    seen: int
    seen_descriptor_rows: tuple[int, ...]
    seen_descriptors: tuple[tuple[str, str], ...]
    original_sha256: str
    rounds: tuple[Round, ...]
    auxiliary: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def descriptor_rows(self) -> tuple[int, ...] | None:
        """Descriptor row of each head row, or None where rounds numbered different files."""
        if any(part.descriptors != self.seen_descriptors for part in self.rounds):
            return None
        rows = self.seen_descriptor_rows + tuple(
            row for part in self.rounds for row in part.descriptor_rows
        )
        return rows if len(set(rows)) == len(rows) else None

    @property
    def is_pending(self) -> bool:
        """Whether the digest of the file that the last round was made from is still to come."""
        return bool(self.rounds) and self.rounds[-1].weights_sha256 == PENDING

    def with_digest(self, sha256: str) -> Self:
        """Return the record with the digest of the file that the last round was made from."""
        last = replace(self.rounds[-1], weights_sha256=sha256)
        original = sha256 if self.original_sha256 == PENDING else self.original_sha256
        return replace(self, original_sha256=original, rounds=(*self.rounds[:-1], last))

    def misfit(self, rows: int) -> str | None:
        """Say how the record contradicts a head of so many ``rows``, None where it does not."""
        if len(self.class_names) == rows:
            return None
        return f"its head has {rows} rows, but its record lists {len(self.class_names)} classes"

    def to_json(self) -> str:
        """Return the record as sorted JSON."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            **vars(self),
            "rounds": [vars(part) for part in self.rounds],
        }
        return json.dumps(content, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, path: Path) -> Self:
        """Read what :meth:`to_json` wrote; ``path`` is for messages.

        Raises:
            CheckpointError: it is no such record.

        """
        try:
            content = json.loads(text)
            if content.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
                raise ValueError(f"schema version {content['schema_version']!r}")
            rounds = tuple(
                Round(
                    **{
                        **part,
                        "descriptor_rows": tuple(part["descriptor_rows"]),
                        "descriptors": tuple((n, digest) for n, digest in part["descriptors"]),
                        "standing": tuple(part.get("standing", ())),
                        "libraries": dict(part.get("libraries", {})),
                    }
                )
                for part in content["rounds"]
            )
            record = cls(
                head=str(content["head"]),
                class_names=tuple(str(name) for name in content["class_names"]),
                seen=int(content["seen"]),
                seen_descriptor_rows=tuple(content["seen_descriptor_rows"]),
                seen_descriptors=tuple((n, digest) for n, digest in content["seen_descriptors"]),
                original_sha256=str(content["original_sha256"]),
                rounds=rounds,
                auxiliary=tuple(str(key) for key in content.get("auxiliary", ())),
                dropped=tuple(str(key) for key in content.get("dropped", ())),
            )
            fits = record.seen + sum(part.classes for part in rounds) == len(record.class_names)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(path, f"holds a damaged icis record ({error!r})") from None
        if not fits or min([record.seen, *(part.classes for part in rounds)]) < 0:
            raise CheckpointError(path, "holds an icis record that contradicts itself")
        return record


def side_file(path: Path) -> Path:
    """Return where the record of the checkpoint ``NEW`` lies: ``NEW.icis.json``."""
    return Path(f"{path}.icis.json")


def record_text(checkpoint: Checkpoint) -> tuple[str, Path] | None:
    """Return the record of a checkpoint as text, and the file it is in; None where it has none.

    Raises:
        CheckpointError: it cannot be read.

    """
    if METADATA_KEY in checkpoint.metadata:
        return checkpoint.metadata[METADATA_KEY], checkpoint.path
    beside = side_file(checkpoint.path)
    if not beside.is_file():
        return None
    try:
        return beside.read_text(encoding="utf-8"), beside
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(beside, f"cannot be read ({error})") from None


def find_record(checkpoint: Checkpoint) -> Record | None:
    """Read the record of a checkpoint from its metadata, else from its side file, else None.

    Raises:
        CheckpointError: there is one, but damaged.

    """
    found = record_text(checkpoint)
    if found is None:
        return None
    text, path = found
    if path == checkpoint.path and '"kind": "injector"' in text:
        raise CheckpointError(
            path,
            "is an injector, made by icis fit, expected a checkpoint",
            "name the classifier itself",
        )
    return Record.from_json(text, path)

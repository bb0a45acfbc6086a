"""The injector: all that ``icis inject`` needs to know, in one safetensors file without pickle.

It holds the fitted method, the unseen descriptors, the class names, and which checkpoint and head
it belongs to. The text part is sorted JSON under the single metadata key ``icis``, without time
stamps: same input, same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from icis_cli import __version__
from icis_cli.arrays import FloatArray
from icis_cli.checkpoint.head import Head
from icis_cli.descriptors.views import ViewSpace
from icis_cli.encoders.base import Encoding
from icis_cli.errors import InjectorError
from icis_cli.files import appearing_together, require_writable, sha256_of
from icis_cli.injection.injector_file import METADATA_KEY, read_tensors, write_tensors
from icis_cli.injection.injector_parts import check_parts, held_of, views_of
from icis_cli.methods.base import RowPredictor, Setting
from icis_cli.methods.registry import restore
from icis_cli.validation.heldout import HeldOut

SCHEMA_VERSION = 1


def head_digest(weight: FloatArray, bias: FloatArray | None) -> str:
    """Return a sha256 of the values of a head: rows belong to a head, whatever file it is in."""
    digest = hashlib.sha256(str(weight.shape).encode())
    digest.update(np.ascontiguousarray(weight, dtype="<f4").data)
    if bias is not None:
        digest.update(np.ascontiguousarray(bias, dtype="<f4").data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Source:
    """The checkpoint that an injector was fitted on.

    Attributes:
        path: of the checkpoint, relative to the injector's folder.
        sha256: of the checkpoint file.
        head: state-dict key of the head.
        head_sha256: of the head's values, see :func:`head_digest`.
        state: which entry of the file it is, where there was a choice.

    """

    path: str
    sha256: str
    head: str
    head_sha256: str
    state: str | None = None

    def settings(self) -> dict[str, str]:
        """Return all that is known."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Injector:
    """A fitted method with everything it belongs to.

    Attributes:
        method: name of the method.
        settings: its hyper-parameters.
        seed: of its random choices.
        predictor: the fitted method.
        seen_descriptors: (K, d), as they were read: all views side by side.
        unseen_descriptors: (U, d), likewise.
        seen_names, unseen_names: K and U class names.
        seen_rows, unseen_rows: K and U descriptor row numbers.
        source: the checkpoint.
        descriptors: name and sha256 of each descriptor file, those of the seen classes first.
        views: how the columns of these files become what the method was fitted on.
        losses: mean loss of every epoch.
        stopped: why training ended.
        held: held-out predictions for seen classes; None where there are none.
        encodings: how each view was made, None where it was read; empty where all were.
        columns: names of the columns of each view, None where it has none; empty where no view
            has.
        version: of the package that fitted it.
        libraries: versions of what the bytes of the result depend on.
        digest: sha256 of the file it was loaded from; ``""`` where there is none.

    """

    method: str
    settings: Mapping[str, Setting]
    seed: int
    predictor: RowPredictor
    seen_descriptors: FloatArray
    unseen_descriptors: FloatArray
    seen_names: tuple[str, ...]
    unseen_names: tuple[str, ...]
    seen_rows: tuple[int, ...]
    unseen_rows: tuple[int, ...]
    source: Source
    descriptors: tuple[tuple[str, str], ...]
    views: ViewSpace
    losses: tuple[float, ...]
    stopped: str
    held: HeldOut | None = None
    encodings: tuple[Encoding | None, ...] = ()
    columns: tuple[tuple[str, ...] | None, ...] = ()
    version: str = __version__
    libraries: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""

    def predict(self, descriptors: FloatArray) -> FloatArray:
        """Predict joined rows (M, P) for descriptors (M, d) as they were read.

        Raises:
            ValueError: another number of columns than the method was fitted on.

        """
        return self.predictor.predict(self.views.enter(descriptors))

    def save(self, path: Path | str, *, force: bool = False) -> None:
        """Write the injector file.

        Raises:
            OutputError: it exists (without ``force``) or cannot be written.

        """
        path = Path(path)
        require_writable(path, force=force)
        record = {
            "schema_version": SCHEMA_VERSION,
            "kind": "injector",
            "tool": {
                "name": "icis-cli",
                "version": self.version,
                "libraries": dict(self.libraries),
            },
            "method": self.method,
            "settings": dict(self.settings),
            "seed": self.seed,
            "seen_names": self.seen_names,
            "unseen_names": self.unseen_names,
            "seen_rows": self.seen_rows,
            "unseen_rows": self.unseen_rows,
            "source": {
                **self.source.settings(),
                "path": os.path.relpath(_true(Path(self.source.path)), _true(path).parent),
            },
            "descriptors": self.descriptors,
            "views": self.views.settings(),
            "losses": self.losses,
            "stopped": self.stopped,
        }
        if any(self.encodings):
            folder = _true(path).parent
            record["encodings"] = [
                None if one is None else one.settings(folder) for one in self.encodings
            ]
        if any(self.columns):
            record["columns"] = self.columns
        tensors: dict[str, NDArray[Any]] = {
            **{f"method.{k}": np.ascontiguousarray(v) for k, v in self.predictor.tensors().items()},
            "descriptors.seen": np.ascontiguousarray(self.seen_descriptors),
            "descriptors.unseen": np.ascontiguousarray(self.unseen_descriptors),
        }
        if self.held is not None:
            tensors |= {
                "heldout.rows": np.ascontiguousarray(self.held.rows),
                "heldout.classes": self.held.classes.astype(np.int64),
                "heldout.fold": self.held.fold.astype(np.int64),
            }
        text = json.dumps(record, sort_keys=True, ensure_ascii=False)
        with appearing_together((path,), force=force) as streams:
            write_tensors(streams[path], tensors, {METADATA_KEY: text})

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read an injector file.

        Raises:
            InjectorError: it is missing, damaged, or no injector.

        """
        path = Path(path)
        record, tensors = read_tensors(path)
        try:
            if record["kind"] != "injector":
                raise InjectorError(path, f"is a {record['kind']}, not an injector")
            if record["schema_version"] > SCHEMA_VERSION:
                raise InjectorError(
                    path,
                    f"was written by a newer icis ({record['tool']['version']})",
                    "update: pip install --upgrade icis-cli",
                )
            learned = {
                key.removeprefix("method."): value
                for key, value in tensors.items()
                if key.startswith("method.")
            }
            source = Source(**record["source"])
            injector = cls(
                method=record["method"],
                settings=record["settings"],
                seed=int(record["seed"]),
                predictor=restore(record["method"], learned, record["settings"]),
                seen_descriptors=tensors["descriptors.seen"],
                unseen_descriptors=tensors["descriptors.unseen"],
                seen_names=tuple(record["seen_names"]),
                unseen_names=tuple(record["unseen_names"]),
                seen_rows=tuple(record["seen_rows"]),
                unseen_rows=tuple(record["unseen_rows"]),
                source=Source(
                    str(_true(path.parent / source.path)),
                    source.sha256,
                    source.head,
                    source.head_sha256,
                    source.state,
                ),
                descriptors=tuple((name, digest) for name, digest in record["descriptors"]),
                views=views_of(record.get("views"), tensors["descriptors.seen"].shape[1]),
                losses=tuple(float(loss) for loss in record["losses"]),
                stopped=str(record["stopped"]),
                held=held_of(tensors),
                encodings=tuple(
                    None if one is None else Encoding.restore(one, _true(path).parent)
                    for one in record.get("encodings", ())
                ),
                columns=tuple(
                    None if one is None else tuple(one) for one in record.get("columns", ())
                ),
                version=str(record["tool"]["version"]),
                libraries=dict(record["tool"].get("libraries", {})),
                digest=sha256_of(path),
            )
            check_parts(injector)
        except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise InjectorError(
                path, f"is damaged or no injector ({error!r})", "make it again with icis fit"
            ) from None
        return injector


def _true(path: Path) -> Path:
    """Make a path absolute with a folder free of links, so that ``..`` means the same everywhere.

    The file itself may be a link: what it points to often has another name (download caches).
    """
    return path.parent.resolve() / path.name


def source_of(path: Path, sha256: str, head: Head, state: str | None = None) -> Source:
    """Describe the checkpoint at ``path``, and its entry, that ``head`` was read from."""
    digest = head_digest(head.weight, head.bias)
    return Source(str(path.absolute()), sha256, head.key, digest, state)

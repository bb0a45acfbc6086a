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
from icis_cli.lazy import blocks
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
                views=_views(record.get("views"), tensors["descriptors.seen"].shape[1]),
                losses=tuple(float(loss) for loss in record["losses"]),
                stopped=str(record["stopped"]),
                held=_held(tensors),
                encodings=tuple(
                    None if one is None else Encoding.restore(one, _true(path).parent)
                    for one in record.get("encodings", ())
                ),
                version=str(record["tool"]["version"]),
                libraries=dict(record["tool"].get("libraries", {})),
                digest=sha256_of(path),
            )
            _checked(injector)
        except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise InjectorError(
                path, f"is damaged or no injector ({error!r})", "make it again with icis fit"
            ) from None
        return injector


def _checked(injector: Injector) -> None:
    """Check that the parts of an injector are what they should be and fit together.

    Raises:
        ValueError: they do not. A damaged predictor may raise LookupError or TypeError, too.

    """
    _require_texts("libraries", tuple(injector.libraries.values()))
    _require_texts("source", tuple(injector.source.settings().values()))
    _require_texts("descriptors", tuple(part for pair in injector.descriptors for part in pair))
    if len(injector.encodings) not in (0, len(injector.views.widths)):
        raise ValueError(f"{len(injector.encodings)} encodings for other views")
    if len(injector.descriptors) < len(injector.views.widths):
        raise ValueError(f"{len(injector.descriptors)} descriptor files for more views")
    for side, values, names, rows in (
        ("seen", injector.seen_descriptors, injector.seen_names, injector.seen_rows),
        ("unseen", injector.unseen_descriptors, injector.unseen_names, injector.unseen_rows),
    ):
        _require_rows(f"descriptors.{side}", values)
        _require_texts(f"{side}_names", names)
        if not all(type(row) is int and row >= 0 for row in rows):
            raise ValueError(f"{side}_rows: expected row numbers")
        if not 0 < len(values) == len(names) == len(rows):
            raise ValueError(
                f"{len(values)} {side} descriptors, {len(names)} names and {len(rows)} rows"
            )
    if injector.unseen_descriptors.shape[1] != injector.seen_descriptors.shape[1]:
        raise ValueError("seen and unseen descriptors differ in width")
    with np.errstate(all="ignore"):  # a row that is not finite is refused where it is used
        row = injector.predict(injector.seen_descriptors[:1])
    if row.ndim != 2 or row.shape[0] != 1 or row.dtype != np.float32 or not row.size:
        raise ValueError(f"the method predicts {row.shape} {row.dtype} for one descriptor")
    held = injector.held
    if held is not None:
        _require_rows("heldout.rows", held.rows)
        if held.rows.shape[1] != row.shape[1]:
            raise ValueError(
                f"held-out rows of {held.rows.shape[1]} numbers, predicted ones of {row.shape[1]}"
            )


def _require_texts(what: str, values: tuple[Any, ...]) -> None:
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{what}: expected texts")


def _require_rows(what: str, values: NDArray[Any]) -> None:
    sound = values.ndim == 2 and values.dtype == np.float32
    if not sound or not all(np.isfinite(block).all() for _, block in blocks(values)):
        raise ValueError(
            f"{what}: expected finite float32 rows, found {values.shape} {values.dtype}"
        )


def _views(settings: Mapping[str, Any] | None, width: int) -> ViewSpace:
    """Restore the views; ``settings`` is None in injectors from before there were several."""
    if settings is None:
        return ViewSpace.equal((width,))
    views = ViewSpace.restore(settings)
    if sum(views.widths) != width:
        raise ValueError(f"views of {sum(views.widths)} columns for descriptors of {width}")
    return views


def _held(tensors: Mapping[str, Any]) -> HeldOut | None:
    if "heldout.rows" not in tensors:
        return None
    held = HeldOut(*(tensors[f"heldout.{part}"] for part in ("classes", "fold", "rows")))
    count = len(tensors["descriptors.seen"])
    if held.rows.ndim != 2 or held.classes.ndim != 1 or held.fold.ndim != 1:
        raise ValueError("the held-out rows are no matrix with a class and a fold for each row")
    if held.fold.dtype != np.int64:
        raise ValueError("the folds of the held-out classes are no whole numbers")
    if len(np.unique(held.fold)) < 2 or len(np.unique(held.classes)) < len(held.classes):
        raise ValueError("the held-out classes are in fewer than two folds, or occur twice")
    if held.classes.dtype != np.int64 or not ((held.classes >= 0) & (held.classes < count)).all():
        raise ValueError("the held-out classes are no rows of the head")
    return held


def _true(path: Path) -> Path:
    """Make a path absolute with a folder free of links, so that ``..`` means the same everywhere.

    The file itself may be a link: what it points to often has another name (download caches).
    """
    return path.parent.resolve() / path.name


def source_of(path: Path, sha256: str, head: Head, state: str | None = None) -> Source:
    """Describe the checkpoint at ``path``, and its entry, that ``head`` was read from."""
    digest = head_digest(head.weight, head.bias)
    return Source(str(path.absolute()), sha256, head.key, digest, state)

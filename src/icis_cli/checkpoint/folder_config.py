"""``config.json`` of a model's folder: what it says about the classes, and how it grows with them.

Two forms are known, and configurations that are a bit of both: that of transformers (``id2label``,
``label2id``) and that of timm (``architecture``, ``num_classes``, ``label_names``,
``pretrained_cfg``). Old labels keep their text, and everything that does not count or name classes
stays as it is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from icis_cli.checkpoint.base import Checkpoint, Labels
from icis_cli.checkpoint.json_text import read_json
from icis_cli.checkpoint.label_tables import BY_ROW, by_row, relabelled
from icis_cli.descriptors.names import is_text
from icis_cli.errors import CheckpointError

CONFIG = "config.json"

#: Files whose ``config.json`` beside them is about them.
_USUAL_NAMES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class ModelConfig:
    """A ``config.json``.

    Attributes:
        path: where it is.
        content: what is in it.
        text: as it was read.

    """

    path: Path
    content: Mapping[str, Any]
    text: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file at ``path``.

        Raises:
            CheckpointError: it is no object in JSON, or it is too large.
            OSError: it cannot be read.

        """
        hint = "mend it, or name the file with the tensors, which needs none"
        content, text = read_json(path, "a configuration", hint)
        if not isinstance(content, dict):
            raise CheckpointError(path, "holds no object, expected a model's configuration", hint)
        return cls(path, content, text)

    def labels(self, keys: Collection[str]) -> Labels:
        """Return what it says about a checkpoint with tensors of these ``keys``.

        Labels that transformers made up (``LABEL_0``) are no names, and neither are labels that
        several classes share: they cannot tell which row is which.
        """
        given = self._pretrained.get("classifier")
        wanted = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        heads = [key for key in wanted if isinstance(key, str) and f"{key}.weight" in keys]
        names = self._names()
        usable = names and len(set(names)) == len(names) and not _made_up(names)
        return Labels(names if usable else None, self._arch, tuple(dict.fromkeys(heads)))

    def notes(self) -> tuple[str, ...]:
        """Say what a person should know about it."""
        notes = [
            f"{key} in {self.path} is no table of labels by number: it is left as it is"
            for key, value in self._label_tables()
            if by_row(value) is None
        ]
        several = [name for name, count in Counter(self._names()).items() if count > 1]
        if several:
            notes.append(
                f"{self.path} gives the label {several[0]!r} to several classes: its labels are "
                "kept, but not used to match rows"
            )
        kind = self.content.get("problem_type")
        if kind in ("multi_label_classification", "regression"):
            notes.append(
                f"{self.path} says {kind}: icis expects classes that compete for one answer"
            )
        return tuple(notes)

    def with_classes(self, before: int, names: Sequence[str]) -> bytes:
        """Return the file for a head of other classes.

        Args:
            before: number of rows that the head had.
            names: of all rows that it has now; the first ones are those that it had, which keep
                the labels that they have here.

        """
        content = dict(self.content)
        if self._is_timm:
            content = _timm_counted(content, len(names))
            if isinstance(content.get("pretrained_cfg"), dict):
                content["pretrained_cfg"] = relabelled(content["pretrained_cfg"], before, names)
            if not self._label_tables() and len(names) > before:
                content["label_names"] = list(names)  # or ImageNet's may be taken for them
        elif content.get("id2label") is None and self._is_transformers:
            content["id2label"] = content["label2id"] = {}  # left out where there are two classes
        content = relabelled(content, before, names)
        for key in ("num_labels", "_num_labels", "num_classes"):
            if type(content.get(key)) is int and content[key] == before:
                content[key] = len(names)
        text = json.dumps(content, indent=2, ensure_ascii=self.text.isascii())
        end = "\n" if self.text.endswith("\n") else ""
        return (text + end).encode(errors="backslashreplace")  # half a character, as JSON has it

    @property
    def _is_timm(self) -> bool:
        return isinstance(self.content.get("architecture"), str)

    @property
    def _is_transformers(self) -> bool:
        return "architectures" in self.content or "model_type" in self.content

    @property
    def _pretrained(self) -> Mapping[str, Any]:
        """What timm says about the weights; in old files it is all that there is."""
        found = self.content.get("pretrained_cfg")
        return found if isinstance(found, dict) else self.content

    @property
    def _arch(self) -> str | None:
        several = self.content.get("architectures")
        if isinstance(several, list) and several and isinstance(several[0], str):
            return f"transformers/{several[0]}"
        return f"timm/{self.content['architecture']}" if self._is_timm else None

    def _label_tables(self) -> list[tuple[str, Any]]:
        """Return all that has a label per class, with its key."""
        found = [(key, self.content.get(key)) for key in BY_ROW]
        if self._is_timm and self._pretrained is not self.content:
            found += [(key, self._pretrained.get(key)) for key in BY_ROW]
        return [(key, value) for key, value in found if value is not None]

    def _names(self) -> tuple[str, ...]:
        """Return the labels of the classes 0, 1, ... where all are there."""
        for _, value in self._label_tables():
            table = by_row(value) or {}
            labels = [table.get(row) for row in range(len(table))]
            names = tuple(label for label in labels if isinstance(label, str) and is_text(label))
            if names and len(names) == len(labels):
                return names
        return ()


def told_beside(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint in one file with what the ``config.json`` beside it says.

    Only files under the names that Hugging Face's libraries give are looked at in this way. A
    configuration that cannot be read is not used, and a note says so.
    """
    path = checkpoint.path
    beside = path.parent / CONFIG
    if path.name not in _USUAL_NAMES or not path.is_file() or not beside.is_file():
        return checkpoint
    try:
        config = ModelConfig.read(beside)
    except CheckpointError as error:
        note = f"{beside} is not used: it {error.problem}"
        return replace(checkpoint, notes=(*checkpoint.notes, note))
    except OSError as error:
        note = f"{beside} is not used: {error.strerror or error}"
        return replace(checkpoint, notes=(*checkpoint.notes, note))
    told, own = config.labels(checkpoint.tensors), checkpoint.labels
    labels = joined(own, told)
    notes = config.notes() + disputed(path.name, own, beside.name, told)
    if labels == own and not notes:
        return checkpoint
    way = f" unless the folder is given: --weights {path.parent}"
    note = f"{beside} is read, but gets no new classes{way if path.suffix != '.bin' else ''}"
    return replace(checkpoint, labels=labels, notes=(*checkpoint.notes, *notes, note))


def joined(first: Labels, second: Labels) -> Labels:
    """Return all that two places say of a checkpoint; where both say it, the first one counts."""
    return Labels(
        first.class_names or second.class_names,
        first.arch or second.arch,
        first.heads or second.heads,
    )


def disputed(used: str, first: Labels, other: str, second: Labels) -> tuple[str, ...]:
    """Say whether two files name the classes differently, of which the first one is ``used``."""
    names, others = first.class_names, second.class_names
    if names is None or others is None or names == others:
        return ()
    return (f"{other} has other class names than {used}: those of {used} are used",)


def _made_up(names: Sequence[str]) -> bool:
    return any(name == f"LABEL_{row}" for row, name in enumerate(names))


def _timm_counted(content: dict[str, Any], count: int) -> dict[str, Any]:
    """Put the number of classes wherever timm looks for it."""
    counted = {**content, "num_classes": count}
    for key in ("model_args", "pretrained_cfg"):
        part = content.get(key)
        if isinstance(part, dict) and "num_classes" in part:
            counted[key] = {**part, "num_classes": count}
    return counted

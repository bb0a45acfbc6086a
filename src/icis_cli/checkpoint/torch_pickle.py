"""PyTorch's own container (``.pt``, ``.pth``): zip and legacy, bare or wrapped state dicts.

Torch is imported inside the functions, because its import takes seconds and the safetensors path
must not pay for it. What lies beside a state dict is the matter of ``torch_entries``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar

from icis_cli.checkpoint.base import Buffer, Checkpoint, Edit, Extras, Labels
from icis_cli.checkpoint.torch_choice import Chosen, choose
from icis_cli.checkpoint.torch_entries import (
    NewHead,
    labels_of,
    notes_on,
    stale_entries,
    updated,
)
from icis_cli.checkpoint.torch_loading import RESAVE, load_root
from icis_cli.checkpoint.torch_tensors import (
    bytes_of,
    folder_of,
    infos_of,
    over,
    tensor_of,
    tied,
    with_edits,
)
from icis_cli.errors import CheckpointError
from icis_cli.runtime import import_torch


@dataclass(frozen=True)
class TorchCheckpoint(Checkpoint):
    """A file written by ``torch.save``.

    Attributes:
        root: the loaded object.
        chosen: the entry of it that is the network.

    """

    container: ClassVar[str] = "torch"
    suffix: ClassVar[str] = ".pt"
    root: Mapping[str, Any] = field(default_factory=dict)
    chosen: Chosen = field(default_factory=lambda: Chosen(None, {}))

    @classmethod
    def open(cls, path: Path, state: str | None = None) -> TorchCheckpoint:
        """Load the file at ``path``, memory-mapped where its format allows.

        Args:
            path: of the file.
            state: key of the entry that is the network, where the file holds several.

        Raises:
            CheckpointError: it is no state dict that can be loaded safely, or has no such entry.

        """
        with path.open("rb") as stream:
            legacy = stream.read(4) != b"PK\x03\x04"  # how torch tells a zip, too
        root = load_root(path, legacy=legacy)
        if not isinstance(root, Mapping):
            kind = type(root).__name__
            raise CheckpointError(path, f"expected a state dict, found a {kind}", RESAVE)
        chosen = choose(path, root, state)
        old = "it is in the format from before PyTorch 1.6; a new .pt will be in today's"
        return cls(
            path,
            infos_of(path, chosen.state),
            labels=labels_of(root, chosen) if chosen.key is not None else Labels(),
            notes=(*((old,) if legacy else ()), *notes_on(root, chosen)),
            root=root,
            chosen=chosen,
        )

    @property
    def state(self) -> Mapping[str, Any]:
        """The state dict inside ``root``."""
        return self.chosen.state

    @property
    def entry(self) -> str | None:
        return self.chosen.key if self.chosen.others else None

    def only_here(self) -> tuple[str, ...]:
        lost = [repr(key) for key in self.state if key not in self.tensors]
        if self.chosen.key is not None:
            lost += [repr(key) for key in self.root if key != self.chosen.key]
        if getattr(self.state, "_metadata", None):
            lost.append(
                "the versions of its modules (some models then load with strict=False only)"
            )
        notes = [f"not carried over into the other format: {', '.join(lost)}"] if lost else []
        notes += [
            f"{' and '.join(map(repr, keys))} are one tensor here and several in the other format: "
            "the others get no new rows with the head"
            for keys in tied(self.state)
            if all(len(self.tensors[key].shape) == 2 for key in keys if key in self.tensors)
        ]
        return tuple(notes)

    def raw(self, key: str) -> Buffer:
        return bytes_of(self.state[key])

    def write_copy(self, stream: IO[bytes], edits: Mapping[str, Edit], extras: Extras) -> None:
        # A state dict that must load strictly has no room for metadata: it is in the side file.
        torch = import_torch()
        edited = with_edits(self.state, self.tensors, edits, folder_of(stream))
        key = self.chosen.key
        if key is None:
            root: Any = edited
        else:
            head = _new_head(self, edits, extras)
            stale = set(stale_entries(self.root, self.chosen))
            root = {
                name: edited if name == key else updated(name, value, head)
                for name, value in self.root.items()
                if name not in stale
            }
        # Always a zip: the legacy format holds memory addresses, so its bytes differ every time.
        try:
            torch.save(root, stream)
        except RecursionError:  # what lies in itself is deeper than it was told to be
            raise CheckpointError(
                self.path, "holds values too deep in each other to be written", RESAVE
            ) from None

    @classmethod
    def write_converted(
        cls,
        stream: IO[bytes],
        source: Checkpoint,
        edits: Mapping[str, Edit],
        extras: Extras,  # noqa: ARG003 - a bare state dict has no room for them
    ) -> None:
        torch = import_torch()
        state = {
            key: over(source.mapped(key), info)
            for key, info in source.tensors.items()
            if key not in edits
        }
        state |= {key: tensor_of(edit, folder_of(stream)) for key, edit in edits.items()}
        torch.save({key: state[key] for key in source.tensors}, stream)


def _new_head(checkpoint: Checkpoint, edits: Mapping[str, Edit], extras: Extras) -> NewHead:
    """Return how many rows the edited tensors had; they all had as many."""
    before = {checkpoint.tensors[key].shape[0] for key in edits}
    return NewHead(
        before.pop() if len(before) == 1 else 0, len(extras.class_names), extras.class_names
    )


def state_dict_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return all tensors of a checkpoint of any container as torch tensors."""
    return {
        key: over(bytearray(checkpoint.raw(key)), info) for key, info in checkpoint.tensors.items()
    }

"""Options that describe classes by their names, and what they make: descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icis_cli.errors import UsageError

if TYPE_CHECKING:
    from icis_cli.descriptors.base import Descriptors

_NAMES = "Descriptions made of names"

Names = Annotated[
    Path | None,
    typer.Option(
        "--names",
        metavar="FILE",
        help="Class names for --encoder to describe: one a line, synonyms after '|'; or .csv with "
        "the columns name, text; or .json. Only new ones where the classifier's own are known.",
        rich_help_panel=_NAMES,
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="ID",
        help="What describes them: a model's folder, sentence-transformers/NAME, model2vec/NAME, "
        "open_clip/ARCH@TAG, word vectors (.glove, .txt, .vec) or a taxonomy (.csv: child,parent).",
        rich_help_panel=_NAMES,
    ),
]
SameEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="ID",
        help="Where the encoder that fit used is now. Default: where it was.",
        rich_help_panel=_NAMES,
    ),
]
Prompt = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help="A sentence for the name to stand in, as {}; several times for several, which are "
        "averaged. Default: what suits the encoder.",
        rich_help_panel=_NAMES,
        show_default=False,
    ),
]
Download = Annotated[
    bool,
    typer.Option(
        "--download",
        help="Get a named encoder from huggingface.co if it is not on this machine yet.",
        rich_help_panel=_NAMES,
    ),
]


@dataclass(frozen=True)
class Naming:
    """Names to describe, as the options above give them; none where ``names`` is None."""

    names: Path | None = None
    encoder: str | None = None
    prompts: list[str] = field(default_factory=list)
    download: bool = False

    def check(self) -> None:
        """Refuse options that lack each other.

        Raises:
            UsageError: names without an encoder, or the other way round; no such encoder.

        """
        if self.names is None:
            given = {
                "--encoder": self.encoder,
                "--prompt": self.prompts,
                "--download": self.download,
            }
            odd = next((option for option, value in given.items() if value), None)
            if odd is not None:
                raise UsageError(f"{odd} needs --names: the classes to describe")
        elif self.encoder is None:
            raise UsageError(
                "--names needs --encoder: what describes the classes",
                "e.g. --encoder sentence-transformers/all-MiniLM-L6-v2",
            )
        else:
            from icis_cli.encoders.registry import find_encoder

            find_encoder(self.encoder, self.prompts)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are given."""
        if self.names is None or self.encoder is None:
            return ()
        file = Path(self.encoder.rpartition("@")[2])
        return (self.names, *(path for path in (Path(self.encoder), file) if path.is_file()))

    def read(self, known: Sequence[str] | None = None) -> Descriptors:
        """Describe the classes.

        Args:
            known: names of the classifier's own classes, where something tells them; they are
                described, too, where the file lists the new ones.

        Raises:
            IcisError: a file or the encoder is wrong, or not there.

        """
        from icis_cli.encoders.names_file import read_names, with_known
        from icis_cli.encoders.registry import encode_classes, find_encoder

        self.check()
        if self.names is None or self.encoder is None:
            raise UsageError("nothing describes the classes", "give --names with --encoder")
        encoding = find_encoder(self.encoder, self.prompts)
        listed = with_known(self.names, read_names(self.names), known)
        found = encode_classes(listed.classes, self.names, encoding, download=self.download)
        return replace(found, notes=(*listed.notes, *found.notes))

"""Which encoder an ID means, one line per kind; and descriptors of named classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from icis_cli.descriptors.base import Descriptors, checked
from icis_cli.encoders import model2vec, open_clip, sentence_transformers, taxonomy, word_vectors
from icis_cli.encoders.base import Encoder, Encoding, NamedClass
from icis_cli.encoders.names_file import read_names
from icis_cli.encoders.prompts import check_prompts
from icis_cli.errors import DescriptorError, UsageError


class _Open(Protocol):
    def __call__(self, encoding: Encoding, *, download: bool) -> Encoder: ...


@dataclass(frozen=True)
class Kind:
    """A kind of encoder.

    Attributes:
        recognises: tells whether a path is of this kind.
        open_encoder: loads one.
        published: whether there are models that have a name, ``KIND/NAME``.
        prompted: whether it reads sentences.

    """

    recognises: Callable[[Path], bool]
    open_encoder: _Open
    published: bool = True
    prompted: bool = True


#: In the order in which a path is tried: sentence-transformers could read a folder of model2vec.
KINDS: dict[str, Kind] = {
    model2vec.KIND: Kind(model2vec.is_one, model2vec.open_encoder),
    open_clip.KIND: Kind(open_clip.is_one, open_clip.open_encoder),
    sentence_transformers.KIND: Kind(
        sentence_transformers.is_one, sentence_transformers.open_encoder
    ),
    word_vectors.KIND: Kind(
        word_vectors.is_one, word_vectors.open_encoder, published=False, prompted=False
    ),
    taxonomy.KIND: Kind(taxonomy.is_one, taxonomy.open_encoder, published=False, prompted=False),
}

_EXPECTED = (
    "expected word vectors (.txt, .vec, .glove), a taxonomy (.csv with child,parent), a model's "
    f"folder, or {', '.join(f'{name}/NAME' for name, kind in KINDS.items() if kind.published)}"
)


def find_encoder(encoder: str, prompts: Sequence[str] = ()) -> Encoding:
    """Tell what an encoder's ID means; nothing is loaded.

    Args:
        encoder: the path of a file or folder, or ``KIND/NAME``; of open_clip
            ``open_clip/ARCHITECTURE@TAG`` or ``open_clip/ARCHITECTURE@FILE``.
        prompts: sentences with ``{}`` for the name; none for those that are usual.

    Raises:
        UsageError: no such encoder, or prompts that are none or that it does not read.

    """
    prompts = check_prompts(prompts)
    path = Path(encoder)
    if path.exists():
        kind = next((name for name, one in KINDS.items() if one.recognises(path)), None)
        if kind is None:
            raise UsageError(f"--encoder {encoder}: is no encoder that icis knows", _EXPECTED)
        found = Encoding(kind, path=encoder, prompts=prompts)
    else:
        found = replace(_published(encoder), prompts=prompts)
    if prompts and not KINDS[found.kind].prompted:
        raise UsageError(f"--prompt: {found.kind} take no sentences", "leave it out")
    return found


def _published(encoder: str) -> Encoding:
    kind, _, name = encoder.partition("/")
    if kind not in KINDS or not KINDS[kind].published or not name:
        raise UsageError(f"--encoder {encoder}: no such file or folder, nor a name", _EXPECTED)
    architecture, _, file = name.partition("@")
    if kind == open_clip.KIND and Path(file).is_file():
        return Encoding(kind, architecture, file)
    return Encoding(kind, name)


def encode_classes(
    classes: Sequence[NamedClass], path: Path, encoding: Encoding, *, download: bool = False
) -> Descriptors:
    """Describe classes by their names.

    Args:
        classes: at least one.
        path: the file that names them; the descriptors count as read from it.
        encoding: from :func:`find_encoder`, or kept from an earlier use, which is then repeated.
        download: whether the network may be used where a model is not in the local cache.

    Returns:
        Named descriptors (C, d); their ``encoding`` says how to do it again.

    Raises:
        DescriptorError: the encoder is not there, damaged, or another than before; or a class says
            nothing to it.
        InstallationError: the extra ``text`` is needed.

    """
    kind = KINDS.get(encoding.kind)
    if kind is None:
        raise UsageError(f"no encoder of the kind {encoding.kind!r} is known", "update icis-cli")
    if encoding.path and not Path(encoding.path).exists():
        raise DescriptorError(
            encoding.path, "the encoder is not there any more", "tell where it is: --encoder"
        )
    encoded = kind.open_encoder(encoding, download=download).encode(classes, path)
    used = encoded.encoding
    if encoding.digest not in ("", used.digest):
        raise DescriptorError(
            encoding.place,
            "is another encoder than the one that was used before: its files differ",
            "use the same files, or run icis fit again",
        )
    found = checked(path, encoded.values, [one.name for one in classes], used.columns or None)
    return replace(
        found,
        warnings=found.warnings + encoded.warnings,
        notes=(*found.notes, *encoded.notes, _note(path, len(classes), used)),
        encoding=used,
    )


def _note(path: Path, count: int, encoding: Encoding) -> str:
    said = ", ".join(map(repr, encoding.prompts[:2])) + (", ..." if encoding.prompts[2:] else "")
    how = f", as {said}" if said else ""
    return f"{path}: {count} classes described by {encoding.label}{how}"


def describe_names(
    names: Path | str, encoder: str, prompts: Sequence[str] = (), *, download: bool = False
) -> Descriptors:
    """Describe the classes of a names file by their names.

    Args:
        names: ``.txt``, ``.csv``, ``.tsv`` or ``.json``, see ``read_names``.
        encoder: see :func:`find_encoder`.
        prompts: sentences with ``{}`` for the name; none for those that are usual.
        download: whether the network may be used where a model is not in the local cache.

    Raises:
        UsageError: no such encoder.
        DescriptorError: as :func:`encode_classes`, or the file is wrong.

    """
    encoding = find_encoder(encoder, prompts)
    return encode_classes(read_names(names), Path(names), encoding, download=download)

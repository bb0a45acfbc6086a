"""Classes that are named after the fit: described as those of the fit were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from icis_cli.descriptors.base import Descriptors
from icis_cli.descriptors.views import join_views
from icis_cli.encoders.names_file import read_names
from icis_cli.encoders.registry import encode_classes, find_encoder
from icis_cli.errors import UsageError
from icis_cli.injection.injector import Injector


def describe_further(
    injector: Injector,
    names: Path | str,
    others: Sequence[Descriptors] = (),
    *,
    encoder: str | None = None,
    download: bool = False,
) -> Descriptors:
    """Describe classes by their names, with the encoder and the prompts that the fit used.

    Args:
        injector: fitted on descriptors of which one view was made of names.
        names: a file of further classes.
        others: the other views of these classes, in the order of the fit.
        encoder: where the same encoder is now; None for where the fit found it.
        download: whether the network may be used where it is not in the local cache.

    Raises:
        UsageError: no view was made of names, there are more or fewer other views, or the encoder
            is of another kind.
        DescriptorError: the encoder is not there or another one, or a class says nothing to it.
        AlignmentError: the views are not of the same classes.

    """
    made = [(place, one) for place, one in enumerate(injector.encodings) if one is not None]
    if not made:
        raise UsageError(
            "fit had no --names, so that the injector knows no encoder",
            "describe the new classes by --attrs, or run icis fit again with --names",
        )
    place, encoding = made[0]
    count = len(injector.encodings) - 1
    if len(others) != count:
        raise UsageError(
            f"fit had {count} --attrs beside --names, found {len(others)}",
            "give --attrs as often as to fit, in the same order",
        )
    if encoder is not None:
        found = find_encoder(encoder)
        if found.kind != encoding.kind:
            raise UsageError(
                f"--encoder {encoder}: fit used {encoding.kind}, this is {found.kind}",
                "give the same encoder, or leave it out",
            )
        encoding = replace(encoding, name=found.name, path=found.path)
    named = encode_classes(read_names(names), Path(names), encoding, download=download)
    return join_views([*others[:place], named, *others[place:]])

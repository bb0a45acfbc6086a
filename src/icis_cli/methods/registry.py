"""All methods by name, one line each."""

from __future__ import annotations

from collections.abc import Mapping

from icis_cli.arrays import FloatArray
from icis_cli.methods.base import Method, RowPredictor, Setting, number_of
from icis_cli.methods.controls import Mean, Nearest
from icis_cli.methods.costa import Costa
from icis_cli.methods.ensemble import MeanOf
from icis_cli.methods.icis import Icis, Mlp
from icis_cli.methods.ridge import Ridge
from icis_cli.methods.smo import Smo
from icis_cli.methods.subreg import SubReg
from icis_cli.methods.wavg import Wavg
from icis_cli.methods.wdae import Wdae

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Icis,
        Ridge,
        Mlp,
        SubReg,
        Wdae,
        Costa,
        Wavg,
        Smo,
        Nearest,
        Mean,
    )
}


def restore(
    name: str, tensors: Mapping[str, FloatArray], settings: Mapping[str, Setting]
) -> RowPredictor:
    """Make the predictor of a method, or of an ensemble of it, from an injector file.

    Raises:
        KeyError, ValueError: an unknown method, or something is missing or does not fit.

    """
    kind = METHODS[name].predictor
    members = int(number_of(settings.get("ensemble", 1)))
    if members == 1:
        return kind.restore(tensors, settings)
    if not 1 < members <= len(tensors):
        raise ValueError(f"an ensemble of {members}")
    parts = []
    for number in range(members):
        start = f"{number}."
        own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
        parts.append(kind.restore(own, settings))
    return MeanOf(tuple(parts))

"""All methods by name, one line each."""

from __future__ import annotations

from icis_cli.methods.base import Method
from icis_cli.methods.controls import Mean, Nearest
from icis_cli.methods.costa import Costa
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

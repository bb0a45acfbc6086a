"""All methods by name, one line each."""

from __future__ import annotations

from icis_cli.methods.base import Method
from icis_cli.methods.controls import Mean, Nearest
from icis_cli.methods.icis import Icis, Mlp

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Icis,
        Mlp,
        Nearest,
        Mean,
    )
}

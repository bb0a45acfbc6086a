"""The options of ``icis fit`` that change a recipe, and the method they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from icis_cli.errors import UsageError

#: Names of ``methods.registry.METHODS`` and ``methods.recipes.RECIPES``, in that order: a name that
#: is none of them is refused without loading what does the work.
METHOD_NAMES = (
    "icis", "ridge", "mlp", "subreg", "wdae", "costa", "wavg", "smo", "nearest", "mean",
)  # fmt: skip
RECIPE_NAMES = ("default", "paper")

_PANEL = "Changes to the recipe (each defaults to the recipe's own value)"
_LOSSES = ("cosine", "squared")
_INPUTS = ("as-given", "unit")
_PARTS = ("unseen", "a-a", "w-w", "w-a")

Hidden = Annotated[
    int | None,
    typer.Option("--hidden", min=1, help="Width of both encoders.", rich_help_panel=_PANEL),
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Epochs at most.", rich_help_panel=_PANEL)
]
Lr = Annotated[float | None, typer.Option("--lr", help="Step size.", rich_help_panel=_PANEL)]
Batch = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, help="Classes per step.", rich_help_panel=_PANEL),
]
Loss = Annotated[
    str | None,
    typer.Option(
        "--loss",
        metavar="|".join(_LOSSES),
        help="Distance.",
        rich_help_panel=_PANEL,
        autocompletion=lambda: list(_LOSSES),
    ),
]
Inputs = Annotated[
    str | None,
    typer.Option(
        "--inputs",
        metavar="|".join(_INPUTS),
        help="How descriptors go in; unit: divided by their norm (for word vectors).",
        rich_help_panel=_PANEL,
        autocompletion=lambda: list(_INPUTS),
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        metavar="|".join(_PARTS),
        help="Leave out the unseen descriptors, or one reconstruction (a: descriptor, w: row).",
        rich_help_panel=_PANEL,
        autocompletion=lambda: list(_PARTS),
    ),
]


def method_of(
    name: str,
    recipe: str,
    hidden: int | None,
    epochs: int | None,
    lr: float | None,
    batch: int | None,
    loss: str | None,
    inputs: str | None,
    without: list[str] | None,
) -> Any:
    """Return the method that the options describe.

    Raises:
        UsageError: an unknown name, or an option that the method does not have.

    """
    _one_of("--method", name, (*METHOD_NAMES, "auto"))
    _one_of("--recipe", recipe, RECIPE_NAMES)
    changes: dict[str, Any] = {
        field: value
        for field, value in (
            ("hidden", hidden),
            ("epochs", epochs),
            ("lr", lr),
            ("batch", batch),
            ("loss", loss and _one_of("--loss", loss, _LOSSES)),
            ("inputs", inputs and _one_of("--inputs", inputs, _INPUTS)),
        )
        if value is not None
    }
    from icis_cli.methods.icis import Icis
    from icis_cli.methods.recipes import RECIPES
    from icis_cli.methods.registry import METHODS

    kind, chosen = METHODS[name], RECIPES[recipe]
    if not issubclass(kind, Icis):
        _without_recipe(name, recipe, changes, without)
        return kind()
    if lr is not None and not 0 < lr < float("inf"):
        raise UsageError(f"--lr {lr}: expected a positive number")
    if epochs is not None:
        changes["min_steps"] = 0
    terms = list(kind().recipe.terms)
    for part in without or ():
        _one_of("--without", part, _PARTS)
        if part == "unseen":
            changes["unseen"] = "ignored"
        elif part in terms:
            terms.remove(part)
    return kind(replace(chosen, terms=tuple(terms), **changes))


def methods_of(name: str, *, select: bool, recipe: str = "default", **changes: Any) -> list[Any]:
    """Return the methods to choose from, the default first.

    Args:
        name: of a method, or ``"auto"``.
        select: whether hyper-parameters are chosen, too.
        recipe: see :func:`method_of`.
        **changes: the other arguments of :func:`method_of`.

    Raises:
        UsageError: as :func:`method_of`, or a recipe for ``auto``.

    """
    if name == "auto":
        _without_recipe(name, recipe, changes, changes.get("without"))
        from icis_cli.validation.selection import AUTO

        methods = list(AUTO)
    else:
        methods = [method_of(name, recipe, **changes)]
    if not select:
        return methods
    return methods + [one for m in methods for one in m.candidates() if one not in methods]


def _without_recipe(name: str, recipe: str, changes: Mapping[str, Any], without: Any) -> None:
    if recipe != "default" or without or any(value is not None for value in changes.values()):
        raise UsageError(f"--method {name} has no recipe to change", "leave these options out")


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise UsageError(f"{option} {value}: expected one of {', '.join(choices)}")
    return value

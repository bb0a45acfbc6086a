"""ICIS: rows from descriptors by two encoder-decoders, and its ablation, a single network.

Christensen, Mancini, Koepke, Winther, Akata: "Image-free Classifier Injection for Zero-Shot
Classification", ICCV 2023. Prediction: ``w_u = D_W(E_A(a_u))``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.methods.base import (
    Fitted,
    Method,
    Predictor,
    SeenPairs,
    Setting,
    Watch,
    few_unseen,
    in_blocks,
)
from icis_cli.methods.recipes import DEFAULT, Recipe
from icis_cli.methods.spaces import RowSpace, enter_inputs
from icis_cli.runtime import import_torch

if TYPE_CHECKING:
    from icis_cli.methods.training import Penalty

_LAYERS = ("E_A", "D_A", "E_W", "D_W")


@dataclass(frozen=True)
class RowNetwork(Predictor):
    """Trained networks between an input space and a row space.

    Attributes:
        inputs: how descriptors go in, one of ``spaces.INPUTS``.
        rows: how rows come out.
        layers: ``E_A.weight`` (h, d), ``E_A.bias`` (h,), and so on for ``D_A``, ``E_W``, ``D_W``.

    """

    inputs: str
    rows: RowSpace
    layers: Mapping[str, FloatArray]

    def predict(self, descriptors: FloatArray) -> FloatArray:
        def rows_of(block: FloatArray) -> FloatArray:
            if self._direct is None:
                return self.rows.leave(self.coordinates(block))
            rows: FloatArray = self._hidden(block) @ self._direct
            rows += self._start
            return rows

        return in_blocks(rows_of, descriptors, len(self.rows.middle))

    @cached_property
    def _direct(self) -> FloatArray | None:
        """The decoder and the way out of the row space in one (h, P), where that is much cheaper.

        So it is where K is not small against P: the rows' span then has nearly as many dimensions
        as the rows have numbers.
        """
        basis, decoder = self.rows.basis, self.layers["D_W.weight"]
        hidden = decoder.shape[1]
        if basis is None:
            return None
        rank, width = basis.shape
        if rank * (hidden + width) < 2 * hidden * width:
            return None
        direct: FloatArray = decoder.T @ basis * np.float32(self.rows.scale)
        return direct

    @cached_property
    def _start(self) -> FloatArray:
        """The row (P,) that goes with a hidden layer of zeros."""
        start: FloatArray = self.rows.leave(self.layers["D_W.bias"][None])[0]
        return start

    def coordinates(self, descriptors: FloatArray) -> FloatArray:
        """Predict rows for descriptors (M, d) as they are in the row space, (M, r)."""
        layers = self.layers
        decoded: FloatArray = self._hidden(descriptors) @ layers["D_W.weight"].T
        decoded += layers["D_W.bias"]
        return decoded

    def _hidden(self, descriptors: FloatArray) -> FloatArray:
        entered = enter_inputs(self.inputs, descriptors)
        hidden: FloatArray = entered @ self.layers["E_A.weight"].T + self.layers["E_A.bias"]
        return np.maximum(hidden, 0, out=hidden)

    def tensors(self) -> Mapping[str, FloatArray]:
        return {**self.rows.tensors(), **self.layers}

    @classmethod
    def restore(cls, tensors: Mapping[str, FloatArray], settings: Mapping[str, Setting]) -> Self:
        layers = {
            name: tensors[name]
            for layer in _LAYERS
            for name in (f"{layer}.weight", f"{layer}.bias")
        }
        rows = RowSpace.restore(tensors)
        hidden = layers["E_A.weight"].shape[0]
        if layers["D_W.weight"].shape[1] != hidden or layers["E_A.bias"].shape != (hidden,):
            raise ValueError("the layers do not fit together")
        return cls(str(settings["inputs"]), rows, layers)


def taking_part(recipe: Recipe, pairs: SeenPairs) -> SeenPairs:
    """Return the pairs with the unseen descriptors that the recipe lets take part."""
    if recipe.unseen == "ignored":
        return replace(pairs, unseen=pairs.unseen[:0])
    return few_unseen(pairs) if recipe.unseen == "sampled" else pairs


def fit_networks(
    recipe: Recipe,
    rows: RowSpace,
    pairs: SeenPairs,
    seed: int,
    device: str,
    watch: Watch | None,
    penalty: Penalty | None = None,
) -> Fitted:
    """Train networks by a recipe and return them as a predictor.

    Args:
        recipe: how; ``recipe.rows`` and ``recipe.unseen`` are the caller's to heed.
        rows: the space in which they work.
        pairs: seen classes, and the unseen ones that take part in batches.
        seed: as in ``Method.fit``.
        device: as in ``Method.fit``.
        watch: as in ``Method.fit``.
        penalty: added to the loss of every batch.

    Raises:
        TrainingError: the loss is not finite.

    """
    torch = import_torch()  # first, because it explains what is wrong with an installation
    from icis_cli.methods.networks import EncoderDecoders
    from icis_cli.methods.training import train

    known = np.concatenate([pairs.descriptors, pairs.unseen])
    descriptors = torch.from_numpy(enter_inputs(recipe.inputs, known)).to(device)
    targets = torch.from_numpy(rows.enter(pairs.rows)).to(device)
    generator = torch.Generator().manual_seed(seed)
    networks = EncoderDecoders(descriptors.shape[1], targets.shape[1], recipe, generator)
    networks = networks.to(device)
    training = train(networks, descriptors, targets, recipe, generator, watch, penalty)
    return Fitted(RowNetwork(recipe.inputs, rows, networks.tensors()), training)


@dataclass(frozen=True)
class Icis(Method):
    """The two encoder-decoders, trained by a recipe."""

    name: ClassVar[str] = "icis"
    predictor: ClassVar[type[Predictor]] = RowNetwork
    recipe: Recipe = DEFAULT

    def settings(self) -> Mapping[str, Setting]:
        return self.recipe.settings()

    @property
    def seeded(self) -> bool:
        return True

    @property
    def cheap(self) -> bool:
        return self.recipe.rows == "span" and self.recipe.stop_slope is None

    def candidates(self) -> Sequence[Method]:
        """Return the recipe with half, once and twice as much training."""
        recipe = self.recipe
        changes = [
            replace(
                recipe,
                epochs=max(1, round(recipe.epochs * factor)),
                min_steps=round(recipe.min_steps * factor),
            )
            for factor in (0.5, 2)
        ]
        return (self, *(replace(self, recipe=changed) for changed in changes))

    def fit(
        self, pairs: SeenPairs, *, seed: int, device: str = "cpu", watch: Watch | None = None
    ) -> Fitted:
        recipe = self.recipe
        rows = RowSpace.as_given(pairs.rows)
        if recipe.rows == "span":
            rows = RowSpace.span_of(pairs.rows, np.random.default_rng(seed))
        # Without that term they would only make batches of nothing.
        heard = recipe if "a-a" in recipe.terms else replace(recipe, unseen="ignored")
        return fit_networks(recipe, rows, taking_part(heard, pairs), seed, device, watch)


#: The default recipe of the single network.
SINGLE = replace(DEFAULT, terms=("a-w",))


@dataclass(frozen=True)
class Mlp(Icis):
    """The single network descriptor -> row: ICIS without its three other reconstructions."""

    name: ClassVar[str] = "mlp"
    recipe: Recipe = SINGLE

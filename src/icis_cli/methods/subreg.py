"""Sub.Reg: the single network, its rows drawn towards the span of the seen ones.

Loss: squared error + ``weight * mean |w - Q Q' w|`` over the predicted rows of seen and unseen
classes, ``Q`` (P, r) an orthonormal basis of the seen rows: the subspace regulariser of Akyurek,
Akyurek, Wijaya & Andreas, "Subspace Regularizers for Few-Shot Class Incremental Learning"
(ICLR 2022), as Christensen et al. (ICCV 2023) use it for comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from icis_cli.arrays import FloatArray
from icis_cli.methods.base import Fitted, Method, Predictor, SeenPairs, Setting, Watch
from icis_cli.methods.icis import SINGLE, RowNetwork, fit_networks, taking_part
from icis_cli.methods.recipes import Recipe
from icis_cli.methods.spaces import RowSpace
from icis_cli.runtime import import_torch

if TYPE_CHECKING:
    from torch import Tensor

    from icis_cli.methods.networks import Batch, EncoderDecoders

#: As the single network, so that the regulariser is what differs. Only the step size is not: rows
#: as given have many more entries than in their span, and Adam's steps count in each of them.
#: Chosen among 2.5e-4, 5e-4, 1e-3 and 2e-3 by holding out seen classes of CUB.
_AS_GIVEN = replace(SINGLE, rows="as-given", lr=2.5e-4)


@dataclass(frozen=True)
class SubReg(Method):
    """The single network with a subspace regulariser.

    Both parts of the loss see rows in units of the seen rows' root mean square distance from
    their mean.

    Attributes:
        recipe: how the network is trained; its rows are ``"as-given"``, because within their
            span there is nothing to regularise.
        weight: of the regulariser, >= 0.

    """

    name: ClassVar[str] = "subreg"
    predictor: ClassVar[type[Predictor]] = RowNetwork
    recipe: Recipe = _AS_GIVEN
    weight: float = 1e-3

    def __post_init__(self) -> None:
        if self.recipe.rows != "as-given":
            raise ValueError("the regulariser needs rows as given: in their span it is always 0")
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"weight {self.weight}: expected a number that is not negative")

    @property
    def seeded(self) -> bool:
        return True

    @property
    def cheap(self) -> bool:
        return False

    def settings(self) -> Mapping[str, Setting]:
        return {**self.recipe.settings(), "weight": self.weight}

    def fit(
        self, pairs: SeenPairs, *, seed: int, device: str = "cpu", watch: Watch | None = None
    ) -> Fitted:
        torch = import_torch()
        # The mean row lies in the span, so rows around it leave the span by as much as rows do.
        space = RowSpace.scaled(pairs.rows)
        basis = torch.from_numpy(basis_of(pairs.rows)).to(device)
        return fit_networks(
            self.recipe,
            space,
            taking_part(self.recipe, pairs),
            seed,
            device,
            watch,
            SubspacePenalty(basis, self.weight),
        )


def basis_of(rows: FloatArray) -> FloatArray:
    """Return an orthonormal basis (P, r) of the span of rows (K, P), r their rank."""
    _, sizes, directions = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    least = sizes[:1] * max(rows.shape) * np.finfo(np.float32).eps
    basis: FloatArray = directions[sizes > least].T.astype(np.float32)
    return basis


@dataclass(frozen=True)
class SubspacePenalty:
    """``weight * mean |w - Q Q' w|`` over all rows that a batch predicts.

    Attributes:
        basis: Q (P, r), orthonormal.
        weight: of the penalty.

    """

    basis: Tensor
    weight: float

    @property
    def label(self) -> str:
        """All that it depends on beside the rows, as text."""
        return f"outside of the span: {self.weight!r}"

    def __call__(self, networks: EncoderDecoders, batch: Batch) -> Tensor:
        rows: Tensor = networks.decode_w(networks.hidden_of_descriptors(batch.descriptors))
        outside = rows - (rows @ self.basis) @ self.basis.T
        # a norm whose slope at 0, where training starts, counts as 0
        lengths: Tensor = import_torch().linalg.vector_norm(outside, dim=1)
        return self.weight * lengths.mean()

"""The interface of every method: ``fit`` on seen pairs gives a predictor of rows.

A new method is one file with a :class:`Method` and a :class:`Predictor`, and one line in
``registry``. A predictor needs numpy only, so that ``icis inject`` never has to import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from icis_cli.arrays import FloatArray

Setting = str | int | float | bool | None


@dataclass(frozen=True)
class SeenPairs:
    """What there is to learn from.

    Attributes:
        descriptors: (K, d) of the seen classes.
        rows: (K, P) joined rows ``[W; b]`` of the head, in the same order.
        unseen: (U, d) descriptors of the classes to add; U may be 0. Some methods use them in
            training (never any row or image of those classes).

    """

    descriptors: FloatArray
    rows: FloatArray
    unseen: FloatArray


@dataclass(frozen=True)
class Step:
    """Where training stands: ``epoch`` of at most ``epochs`` done, mean ``loss`` of the last."""

    epoch: int
    epochs: int
    loss: float


#: Called after every epoch.
Watch = Callable[[Step], None]


@dataclass(frozen=True)
class Training:
    """How training went.

    Attributes:
        losses: mean loss of every epoch; empty for closed forms.
        stopped: why it ended, for people.

    """

    losses: tuple[float, ...]
    stopped: str


class Predictor(ABC):
    """A fitted method."""

    @abstractmethod
    def predict(self, descriptors: FloatArray) -> FloatArray:
        """Predict joined rows (M, P) for descriptors (M, d)."""

    @abstractmethod
    def tensors(self) -> Mapping[str, FloatArray]:
        """Return all that was learned, for the injector file."""

    @classmethod
    @abstractmethod
    def restore(cls, tensors: Mapping[str, FloatArray], settings: Mapping[str, Setting]) -> Self:
        """Make a predictor of what :meth:`tensors` and :meth:`Method.settings` gave.

        Raises:
            KeyError, ValueError: something is missing or does not fit.

        """


@dataclass(frozen=True)
class Fitted:
    """What ``fit`` returns."""

    predictor: Predictor
    training: Training


class Method(ABC):
    """A way to learn rows from descriptors, with its hyper-parameters as fields."""

    name: ClassVar[str]
    predictor: ClassVar[type[Predictor]]

    @abstractmethod
    def settings(self) -> Mapping[str, Setting]:
        """Return all hyper-parameters, for the injector file."""

    @abstractmethod
    def fit(
        self, pairs: SeenPairs, *, seed: int, device: str = "cpu", watch: Watch | None = None
    ) -> Fitted:
        """Learn from seen pairs.

        Args:
            pairs: what there is to learn from.
            seed: of every random choice; same seed, same result on the same machine.
            device: ``"cpu"`` or ``"cuda"``; closed forms use the CPU.
            watch: told about every epoch.

        Raises:
            TrainingError: values overflow, or the device is not there.

        """

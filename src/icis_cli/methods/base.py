"""The interface of every method: ``fit`` on seen pairs gives a predictor of rows.

A new method is one file with a :class:`Method` and a :class:`Predictor`, and one line in
``registry``. A predictor needs numpy only, so that ``icis inject`` never has to import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from icis_cli.arrays import FloatArray, IntArray

Setting = str | int | float | bool | None

#: Descriptors per block where methods predict in blocks, so that a million of them need little
#: more memory than their rows.
_BLOCK = 1024


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


#: Fewer unseen descriptors than this are all used in training.
_FEW_UNSEEN = 1000


def few_unseen(pairs: SeenPairs) -> SeenPairs:
    """Return the pairs with as many unseen descriptors as seen ones at most, or 1000.

    More of them, chosen at random here, teach little and would take as long as they are many.
    """
    most, count = max(len(pairs.rows), _FEW_UNSEEN), len(pairs.unseen)
    if count <= most:
        return pairs
    chosen = np.sort(np.random.default_rng(0).choice(count, most, replace=False))
    return replace(pairs, unseen=pairs.unseen[chosen])


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


def in_blocks(
    predict: Callable[[FloatArray], FloatArray], descriptors: FloatArray, width: int
) -> FloatArray:
    """Return ``predict`` (B, d) -> (B, width) of descriptors (M, d), M >= 0, block by block."""
    rows = np.empty((len(descriptors), width), dtype=np.float32)
    for start in range(0, len(descriptors), _BLOCK):
        rows[start : start + _BLOCK] = predict(descriptors[start : start + _BLOCK])
    return rows


def rests_of(folds: Sequence[IntArray], count: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield each fold of ``range(count)`` with all that it leaves, ascending.

    Raises:
        ValueError: the folds do not partition ``range(count)``, or one of them leaves nothing.

    """
    joined = np.sort(np.concatenate(folds)) if len(folds) else np.empty(0, dtype=np.int64)
    if not np.array_equal(joined, np.arange(count)):
        raise ValueError(f"the folds do not partition {count} classes")
    for fold in folds:
        if len(fold) == count:
            raise ValueError("a fold holds all classes, so that none is left to learn from")
        yield fold, np.setdiff1d(np.arange(count), fold)


def number_of(setting: Setting) -> float:
    """Return a restored setting as a number.

    Raises:
        ValueError: it is none.

    """
    if isinstance(setting, bool) or not isinstance(setting, int | float):
        raise ValueError(f"{setting!r} is no number")
    return float(setting)


class RowPredictor(ABC):
    """Whatever predicts rows and can be kept in a file."""

    @abstractmethod
    def predict(self, descriptors: FloatArray) -> FloatArray:
        """Predict joined rows (M, P) for descriptors (M, d)."""

    @abstractmethod
    def tensors(self) -> Mapping[str, FloatArray]:
        """Return all that was learned, for the injector file."""


class Predictor(RowPredictor):
    """A fitted method, which can be made again of what it keeps."""

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

    predictor: RowPredictor
    training: Training


class Method(ABC):
    """A way to learn rows from descriptors, with its hyper-parameters as fields."""

    name: ClassVar[str]
    predictor: ClassVar[type[Predictor]]

    @abstractmethod
    def settings(self) -> Mapping[str, Setting]:
        """Return all hyper-parameters, for the injector file."""

    @property
    def cheap(self) -> bool:
        """Whether holding seen classes out takes seconds, so that it is done unasked."""
        return True

    @property
    def seeded(self) -> bool:
        """Whether the seed matters; closed forms always give the same rows."""
        return False

    def candidates(self) -> Sequence[Method]:
        """Return variants to choose from by held-out classes, this one first."""
        return (self,)

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

    def held_out(
        self,
        pairs: SeenPairs,
        folds: Sequence[IntArray],
        *,
        seed: int,
        device: str = "cpu",
        watch: Watch | None = None,
    ) -> FloatArray:
        """Predict the row of every seen class by a fit that never saw this class.

        The classes of a fold are to that fit what unseen classes are to :meth:`fit`: it may use
        their descriptors, never their rows.

        Args:
            pairs: what there is to learn from.
            folds: class numbers; together each of ``range(K)`` once.
            seed: as in :meth:`fit`, the same for each of the fits.
            device: as in :meth:`fit`.
            watch: told about every epoch of each fit.

        Returns:
            Row k (P,) of class k, together (K, P) float32.

        Raises:
            ValueError: the folds do not partition ``range(K)``, or one of them leaves nothing.
            TrainingError: as in :meth:`fit`.

        """
        predicted = np.empty(pairs.rows.shape, dtype=np.float32)
        for fold, rest in rests_of(folds, len(pairs.rows)):
            held = pairs.descriptors[fold]
            known = SeenPairs(
                pairs.descriptors[rest], pairs.rows[rest], np.concatenate([held, pairs.unseen])
            )
            fitted = self.fit(known, seed=seed, device=device, watch=watch)
            if len(fold):
                predicted[fold] = fitted.predictor.predict(held)
        return predicted

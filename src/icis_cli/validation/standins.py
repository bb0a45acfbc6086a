"""Stand-ins for images: points in the feature space, made of the head's own rows.

A linear classifier fits best where its rows are ``w_c = S^-1 m_c`` with the class means m_c and the
spread S of images within a class (linear discriminant analysis). Turned round, ``m_c = S w_c``. S
is not known without images, but features vary most along the directions that many rows share:
coarse kinds, colours, scenes. So the rows' own spread takes its place, ``S = V' V`` with the rows V
around their mean, and an image of class c is drawn from

    x ~ N(a S v_c, kappa a S),    a > 0.

The choice of S was measured, not derived: the logits that real images of a class have on other
classes are 3 to 5 times larger than with ``S = I``, and about right with ``S = V' V`` (see
``docs/calibration.md``). The size ``a`` cannot be told from weights at all, for features and rows
can be scaled against each other; it is given as the mean logit of the true class above the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icis_cli.arrays import FloatArray, IntArray
from icis_cli.lazy import blocks
from icis_cli.validation.heldout import sample

#: Mean logit of the true class above the mean of all others; measured on real images it is 8 to 18
#: for classifiers that are right more often than not, whatever their number of classes.
SIZE = 10.0
#: kappa: the variance of images around their class. 1 would make a classifier whose confidence is
#: right; trained ones came out at 0.4 to 0.8.
SPREAD = 0.4

#: Rows that differ by less than this share of their size, or by less than a float32 can hold, are
#: taken to be equal.
_LEAST, _TINY = 1e-6, 1e-30

_IMAGES = 2000
_MOST_CLASSES = 1000

_ALL = slice(None)


@dataclass(frozen=True)
class Logits:
    """Logits of n stand-ins on M rows, for any size: ``size * mean + sqrt(size) * noise + bias``.

    Attributes:
        mean, noise: (n, M).
        bias: (M,) of the rows around the mean bias of the seen rows; (1,) zero without biases.

    """

    mean: FloatArray
    noise: FloatArray
    bias: FloatArray

    def at(self, size: float) -> FloatArray:
        """Return the logits (n, M) at this size."""
        logits: FloatArray = np.float32(size) * self.mean
        logits += np.float32(np.sqrt(size)) * self.noise
        logits += self.bias
        return logits


@dataclass(frozen=True)
class Response:
    """What N stand-ins have to do with M rows.

    Logits are made of it when they are asked for: N x M of them would fill the memory where the
    catalogue is large.

    Attributes:
        mean, noise: (N, k) coefficients of the stand-ins for size 1.
        product: (k, M) inner products of what they are made of with the rows.
        bias: as in :class:`Logits`.

    """

    mean: FloatArray
    noise: FloatArray
    product: FloatArray
    bias: FloatArray

    def to(self, images: IntArray | slice = _ALL) -> Logits:
        """Return the logits of some stand-ins, for any size."""
        return Logits(
            self.mean[images] @ self.product, self.noise[images] @ self.product, self.bias
        )

    def at(self, size: float, images: IntArray | slice = _ALL) -> FloatArray:
        """Return the logits (n, M) of some stand-ins at one size."""
        return self.to(images).at(size)

    def of(self, rows: IntArray) -> Response:
        """Return the response of some of the rows alone."""
        bias = self.bias[rows] if len(self.bias) > 1 else self.bias
        return Response(self.mean, self.noise, self.product[:, rows], bias)


@dataclass(frozen=True)
class StandIns:
    """Stand-ins for images of seen classes.

    Attributes:
        labels: (N,) head row of each.
        basis: (k, D) weights of seen rows around their mean, scaled to a mean square length of 1;
            every stand-in lies in their span.
        middle: (P,) mean seen row.
        scale: what the weights were divided by.
        mean, noise: (N, k) coefficients over the basis, for size 1.

    """

    labels: IntArray
    basis: FloatArray
    middle: FloatArray
    scale: float
    mean: FloatArray
    noise: FloatArray

    def on(self, rows: FloatArray) -> Response:
        """Return the response of rows (M, P)."""
        width = self.basis.shape[1]
        product = np.empty((len(self.basis), len(rows)), dtype=np.float32)
        for part, block in blocks(rows):
            centred = (block[:, :width] - self.middle[:width]) / np.float32(self.scale)
            product[:, part] = self.basis @ centred.T
        bias = np.zeros(1, dtype=np.float32)
        if rows.shape[1] > width:
            bias = rows[:, width] - self.middle[width]
        return Response(self.mean, self.noise, product, bias)


def stand_ins(rows: FloatArray, width: int, seed: int = 0) -> StandIns | None:
    """Make about 2000 stand-ins for images, at least two for each of up to 1000 classes.

    Args:
        rows: (K, P) of the head, K >= 2.
        width: D; where P is larger, the last column is the bias.
        seed: of the noise.

    Returns:
        None where all rows are equal, as far as float32 tells: such a head tells nothing apart.

    """
    middle = rows.mean(axis=0, dtype=np.float64)
    chosen = sample(len(rows), _MOST_CLASSES)
    basis = rows[chosen, :width] - middle[:width]
    count = len(chosen)
    scale = float(np.sqrt((basis**2).sum() / count))
    if not _LEAST * float(np.abs(middle[:width]).max()) < scale < np.inf or scale < _TINY:
        return None
    basis = (basis / scale).astype(np.float32)
    gram = basis @ basis.T
    # The trace of G G, and the sum of all of it, for the symmetric G.
    energy, total = (
        float((sums.astype(np.float64) ** 2).sum()) for sums in (gram, gram.sum(axis=0))
    )
    # What the mean logit of the true class is above that of the other classes, before scaling.
    lead = energy / count - (total - energy) / (count * (count - 1))
    each = max(2, _IMAGES // count)
    labels = np.repeat(np.arange(count), each)
    noise = np.random.default_rng(seed).standard_normal((len(labels), count))
    return StandIns(
        chosen[labels],
        basis,
        middle.astype(np.float32),
        scale,
        (gram[labels] / lead).astype(np.float32),
        (noise * np.sqrt(SPREAD / lead)).astype(np.float32),
    )

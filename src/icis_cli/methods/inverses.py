"""The inverse of a symmetric positive definite matrix, twice as fast as ``numpy.linalg.inv``.

By halves: with ``A = [[E, F], [F', H]]`` and the Schur complement ``S = H - F' E^-1 F``,

    A^-1 = [[E^-1 + U S^-1 U', -U S^-1], [-S^-1 U', S^-1]],    U = E^-1 F.

Nearly all of it are products of large blocks, which use every core, and symmetry is made use of.
It loses more digits than a factorisation where the condition of the matrix is bad; so the result is
tried, and where it is not good enough, ``numpy.linalg.inv`` is asked. See Higham, "Accuracy and
Stability of Numerical Algorithms" (2nd ed. 2002), chapters 13 and 14.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DoubleArray = NDArray[np.float64]

#: Blocks up to this are not halved. OpenBLAS inverts these on one thread; larger ones on all, which
#: on a busy machine wait for each other ten times as long as they compute.
_SMALL = 64
#: How far ``A A^-1 x`` may be from x of ones and minus ones.
_CLOSE = 1e-7


def positive_inverse(matrix: DoubleArray) -> DoubleArray:
    """Return the inverse (K, K) of a symmetric positive definite matrix (K, K).

    Raises:
        numpy.linalg.LinAlgError: the matrix is singular.

    """
    if len(matrix) > _SMALL:
        try:
            inverse = _by_halves(matrix)
        except np.linalg.LinAlgError:  # a Schur complement that rounding has made singular
            return np.asarray(np.linalg.inv(matrix))
        tried = np.random.default_rng(0).choice([-1.0, 1.0], len(matrix))
        if np.abs(matrix @ (inverse @ tried) - tried).max() < _CLOSE:
            return inverse
    return np.asarray(np.linalg.inv(matrix))


def _by_halves(matrix: DoubleArray) -> DoubleArray:
    count = len(matrix)
    if count <= _SMALL:
        return np.asarray(np.linalg.inv(matrix))
    half = count // 2
    first, second = slice(None, half), slice(half, None)
    across = matrix[first, second]
    own = _by_halves(matrix[first, first])
    turned = own @ across  # U
    rest = across.T @ turned
    np.subtract(matrix[second, second], rest, out=rest)
    inverse = np.empty_like(matrix)
    inverse[second, second] = _by_halves(rest)
    weighed = turned @ inverse[second, second]
    np.matmul(weighed, turned.T, out=inverse[first, first])
    inverse[first, first] += own
    np.negative(weighed, out=inverse[first, second])
    inverse[second, first] = inverse[first, second].T
    return inverse

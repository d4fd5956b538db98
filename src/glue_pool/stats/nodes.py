"""Nodes of the integrals over how large a spread may seem."""

from functools import cache, lru_cache

import numpy as np


@cache
def on_unit_interval(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of an integral over [0, 1], crowded at both ends."""
    x, weights = np.polynomial.legendre.leggauss(nodes)
    x = (x + 1) / 2
    return x**2 * (3 - 2 * x), weights * 3 * x * (1 - x)


def chi_squared(freedom: np.ndarray, nodes: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes `(…, nodes)` and weights of a mean over chi-squared(freedom) / freedom; freedom: `(…,)`."""
    distinct, which = np.unique(np.asarray(freedom, dtype=float), return_inverse=True)
    found = np.array([_of_one(of, nodes) for of in distinct.tolist()]).reshape(-1, nodes)
    return found[which.reshape(np.shape(freedom))], on_unit_interval(nodes)[1]


@lru_cache(maxsize=16384)
def _of_one(freedom: float, nodes: int) -> np.ndarray:
    from scipy.special import chdtri

    return np.asarray(chdtri(freedom, 1 - on_unit_interval(nodes)[0]) / freedom)

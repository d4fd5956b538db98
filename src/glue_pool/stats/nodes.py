"""Nodes of the integrals over how large a spread may seem."""

from functools import cache

import numpy as np


@cache
def on_unit_interval(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of an integral over [0, 1], crowded at both ends."""
    x, weights = np.polynomial.legendre.leggauss(nodes)
    x = (x + 1) / 2
    return x**2 * (3 - 2 * x), weights * 3 * x * (1 - x)


def chi_squared(freedom: np.ndarray, nodes: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes `(…, nodes)` and weights of a mean over chi-squared(freedom) / freedom; freedom: `(…,)`."""
    from scipy.special import chdtri

    x, weights = on_unit_interval(nodes)
    freedom = np.asarray(freedom, dtype=float)[..., None]
    return chdtri(freedom, 1 - x) / freedom, weights

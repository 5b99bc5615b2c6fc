"""Tails of the binomial distribution as upper bounds in logarithms, which do not underflow, and Wilson's interval."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def divergence(share: Any, expected: Any) -> NDArray[np.float64]:
    """Kullback-Leibler divergence, in nats, of Bernoulli(share) from Bernoulli(expected)."""
    share, expected = np.asarray(share, np.float64), np.asarray(expected, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = np.where(share > 0, share * np.log(share / expected), 0.0)
        miss = np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - expected)), 0.0)
    total: NDArray[np.float64] = hit + miss
    return total


def log_tail(share: Any, count: Any, expected: Any) -> NDArray[np.float64]:
    """Upper bound of the log-probability of a share at least as far from `expected`, on the side of `share`.

    For `count` draws with success probability `expected`: Chernoff's bound in Hoeffding's form (1963),
    exp(-count x divergence), which exceeds the exact tail by at most a power of `count`.
    """
    bound: NDArray[np.float64] = -np.asarray(count, np.float64) * divergence(share, expected)
    return bound


def wilson(hits: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval (1927) for a share; `z` = 1.96 gives 95%."""
    if count == 0:
        return 0.0, 1.0
    share, square = hits / count, z * z / count
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)

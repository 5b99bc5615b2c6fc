"""Tails of the binomial distribution, as upper bounds in logarithms, which hold where the tail itself underflows."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def divergence(share: Any, expected: Any) -> NDArray[np.float64]:
    """Kullback-Leibler divergence (nats) of a coin that shows `share` from one that shows `expected`."""
    share, expected = np.asarray(share, np.float64), np.asarray(expected, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = np.where(share > 0, share * np.log(share / expected), 0.0)
        miss = np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - expected)), 0.0)
    total: NDArray[np.float64] = hit + miss
    return total


def log_tail(share: Any, count: Any, expected: Any) -> NDArray[np.float64]:
    """Upper bound of the log of P(at least as far from `expected`, on the side where `share` lies).

    For `share` x `count` successes of `count` draws that succeed with probability `expected`: Chernoff's bound in
    Hoeffding's form (1963), exp(-count x divergence), less than the exact tail's power of `count` above it.
    """
    bound: NDArray[np.float64] = -np.asarray(count, np.float64) * divergence(share, expected)
    return bound


def wilson(hits: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval (1927) for a share, 95% unless `z` says else."""
    if count == 0:
        return 0.0, 1.0
    share, square = hits / count, z * z / count
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)

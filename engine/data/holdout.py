"""The part of a training file that is never trained on: a pure function of its size, the share and the seed."""

import numpy as np
from numpy.typing import NDArray

from engine.data.order import file_permutation


def held_out(num_samples: int, share: float, seed: int) -> NDArray[np.int64]:
    """Ids of round(share x num_samples) random samples, sorted; shape (held out,)."""
    return np.sort(file_permutation(num_samples, seed)[: round(share * num_samples)])


def without(order: NDArray[np.int64], held: NDArray[np.int64]) -> NDArray[np.int64]:
    """`order`, a permutation of all samples, without those held out."""
    keep = np.ones(len(order), bool)
    keep[held] = False
    return order[keep[order]]

"""Counter-based random numbers: a pure function of seed, epoch, id and purpose, without state.

NumPy keeps the streams of its bit generators between versions, but not the distributions made from them (NEP 19);
these numbers never change. crops.py draws from the same keys in a kernel.
"""

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def sample_keys(ids: NDArray[np.int64], seed: int, epoch: int, stream: int) -> NDArray[np.uint64]:
    """A key for each id, uint64 (len(ids),), different between ids and between streams."""
    # Arrays of one element: NumPy wraps arrays around silently, as intended here, but warns for scalars.
    key = _mix(np.array([seed], np.uint64) + _GOLDEN)
    key = _mix(key + np.array([epoch + 1], np.uint64) * _GOLDEN)
    key = _mix(key ^ np.uint64(stream))
    return _mix((ids.astype(np.uint64) + np.uint64(1)) * _GOLDEN + key)


def uniforms(keys: NDArray[np.uint64], count: int) -> NDArray[np.float64]:
    """The first `count` numbers of each key, uniform in [0, 1), float64 (len(keys), count)."""
    draws = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    return (_mix(keys[:, None] + draws) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finishing steps (Steele et al. 2014), one-to-one on 64 bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

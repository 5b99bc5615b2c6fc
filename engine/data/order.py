"""Which samples make up which batch: pure functions of (seed, epoch, rank, world), nothing else.

The global batch k of an epoch is the same set of samples for any number of ranks and any accumulation:
one permutation is cut into global batches, and each of those into (accumulation, rank, position). The
permutation sorts counter-based keys, as crops.py draws them: NumPy keeps its bit generators' streams from
version to version, but promises nothing for what `Generator.permutation` makes of them (NEP 19).
"""

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# Sets the order's keys apart from those that crops.py draws for the same seed and epoch.
_ORDER_STREAM = np.uint64(0x6F72646572)


def epoch_permutation(num_samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of all samples in this epoch, shape (num_samples,)."""
    # Arrays of one, since NumPy lets arrays wrap around in silence, as is meant here, but not scalars.
    key = _mix(np.array([seed], np.uint64) + _GOLDEN)
    key = _mix(key + np.array([epoch + 1], np.uint64) * _GOLDEN)
    key = _mix(key ^ _ORDER_STREAM)
    keys = _mix(np.arange(1, num_samples + 1, dtype=np.uint64) * _GOLDEN + key)
    # No two keys are equal (the mixing is one-to-one), so every way of sorting gives the same order.
    return np.argsort(keys).astype(np.int64, copy=False)


def train_batches(
    num_samples: int, *, seed: int, epoch: int, global_batch: int, accumulation: int, rank: int, world: int
) -> NDArray[np.int64]:
    """This rank's sample ids, shape (steps, accumulation, global_batch / accumulation / world).

    The rest that does not fill a global batch is left out of this epoch (another one in each epoch).
    Raises ValueError when the global batch can't be cut evenly or exceeds the data.
    """
    _check_rank(rank, world)
    if accumulation < 1:
        raise ValueError(f"accumulation {accumulation}")
    device_batch, remainder = divmod(global_batch, accumulation * world)
    if remainder or not 0 < global_batch <= num_samples:
        raise ValueError(f"global batch {global_batch} of {num_samples} over {accumulation} x {world}")
    steps = num_samples // global_batch
    order = epoch_permutation(num_samples, seed, epoch)[: steps * global_batch]
    return order.reshape(steps, accumulation, world, device_batch)[:, :, rank]


def validation_batches(num_samples: int, *, batch: int, rank: int, world: int) -> list[NDArray[np.int64]]:
    """This rank's share of all samples in file order, in batches of at most `batch`; each sample on one rank.

    Shares differ by at most one sample and may be empty. Raises ValueError for a rank or batch out of range.
    """
    _check_rank(rank, world)
    if batch < 1:
        raise ValueError(f"batch {batch}")
    start, stop = (num_samples * part // world for part in (rank, rank + 1))
    return [np.arange(begin, min(begin + batch, stop), dtype=np.int64) for begin in range(start, stop, batch)]


def _check_rank(rank: int, world: int) -> None:
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} of {world}")


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finishing steps (Steele et al. 2014), one-to-one on 64 bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

"""Which samples make up which batch: pure functions of (seed, epoch, rank, world), nothing else.

The global batch k of an epoch is the same set of samples for any number of ranks and any accumulation:
one permutation is cut into global batches, and each of those into (accumulation, rank, position).
"""

import numpy as np
from numpy.typing import NDArray

_ORDER_STREAM = 0x0D


def epoch_permutation(num_samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of all samples in this epoch, shape (num_samples,)."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, _ORDER_STREAM])))
    return generator.permutation(num_samples).astype(np.int64)


def train_batches(
    num_samples: int, *, seed: int, epoch: int, global_batch: int, accumulation: int, rank: int, world: int
) -> NDArray[np.int64]:
    """This rank's sample ids, shape (steps, accumulation, global_batch / accumulation / world).

    The rest that does not fill a global batch is left out of this epoch (another one in each epoch).
    Raises ValueError when the global batch can't be cut evenly or exceeds the data.
    """
    device_batch, remainder = divmod(global_batch, accumulation * world)
    if remainder or not 0 < global_batch <= num_samples:
        raise ValueError(f"global batch {global_batch} of {num_samples} over {accumulation} x {world}")
    steps = num_samples // global_batch
    order = epoch_permutation(num_samples, seed, epoch)[: steps * global_batch]
    return order.reshape(steps, accumulation, world, device_batch)[:, :, rank]


def validation_batches(num_samples: int, *, batch: int, rank: int, world: int) -> list[NDArray[np.int64]]:
    """This rank's share of all samples in file order, in batches of at most `batch`; each sample on one rank."""
    start, stop = (num_samples * part // world for part in (rank, rank + 1))
    return [np.arange(begin, min(begin + batch, stop)) for begin in range(start, stop, batch)]

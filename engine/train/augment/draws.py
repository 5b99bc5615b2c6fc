"""The random numbers of a batch: a pure function of (seed, epoch, view) and of what they are for.

A view is a sample's id or, where samples are repeated in a batch, one number for the sample and its repeat (order.py).
So a view's augmentation is the same in whatever batch, on whatever rank and after whatever interruption it comes.
They are drawn on the host, where the ids are, and go to the device without it being waited for.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.sampling.rng import sample_keys, uniforms


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The draws for the views `ids` (n,) in this epoch."""

    seed: int
    epoch: int
    ids: NDArray[np.int64]

    def uniform(self, purpose: str, count: int) -> NDArray[np.float64]:
        """`count` numbers in [0, 1) for each view, (n, count); each purpose has numbers of its own."""
        stream = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
        return uniforms(sample_keys(self.ids, self.seed, self.epoch, stream), count)


def upload(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    """`values` on the device. From pinned memory, since from any other a copy waits for what runs there."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)

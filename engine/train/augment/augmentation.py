"""What an augmentation is, and the random numbers that it draws.

The random numbers are a pure function of (seed, epoch, view) and of their purpose. A view is a sample's id or, where a
batch holds a sample several times (augmentation.repeats), one number for the sample and its repeat (order.py). So a
view is augmented in the same way in any batch, on any rank and after any interruption. The numbers are drawn on the
host, where the ids are, and copied to the device without waiting for it.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engine.config.train.augmentation import AugmentationConfig
from engine.data.sampling.rng import sample_keys, uniforms
from engine.devices import abilities


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The random numbers of one batch: for the views `ids`, int64 (n,), in this epoch."""

    seed: int
    epoch: int
    ids: NDArray[np.int64]

    def uniform(self, purpose: str, count: int) -> NDArray[np.float64]:
        """`count` numbers in [0, 1) for each view, (n, count); they are independent between purposes."""
        stream = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
        return uniforms(sample_keys(self.ids, self.seed, self.epoch, stream), count)


def upload(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    """`values` on the device, through pinned memory: a copy from pageable memory waits for the running kernels."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if abilities(device).pinned:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Augmentation(Protocol):
    """One augmentation, set up for a run."""

    on_levels: bool
    """Whether it takes pixels as levels 0..255; the others take them normalised (mean 0, standard deviation 1)."""

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Augmented images, float32 (n, 3, height, width), and targets: labels (n,) or soft (n, classes).

        May change `images` in place.
        """
        ...


Build = Callable[[AugmentationConfig, int], Augmentation | None]
"""(options of section augmentation, number of classes) -> the augmentation; None where the options turn it off."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The registration of an augmentation: its builder, and options of section augmentation that turn it on.

    The tests of all augmentations run with `example`.
    """

    build: Build
    example: Mapping[str, Any]

"""What every contender is asked for, and the one signature by which it answers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

# (n, 3, resolution, resolution) normalised, and (n,) labels, both on the task's device.
Batch = tuple["torch.Tensor", "torch.Tensor"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """The same for both sides: which file, which crops, how large, on what."""

    beton: Path
    num_samples: int
    resolution: int
    scale: tuple[float, float]
    """Least and largest share of the image's area that a random crop takes."""
    batch: int
    """Images in a batch."""
    cores: int
    """Cores, and so decoding threads, that this side may use."""
    device: str
    """cpu or cuda."""

    @property
    def dtype(self) -> str:
        """What images end as: as ffcv-imagenet has them on a GPU, and as a CPU trains on them."""
        return "float16" if self.device == "cuda" else "float32"

    def epoch_ids(self, batches: int) -> NDArray[np.int64]:
        """The file's samples over and over, as many as that number of batches holds; not shuffled."""
        return np.arange(batches * self.batch, dtype=np.int64) % self.num_samples


class Side(Protocol):
    """One contender, ready to work. Opened, used and left in a process of its own."""

    @property
    def settings(self) -> str:
        """How it is set up, in words, for the record."""
        ...

    def epoch(self, number: int, batches: int) -> Iterator[Batch]:
        """So many batches of random crops, flipped at random, in random order; read to the end by the caller."""
        ...

    def centre_crops(self, count: int) -> Batch:
        """The file's first `count` samples, cut to the centred square of their whole short side."""
        ...

"""What a loader or decoder is asked for, and the signature by which it answers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Task:
    """The same for both sides but for the file, which may store the same images in another way."""

    beton: Path
    folder: Path | None
    """Where the same images lie in another layout (benchmarks.harness.images.exports), for a side that reads it."""
    num_samples: int
    resolution: int
    scale: tuple[float, float]
    """Least and largest share of the image's area that a random crop takes."""
    batch: int
    """Images in a batch."""
    cores: int
    """Cores, and so decoding threads, that this side may use."""
    form: str
    """What a batch has to be to count as ready: host, cpu or cuda (benchmarks.harness.pairing.FORMS)."""

    @property
    def device(self) -> str:
        """Where batches end."""
        return "cuda" if self.form == "cuda" else "cpu"

    @property
    def dtype(self) -> str:
        """What normalised images end as: as ffcv-imagenet has them on a GPU, and as a CPU trains on them."""
        return "float16" if self.form == "cuda" else "float32"

    def epoch_ids(self, batches: int) -> NDArray[np.int64]:
        """As many samples as that number of batches holds, not shuffled.

        Spread over the whole file, each at most once, where they are fewer than it holds; else all of them
        over and over.
        """
        return self.spread_ids(batches * self.batch)

    def spread_ids(self, count: int) -> NDArray[np.int64]:
        """`count` samples, from the whole file and evenly."""
        numbers = np.arange(count, dtype=np.int64)
        return numbers % self.num_samples if count > self.num_samples else numbers * self.num_samples // count


class LoadingSide(Protocol):
    """A loader or decoder, ready to work in its own process."""

    @property
    def settings(self) -> str:
        """How it is set up, in words, for the record."""
        ...

    def epoch(self, number: int, batches: int, resolution: int) -> Iterator[Any]:
        """So many batches of random crops, flipped at random, in random order; read to the end by the caller.

        Gives each batch's labels, (n,) as the side has them, at the moment when it is ready in the task's form.
        """
        ...

    def one_pass(self) -> Iterator[Any]:
        """All images once, set up as an epoch but for the order, which may be any; the last batch may be smaller.

        Gives each batch's labels, as `epoch` does.
        """
        ...

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Samples `task.spread_ids(count)`, cut to the centred square of their whole short side, and labels.

        In levels of 0..255, shape (count, 3, task.resolution, task.resolution).
        """
        ...

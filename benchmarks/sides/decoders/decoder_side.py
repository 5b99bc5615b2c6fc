"""A decoder as a side: epochs of batches, one pass, and centre crops to compare."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.sides.task import Task
from engine.data.beton.reader import open_beton
from engine.data.sampling.crops import CenterCrop, CropLaw, RandomResizedCrop

WHOLE = 1.0
"""The least crop area that stands for no random crop."""


class Decodes(Protocol):
    """One way to decode a batch."""

    settings: str

    def decode(self, ids: NDArray[np.int64], law: CropLaw, side: int) -> NDArray[np.uint8] | None:
        """uint8 (n, side, side, 3); None where the pixels are not finished here."""
        ...

    def finished(self, ids: NDArray[np.int64], law: CropLaw, side: int) -> NDArray[np.uint8]:
        """The same, always as pixels, for the comparison."""
        ...


class DecoderSide:
    """A benchmarks.sides.task.LoadingSide around it."""

    def __init__(self, task: Task, way: Decodes) -> None:
        self._task, self._way = task, way
        self._labels = open_beton(task.beton).labels
        self.settings = way.settings

    def epoch(self, number: int, batches: int, resolution: int) -> Iterator[NDArray[np.int64]]:
        ids = np.random.default_rng(number).permutation(self._task.epoch_ids(batches))
        return self._batches(ids, number, resolution)

    def one_pass(self) -> Iterator[NDArray[np.int64]]:
        return self._batches(np.arange(self._task.num_samples), 0, self._task.resolution)

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        ids = self._task.spread_ids(count)
        pixels = self._way.finished(ids, CenterCrop(ratio=1.0), self._task.resolution)
        return pixels.transpose(0, 3, 1, 2).astype(np.float32), self._labels[ids]

    def _batches(self, ids: NDArray[np.int64], number: int, side: int) -> Iterator[NDArray[np.int64]]:
        law = law_of(self._task, number)
        for start in range(0, len(ids), self._task.batch):
            batch = ids[start : start + self._task.batch]
            self._way.decode(batch, law, side)
            yield self._labels[batch]


def law_of(task: Task, epoch: int) -> CropLaw:
    """Random crops, or the centred square where the least area is all of the image."""
    least, most = task.scale
    if least == WHOLE:
        return CenterCrop(ratio=1.0)
    return RandomResizedCrop(seed=0, epoch=epoch, min_scale=least, max_scale=most)

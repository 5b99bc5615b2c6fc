"""Crops for peers that bring none of their own: our law for one image, so that they are torchvision's and cheap."""

from typing import NamedTuple

import numpy as np

from benchmarks.peers.base import Task
from engine.data.crops import FLIP, HEIGHT, LEFT, TOP, WIDTH, CenterCrop, RandomResizedCrop


class Crop(NamedTuple):
    """Part of an image, in its pixels."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


class CropLaw:
    """Draws for (epoch, sample) as engine.data.crops does, or always the centred square of the whole short side."""

    def __init__(self, task: Task, epoch: int | None) -> None:
        self._law: RandomResizedCrop | CenterCrop = CenterCrop(ratio=1.0)
        if epoch is not None:
            least, most = task.scale
            self._law = RandomResizedCrop(seed=0, epoch=epoch, min_scale=least, max_scale=most)

    def __call__(self, sample: int, height: int, width: int) -> Crop:
        """For an image of so many pixels."""
        sizes = (np.array([value], np.int64) for value in (sample, height, width))
        (box,) = self._law.boxes(*sizes).tolist()
        return Crop(box[TOP], box[LEFT], box[HEIGHT], box[WIDTH], bool(box[FLIP]))

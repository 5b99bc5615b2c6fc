"""Crops for peers without their own: our rule (torchvision's) for one image at a time."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.sides.task import Task
from engine.data.sampling.crops import FLIP, HEIGHT, LEFT, TOP, WIDTH, CenterCrop, RandomResizedCrop
from engine.data.sampling.crops import CropLaw as AnyLaw


class Crop(NamedTuple):
    """Part of an image, in its pixels."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


class CropLaw:
    """Draws for (epoch, sample) as engine.data.sampling.crops does, or always the centre square of the short side."""

    def __init__(self, task: Task, epoch: int | None) -> None:
        self._law: AnyLaw = CenterCrop(ratio=1.0)
        if epoch is not None:
            least, most = task.scale
            self._law = RandomResizedCrop(seed=0, epoch=epoch, min_scale=least, max_scale=most)

    def __call__(self, sample: int, height: int, width: int) -> Crop:
        """The crop of an image of this height and width."""
        ids, heights, widths = (np.array([value], np.int64) for value in (sample, height, width))
        return boxes(self._law, ids, heights, widths)[0]


def boxes(law: AnyLaw, ids: NDArray[np.int64], heights: NDArray[Any], widths: NDArray[Any]) -> list[Crop]:
    """The law's crops of these samples, by their heights and widths."""
    return [
        Crop(box[TOP], box[LEFT], box[HEIGHT], box[WIDTH], bool(box[FLIP]))
        for box in law.boxes(ids, heights, widths).tolist()
    ]

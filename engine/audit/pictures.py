"""The images of both files as small pictures, by the engine's own decoders; those that can't be decoded are kept
apart."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.data.beton import Beton
from engine.data.crops import CenterCrop, CropLaw, RandomResizedCrop
from engine.data.decoders.pool import DecodePool

# Whole images, whatever their shape up to 16 : 1. Not a CenterCrop, with which JPEGs are decoded at full scale.
_WHOLE = RandomResizedCrop(seed=0, epoch=0, min_scale=1.0, max_scale=1.0, max_aspect=16.0, flip=False)


class Pictures:
    """Decodes the images of several files, numbered through one after the other, with `workers` threads each.

    `damaged` holds a line for each image met that can't be decoded. Use as a context manager: it owns threads.
    """

    def __init__(self, betons: Sequence[Beton], workers: int) -> None:
        self._owned = ExitStack()
        self.damaged: dict[int, str] = {}
        self._files: list[_File] = []
        start = 0
        for beton in betons:
            pool = DecodePool(beton, workers)
            self._owned.callback(pool.close)
            self._files.append(_File(pool, start, start + beton.num_samples))
            start += beton.num_samples

    def whole(self, images: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        """Each image as a whole, stretched to side x side: uint8 (n, side, side, 3). Damaged ones are black."""
        return self._decode(images, side, _WHOLE)

    def centre(self, images: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        """Each image's centred square, as `whole`."""
        return self._decode(images, side, CenterCrop(ratio=1.0))

    def _decode(self, images: NDArray[np.int64], side: int, crop: CropLaw) -> NDArray[np.uint8]:
        pixels = np.zeros((len(images), side, side, 3), np.uint8)
        for file in self._files:
            rows = np.flatnonzero((images >= file.start) & (images < file.behind))
            out = np.empty((len(rows), side, side, 3), np.uint8)
            for bad in file.pool.decode(images[rows] - file.start, crop, out):
                out[bad.row] = 0
                self.damaged[int(images[rows[bad.row]])] = bad.message
            pixels[rows] = out
        return pixels

    def close(self) -> None:
        """End the threads."""
        self._owned.close()

    def __enter__(self) -> "Pictures":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass(frozen=True)
class _File:
    """One file's decoder, and which numbers its images have."""

    pool: DecodePool
    start: int
    behind: int

"""The crop and flip of an image: a pure function of (seed, epoch, view).

A view is a sample's id or, where samples are repeated in a batch, one number for the sample and its repeat (order.py).

A counter-based generator (splitmix64's mixing, Steele et al. 2014) replaces generators with state, so a crop does not
depend on its thread, worker, rank or batch. Only operations that IEEE 754 rounds exactly are used (no exp or log at
run time, no fastmath), so every machine crops alike.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.kernel import kernel

TOP, LEFT, HEIGHT, WIDTH, FLIP = range(5)

_ASPECT_STEPS = 4096
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ATTEMPTS = 10
_DRAWS_PER_ATTEMPT = 4


@dataclass(frozen=True, kw_only=True)
class RandomResizedCrop:
    """torchvision's RandomResizedCrop and RandomHorizontalFlip, drawn for (seed, epoch, view)."""

    seed: int
    epoch: int
    min_scale: float = 0.08
    max_scale: float = 1.0
    max_aspect: float = 4 / 3
    flip: bool = True

    def boxes(self, ids: NDArray[np.int64], heights: NDArray[Any], widths: NDArray[Any]) -> NDArray[np.int32]:
        """A row (top, left, height, width, flip) for each view, int32 (n, 5), in pixels of the stored image."""
        boxes = np.empty((len(ids), 5), np.int32)
        _random_boxes(
            np.uint64(self.seed),
            np.uint64(self.epoch),
            ids,
            heights,
            widths,
            self.min_scale,
            self.max_scale,
            aspect_table(self.max_aspect),
            self.flip,
            boxes,
        )
        return boxes


@dataclass(frozen=True, kw_only=True)
class CenterCrop:
    """The centred square whose side is `ratio` x the short side, resized in one step.

    torchvision's Resize and CenterCrop (ResizeThenCrop below) show the same part to a pixel or so; but its edges lie
    between pixels there, and its edge pixels count what lies beyond them.
    """

    ratio: float

    def boxes(self, ids: NDArray[np.int64], heights: NDArray[Any], widths: NDArray[Any]) -> NDArray[np.int32]:
        """A row (top, left, height, width, flip = 0) for each sample, int32 (n, 5), in pixels of the stored image."""
        side = np.maximum(1, np.rint(self.ratio * np.minimum(heights, widths)).astype(np.int32))
        top = (heights.astype(np.int32) - side) // 2
        left = (widths.astype(np.int32) - side) // 2
        return np.stack([top, left, side, side, np.zeros_like(side)], axis=1)


@dataclass(frozen=True, kw_only=True)
class ResizeThenCrop:
    """torchvision's Resize(short_side) and CenterCrop(side), in one step: the same pixels to a level or two.

    The size of the resized image and the crop's place in it are rounded as there (torchvision.transforms.functional,
    _compute_resized_output_size and center_crop).
    """

    short_side: int
    """Pixels; at least `side`."""
    side: int
    """Pixels of the crop, and of the batch that it is asked for."""

    @classmethod
    def of(cls, resolution: int, ratio: float) -> "ResizeThenCrop":
        """What is usual for a crop of `resolution` px and this share of the short side: 256 for 224 of 7/8."""
        return cls(short_side=resized_side(resolution, ratio), side=resolution)

    def windows(self, heights: NDArray[Any], widths: NDArray[Any]) -> NDArray[np.float64]:
        """A row (top, left, height, width) for each sample, float64 (n, 4), in pixels of the stored image."""
        sides = np.stack([heights, widths], axis=1).astype(np.float64)
        resized = np.floor(self.short_side * sides / sides.min(axis=1, keepdims=True))
        steps = sides / resized
        return np.hstack([np.rint((resized - self.side) / 2) * steps, self.side * steps])

    def boxes(self, ids: NDArray[np.int64], heights: NDArray[Any], widths: NDArray[Any]) -> NDArray[np.int32]:
        """As of CenterCrop, but all pixels that may count: the windows and a margin about them."""
        sides, windows = np.stack([heights, widths], axis=1), self.windows(heights, widths)
        # A chroma pixel of half size reaches twice as far as a pixel of the image.
        margins = np.maximum(2, np.ceil(windows[:, 2:] / self.side)) + 2
        low = np.maximum(0, np.floor(windows[:, :2] - margins))
        high = np.minimum(sides, np.ceil(windows[:, :2] + windows[:, 2:] + margins))
        return np.hstack([low, high - low, np.zeros((len(low), 1))]).astype(np.int32)


CropLaw = RandomResizedCrop | CenterCrop | ResizeThenCrop


def centre_crop(law: str, resolution: int, ratio: float) -> CropLaw:
    """The crop of a validation at `resolution` px, by validation.crop_law: fused or torchvision."""
    return ResizeThenCrop.of(resolution, ratio) if law == "torchvision" else CenterCrop(ratio=ratio)


def resized_side(resolution: int, ratio: float) -> int:
    """What torchvision's Resize is given, in pixels, before a centre crop of `resolution`: 256 for 224 of 7/8."""
    return max(resolution, int(np.floor(resolution / ratio + 0.5)))


@cache
def aspect_table(max_aspect: float) -> NDArray[np.float64]:
    """Aspect ratios (width / height) from 1/max_aspect to max_aspect, evenly spaced in their logarithm; read-only.

    Rounded to 2^-24, because the last digits of exp and log differ between machines.
    """
    log_aspect = np.linspace(-np.log(max_aspect), np.log(max_aspect), _ASPECT_STEPS)
    table = np.round(np.exp(log_aspect) * 2.0**24) / 2.0**24
    table.setflags(write=False)
    return table


@kernel
def _mix(value: np.uint64) -> np.uint64:
    value ^= value >> np.uint64(30)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    value *= np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel
def _uniform(key: np.uint64, draw: int) -> float:
    """The draw-th number of this key's stream, uniform in [0, 1)."""
    bits = _mix(key + np.uint64(draw + 1) * _GOLDEN)
    return float(bits >> np.uint64(11)) * 2.0**-53


@kernel
def _random_boxes(
    seed: np.uint64,
    epoch: np.uint64,
    ids: NDArray[np.int64],
    heights: NDArray[Any],
    widths: NDArray[Any],
    min_scale: float,
    max_scale: float,
    aspects: NDArray[np.float64],
    flip: bool,
    boxes: NDArray[np.int32],
) -> None:
    epoch_key = _mix(_mix(seed + _GOLDEN) + (epoch + np.uint64(1)) * _GOLDEN)
    for row in range(len(ids)):
        key = _mix(epoch_key + (np.uint64(ids[row]) + np.uint64(1)) * _GOLDEN)
        boxes[row, FLIP] = 1 if flip and _uniform(key, 0) < 0.5 else 0
        _random_box(key, int(heights[row]), int(widths[row]), min_scale, max_scale, aspects, boxes[row])


@kernel
def _random_box(
    key: np.uint64,
    height: int,
    width: int,
    min_scale: float,
    max_scale: float,
    aspects: NDArray[np.float64],
    box: NDArray[np.int32],
) -> None:
    """torchvision.transforms.RandomResizedCrop.get_params, with its ten attempts and its fallback."""
    for attempt in range(_ATTEMPTS):
        draw = 1 + attempt * _DRAWS_PER_ATTEMPT
        area = height * width * (min_scale + (max_scale - min_scale) * _uniform(key, draw))
        aspect = aspects[int(_uniform(key, draw + 1) * len(aspects))]
        crop_width = int(np.floor(np.sqrt(area * aspect) + 0.5))
        crop_height = int(np.floor(np.sqrt(area / aspect) + 0.5))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            box[TOP] = int(_uniform(key, draw + 2) * (height - crop_height + 1))
            box[LEFT] = int(_uniform(key, draw + 3) * (width - crop_width + 1))
            box[HEIGHT] = crop_height
            box[WIDTH] = crop_width
            return
    crop_height, crop_width = height, width
    if width < height * aspects[0]:
        crop_height = max(1, int(np.floor(width / aspects[0] + 0.5)))
    elif width > height * aspects[-1]:
        crop_width = max(1, int(np.floor(height * aspects[-1] + 0.5)))
    box[TOP] = (height - crop_height) // 2
    box[LEFT] = (width - crop_width) // 2
    box[HEIGHT] = crop_height
    box[WIDTH] = crop_width

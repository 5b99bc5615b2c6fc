"""The resize law (engine/data/decode/portable_resize.py) and BT.601 as formulas, in float64, to test against.

Slow on purpose: each axis becomes a whole matrix, one row of weights for each output pixel.
"""

from math import floor

import numpy as np
from numpy.typing import ArrayLike, NDArray


def resize_rgb(pixels: NDArray[np.uint8], box: ArrayLike, resolution: int) -> NDArray[np.uint8]:
    """The crop `box` = (top, left, height, width, flip) of uint8 (h, w, 3) -> uint8 (resolution, resolution, 3)."""
    top, left, height, width, flip = (int(value) for value in np.asarray(box))
    rows = axis_weights(top, height, top, top + height, pixels.shape[0], resolution)
    columns = axis_weights(left, width, left, left + width, pixels.shape[1], resolution)
    channels = [rows @ pixels[:, :, channel] @ columns.T for channel in range(3)]
    return _finished(np.stack(channels, axis=2), flip)


def resize_yuv420(
    record: NDArray[np.uint8] | bytes, height: int, width: int, box: ArrayLike, resolution: int
) -> NDArray[np.uint8]:
    """The same for planes Y, U, V of an image of even `height` and `width`; `record` holds height*width*3/2 bytes."""
    luma, blue, red = _planes(np.frombuffer(record, np.uint8), height, width)
    top, left, box_height, box_width, flip = (int(value) for value in np.asarray(box))
    rows = axis_weights(top, box_height, top, top + box_height, height, resolution)
    columns = axis_weights(left, box_width, left, left + box_width, width, resolution)
    half_rows = _half_axis_weights(top, box_height, height, resolution)
    half_columns = _half_axis_weights(left, box_width, width, resolution)
    y = rows @ luma @ columns.T
    u = half_rows @ blue @ half_columns.T - 128
    v = half_rows @ red @ half_columns.T - 128
    rgb = np.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], axis=2)
    return _finished(rgb, flip)


def axis_weights(
    start: float, extent: float, low: int, high: int, length: int, resolution: int
) -> NDArray[np.float64]:
    """The law for one axis of `length` source pixels: float64 (resolution, length), each row of sum 1."""
    step = extent / resolution
    support = max(1.0, step)
    weights = np.zeros((resolution, length))
    for x in range(resolution):
        centre = start + (x + 0.5) * step
        first = max(low, floor(centre - support + 0.5))
        last = min(high, floor(centre + support + 0.5))
        for p in range(first, last):
            weights[x, p] = max(0.0, 1 - abs(p + 0.5 - centre) / support)
    return weights / weights.sum(axis=1, keepdims=True)


def _half_axis_weights(start: int, extent: int, length: int, resolution: int) -> NDArray[np.float64]:
    """The same for a chroma axis, of half the pixels; start, extent and length are given in luma pixels."""
    return axis_weights(start / 2, extent / 2, start // 2, (start + extent + 1) // 2, length // 2, resolution)


def _planes(record: NDArray[np.uint8], height: int, width: int) -> list[NDArray[np.float64]]:
    whole, quarter = height * width, height * width // 4
    parts = np.split(record[: whole + 2 * quarter].astype(np.float64), [whole, whole + quarter])
    shapes = [(height, width), (height // 2, width // 2), (height // 2, width // 2)]
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _finished(levels: NDArray[np.float64], flip: int) -> NDArray[np.uint8]:
    rounded = np.clip(np.floor(levels + 0.5), 0, 255).astype(np.uint8)
    return rounded[:, ::-1] if flip else rounded

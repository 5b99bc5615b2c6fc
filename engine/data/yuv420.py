"""RGB pixels to a record of YUV 4:2:0: half the bytes of raw RGB, and nothing to decompress.

Full-range BT.601 (the colours of JFIF, so of JPEG files), as layout.py declares it. The conversion is OpenCV's
RGB2YCrCb in integers, the same on every machine; not its RGB2YUV_I420, which has limited range.
"""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray


def even_size(width: int, height: int, short_side: int, max_resolution: int) -> tuple[int, int]:
    """Width and height of the record of an image of this size, both even.

    The short side becomes at most `short_side` pixels, or where that is 0 the long side at most `max_resolution`
    (0: no limit). A limit counts as the even number below it, and at least 2. An image within the limit keeps its
    size, an odd side growing by 1; none grows otherwise.
    """
    side, limit = (min(width, height), short_side) if short_side else (max(width, height), max_resolution)
    wanted = max(2, limit - limit % 2)
    if limit == 0 or side <= wanted:
        return width + width % 2, height + height % 2
    return _nearest_even(width * wanted, side), _nearest_even(height * wanted, side)


def _nearest_even(numerator: int, denominator: int) -> int:
    return max(2, (numerator + denominator) // (2 * denominator) * 2)


def fit(pixels: NDArray[np.uint8], short_side: int, max_resolution: int) -> NDArray[np.uint8]:
    """The image, (height, width, 3), in the size that `even_size` gives it.

    It is shrunk by area averaging; where it only misses evenness, its last row or column is repeated.
    """
    height, width = pixels.shape[:2]
    new_width, new_height = size = even_size(width, height, short_side, max_resolution)
    if new_width < width or new_height < height:
        return cast(NDArray[np.uint8], cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    return np.pad(pixels, ((0, new_height - height), (0, new_width - width), (0, 0)), mode="edge")


def encode_yuv420(pixels: NDArray[np.uint8]) -> bytes:
    """The record of an RGB image, uint8 of shape (height, width, 3), both sides even.

    Each value is within 1 level of the exact one: it is rounded once for Y, and twice for Cb and Cr.
    """
    height, width = pixels.shape[:2]
    y_cr_cb = cast(NDArray[np.uint8], cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb))
    cr_cb = _halve(y_cr_cb[:, :, 1:].reshape(height // 2, 2, width // 2, 2, 2))
    return b"".join(plane.tobytes() for plane in (y_cr_cb[:, :, 0], cr_cb[:, :, 1], cr_cb[:, :, 0]))


def _halve(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mean of each 2 x 2 block, axes 1 and 3; halves go to the even neighbour, which favours no direction."""
    total = blocks.sum(axis=(1, 3), dtype=np.uint16)
    return ((total + 1 + (total >> 2 & 1)) >> 2).astype(np.uint8)

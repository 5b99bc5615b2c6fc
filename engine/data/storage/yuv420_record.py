"""RGB pixels to a record of YUV 4:2:0: half the bytes of raw RGB, and nothing to decompress.

Full-range BT.601 (the colours of JFIF, so of JPEG files), as layout.py declares it, all in integers, so the same on
every machine. OpenCV's RGB2YCrCb gives the Y; not its RGB2YUV_I420, which has limited range, and not its chroma,
which is that of the rounded Y and would be rounded again by the mean over 2 x 2 pixels.
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

    Each value is its exact one, rounded once. Source of the formula: JFIF 1.02, section "Conversion to and from RGB".
    """
    y = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)[:, :, 0]
    corners = [pixels[row::2, column::2].astype(np.int32) for row in (0, 1) for column in (0, 1)]
    red, green, blue = np.moveaxis(corners[0] + corners[1] + corners[2] + corners[3], 2, 0)
    cb = _scaled(_HALF * blue - _CB_RED * red - _CB_GREEN * green)
    cr = _scaled(_HALF * red - _CR_GREEN * green - _CR_BLUE * blue)
    return b"".join(plane.tobytes() for plane in (y, cb, cr))


# Weights of chroma in 1 / 65536. Those of Cb are 0.299 / 1.772 and 0.587 / 1.772, those of Cr 0.587 / 1.402 and
# 0.114 / 1.402; either pair makes up the half, so that grey has no colour.
_HALF = 32768
_CB_RED, _CB_GREEN = 11058, 21710
_CR_GREEN, _CR_BLUE = 27439, 5329


def _scaled(sums: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Sums over 4 pixels in 1 / 65536 to levels about 128, rounded."""
    return np.minimum((sums + (128 << 18) + (1 << 17)) >> 18, 255).astype(np.uint8)

"""Pixels to a record's bytes: shrink, then JPEG, raw or YUV 4:2:0, as pure functions.

JPEG and raw records are the same, byte for byte, as those of ffcv's RGBImageField with the same settings (a
test compares them), except where ffcv's rounding makes the longer side one pixel too short or a very thin
image's shorter side zero.
"""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.data.beton import layout
from engine.data.storage.yuv420_record import encode_yuv420
from engine.errors import UserError

_SAMPLING_FACTOR = {
    "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}


def shrunk_size(width: int, height: int, max_resolution: int) -> tuple[int, int]:
    """Width and height with the longer one at most `max_resolution` pixels (0: as they are).

    The shorter one is rounded down, but never to 0.
    """
    longer = max(height, width)
    if max_resolution == 0 or longer <= max_resolution:
        return width, height
    return max(1, width * max_resolution // longer), max(1, height * max_resolution // longer)


def shrink(pixels: NDArray[np.uint8], max_resolution: int) -> NDArray[np.uint8]:
    """The image, (height, width, 3), in the size that `shrunk_size` gives it, by area averaging."""
    height, width = pixels.shape[:2]
    size = shrunk_size(width, height, max_resolution)
    if size == (width, height):
        return pixels
    return cast(NDArray[np.uint8], cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def check_sides(width: int, height: int, mode: int, remedy: str) -> None:
    """Raise UserError, which ends with `remedy`, where a record of `mode` can't have these sides."""
    limit = layout.MAX_JPEG_SIDE if mode == layout.MODE_JPEG else layout.MAX_SIDE
    if max(height, width) > limit:
        raise UserError(f"it has {width} x {height} pixels, more than the format's {limit} a side: {remedy}")


def encode_image(pixels: NDArray[np.uint8], mode: int, jpeg_quality: int, jpeg_subsampling: str) -> bytes:
    """The record of an RGB image, uint8 of shape (height, width, 3), whose sides `check_sides` lets pass."""
    if mode == layout.MODE_YUV420:
        return encode_yuv420(pixels)
    if mode == layout.MODE_RAW:
        return pixels.tobytes()
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING_FACTOR[jpeg_subsampling]]
    done, jpeg = cv2.imencode(".jpg", bgr, options)
    if not done:
        raise UserError("it cannot be encoded as JPEG: look at it, repair or remove it")
    return jpeg.tobytes()

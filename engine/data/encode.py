"""Pixels to a record's bytes: shrink, then JPEG, raw or YUV 4:2:0, as pure functions.

JPEG and raw records are the same, byte for byte, as those of ffcv's RGBImageField with the same settings (a
test compares them), except where ffcv's rounding makes the longer side one pixel too short or a very thin
image's shorter side zero.
"""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.data import layout
from engine.data.yuv420 import encode_yuv420
from engine.errors import UserError


def shrink(pixels: NDArray[np.uint8], max_resolution: int) -> NDArray[np.uint8]:
    """The image with its longer side at most `max_resolution` pixels (0: as it is), by area averaging.

    Shape (height, width, 3) in and out; the shorter side is rounded down, but never to 0.
    """
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if max_resolution == 0 or longer <= max_resolution:
        return pixels
    size = (max(1, width * max_resolution // longer), max(1, height * max_resolution // longer))
    return cast(NDArray[np.uint8], cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def encode_image(pixels: NDArray[np.uint8], mode: int, jpeg_quality: int, remedy: str) -> bytes:
    """The record of an RGB image, uint8 of shape (height, width, 3). Raises UserError that ends with `remedy`."""
    height, width = pixels.shape[:2]
    limit = layout.MAX_JPEG_SIDE if mode == layout.MODE_JPEG else layout.MAX_SIDE
    if max(height, width) > limit:
        raise UserError(f"it has {width} x {height} pixels, more than the format's {limit} a side: {remedy}")
    if mode == layout.MODE_YUV420:
        return encode_yuv420(pixels)
    if mode == layout.MODE_RAW:
        return pixels.tobytes()
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    if not done:
        raise UserError("it cannot be encoded as JPEG: look at it, repair or remove it")
    return jpeg.tobytes()

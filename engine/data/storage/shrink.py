"""The size in which an image is stored where its longer side is limited, and the image in that size."""

from typing import cast

import numpy as np
from numpy.typing import NDArray


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
    return pixels if size == (width, height) else resize_area(pixels, size)


def resize_area(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The image in this size (width, height), each pixel the mean over the area that it covers."""
    # Imported late: opening a file has no need of it.
    import cv2

    return cast(NDArray[np.uint8], cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))

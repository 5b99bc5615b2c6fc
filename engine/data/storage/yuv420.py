"""Storage format yuv420: full-range YUV 4:2:0, half the bytes of raw RGB, and nothing to decompress.

A record of version 1 is height x width bytes of Y, then (height / 2) x (width / 2) of Cb, then as many of Cr, by the
law of colour.py, each chroma value the mean over its 2 x 2 pixels; both sides are even. All in integers, so the same on
every machine. OpenCV's RGB2YCrCb gives the Y; not its RGB2YUV_I420, which has limited range, and not its chroma, which
is that of the rounded Y and would be rounded again by the mean over 2 x 2 pixels.

engine/data/fields/yuv420.py is the field by which stock ffcv reads and writes such files.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.data.decode.batch import DecodeBatch
from engine.data.decode.colour import CB_GREEN, CB_RED, CR_BLUE, CR_GREEN, HALF, rgb_from_yuv
from engine.data.decode.workspace import Workspace
from engine.data.storage.shrink import resize_area
from engine.data.storage.storage_format import EncodeSettings, Packing, StorageFormat

if TYPE_CHECKING:
    from engine.data.storage.jpeg_header import JpegHeader


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
        return resize_area(pixels, size)
    return np.pad(pixels, ((0, new_height - height), (0, new_width - width), (0, 0)), mode="edge")


def encode_yuv420(pixels: NDArray[np.uint8]) -> bytes:
    """The record of an RGB image, uint8 of shape (height, width, 3), both sides even. Each value is its exact one,
    rounded once."""
    # Imported late: opening a file has no need of it.
    import cv2

    y = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)[:, :, 0]
    corners = [pixels[row::2, column::2].astype(np.int32) for row in (0, 1) for column in (0, 1)]
    red, green, blue = np.moveaxis(corners[0] + corners[1] + corners[2] + corners[3], 2, 0)
    cb = _scaled(HALF * blue - CB_RED * red - CB_GREEN * green)
    cr = _scaled(HALF * red - CR_GREEN * green - CR_BLUE * blue)
    return b"".join(plane.tobytes() for plane in (y, cb, cr))


def _scaled(sums: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Sums over 4 pixels in 1 / 65536 to levels about 128, rounded."""
    return np.minimum((sums + (128 << 18) + (1 << 17)) >> 18, 255).astype(np.uint8)


class Yuv420Format(StorageFormat):
    """A GPU finishes it from packed crops; the CPU decodes it as well."""

    name, title, mode = "yuv420", "YUV 4:2:0", 2
    magic = b"ENGYUV42"
    record_words = "width x height x 3/2"
    even_sides = True
    limited_by = "short_side"
    remedy = "limit its longer side with --output.short_side=0 --output.max_resolution"
    packing = Packing.YUV420

    def record_bytes(self, heights: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.int64]:
        return heights * widths // 2 * 3

    def stored_size(self, width: int, height: int, settings: EncodeSettings) -> tuple[int, int]:
        return even_size(width, height, settings.short_side, settings.max_resolution)

    def fit(self, pixels: NDArray[np.uint8], settings: EncodeSettings) -> NDArray[np.uint8]:
        return fit(pixels, settings.short_side, settings.max_resolution)

    def encode(self, pixels: NDArray[np.uint8], settings: EncodeSettings) -> bytes:
        return encode_yuv420(pixels)

    def from_jpeg(
        self, content: bytes, header: "JpegHeader", size: tuple[int, int], settings: EncodeSettings
    ) -> bytes | None:
        from engine.data.storage.jpeg_transcode import to_planes

        return to_planes("to_yuv420", content, size, size[0] * size[1] * 3 // 2)

    def to_rgb(self, record: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        """Each chroma value serves its 2 x 2 pixels."""
        luma = height * width
        y = record[:luma].reshape(height, width).astype(np.int32)
        chroma = record[luma:].reshape(2, height // 2, width // 2).astype(np.int32) - 128
        u, v = chroma.repeat(2, axis=1).repeat(2, axis=2)
        return np.stack(rgb_from_yuv(y, u, v), axis=2).clip(0, 255).astype(np.uint8)

    def decode_rows(self, batch: DecodeBatch, rows: NDArray[np.int64], workspace: Workspace) -> None:
        if workspace.library:
            workspace.library.decode("yuv420", batch, rows, workspace.address)
            return
        # Imported late: it brings numba, which takes seconds.
        from engine.data.decode.portable_resize import decode_yuv420

        decode_yuv420(*batch.arrays(), rows)


YUV420 = Yuv420Format()

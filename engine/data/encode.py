"""Pixels to a record's bytes: shrink, then JPEG, raw or YUV 4:2:0. What a worker process does, as pure functions.

JPEG and raw records are the same, byte for byte, as those of ffcv's RGBImageField with the same settings (a
test compares them), except where ffcv's rounding makes the longer side one pixel too short or a very thin
image's shorter side zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.data import layout
from engine.data.checksum import crc32
from engine.data.sources.base import Reader
from engine.data.yuv420 import encode_yuv420, fit
from engine.errors import UserError

_REMEDY = {
    layout.MODE_JPEG: "lower --output.max_resolution",
    layout.MODE_RAW: "lower --output.max_resolution",
    layout.MODE_YUV420: "limit its longer side with --output.short_side=0 --output.max_resolution",
}


@dataclass(frozen=True, kw_only=True)
class EncodeSettings:
    """How images become records."""

    max_resolution: int
    """Longer side after shrinking, in pixels; 0: never shrink."""
    short_side: int
    """YUV 4:2:0: shorter side after shrinking, in pixels; 0: see max_resolution."""
    jpeg_quality: int
    """1 to 100."""
    max_bytes: int
    """Largest record that fits into the file: its page size, in bytes."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A chunk of work: which images, and how each is stored. Small enough to be sent to a process."""

    first: int
    """The first image's number in the file."""
    ids: Sequence[str]
    modes: NDArray[np.uint8]
    """layout.MODE_JPEG, MODE_RAW or MODE_YUV420 for each image."""
    reader: Reader
    settings: EncodeSettings


@dataclass(frozen=True, kw_only=True)
class Records:
    """A chunk's result: the images' metadata (data_ptr still 0), each record's bytes and crc32, the records."""

    images: NDArray[np.void]
    sizes: list[int]
    checksums: list[int]
    payload: bytes


def encode_chunk(task: Task) -> Records:
    """Read and encode the images of one chunk. Raises UserError naming the image that cannot be used."""
    images = np.zeros(len(task.ids), layout.IMAGE)
    parts: list[bytes] = []
    for place, sample_id in enumerate(task.ids):
        where = f"image {task.first + place} ({task.reader.where(sample_id)})"
        mode = int(task.modes[place])
        pixels = _sized(task.reader.read(sample_id), mode, task.settings)
        record = encode_image(pixels, mode, task.settings.jpeg_quality, where)
        if len(record) > task.settings.max_bytes:
            raise UserError(
                f"{where} takes {len(record)} bytes, more than a page of {task.settings.max_bytes}: "
                f"{_REMEDY[mode]} or raise --output.page_size"
            )
        images[place] = (mode, pixels.shape[1], pixels.shape[0], 0)
        parts.append(record)
    return Records(
        images=images,
        sizes=[len(part) for part in parts],
        checksums=[crc32(part) for part in parts],
        payload=b"".join(parts),
    )


def _sized(pixels: NDArray[np.uint8], mode: int, settings: EncodeSettings) -> NDArray[np.uint8]:
    if mode == layout.MODE_YUV420:
        return fit(pixels, settings.short_side, settings.max_resolution)
    return shrink(pixels, settings.max_resolution)


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


def encode_image(pixels: NDArray[np.uint8], mode: int, jpeg_quality: int, where: str) -> bytes:
    """The record of an RGB image, uint8 of shape (height, width, 3). Raises UserError naming `where`."""
    height, width = pixels.shape[:2]
    limit = layout.MAX_JPEG_SIDE if mode == layout.MODE_JPEG else layout.MAX_SIDE
    if max(height, width) > limit:
        raise UserError(
            f"{where} has {width} x {height} pixels, more than the format's {limit} a side: {_REMEDY[mode]}"
        )
    if mode == layout.MODE_YUV420:
        return encode_yuv420(pixels)
    if mode == layout.MODE_RAW:
        return pixels.tobytes()
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    if not done:
        raise UserError(f"{where} cannot be encoded as JPEG: look at it, repair or remove it")
    return jpeg.tobytes()

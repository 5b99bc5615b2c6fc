"""Records decoded with no file and no pool around them, and what Pillow makes of the same."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from engine.data.decode.batch import DecodeBatch
from engine.data.decode.workspace import Workspace
from engine.data.native.library import Library
from engine.data.storage import JPEG, RAW, YUV420
from engine.data.storage.formats import of_mode
from engine.data.storage.yuv420 import encode_yuv420

Pixels = NDArray[np.uint8]
Boxes = NDArray[np.int32]

SUBSAMPLINGS = {"4:4:4": 0x111111, "4:2:2": 0x211111, "4:2:0": 0x221111, "4:4:0": 0x121111, "4:1:1": 0x411111}

# What lies on either side of the memory that is decoded into, and must lie there afterwards.
_CANARY = 77
_MARGIN = 64


@dataclass(frozen=True)
class Record:
    """An image as a .beton stores it."""

    data: bytes
    mode: int
    height: int
    width: int


def raw_record(pixels: Pixels) -> Record:
    return Record(pixels.tobytes(), RAW.mode, *pixels.shape[:2])


def yuv420_record(pixels: Pixels) -> Record:
    """Of pixels with even sides."""
    return Record(encode_yuv420(pixels), YUV420.mode, *pixels.shape[:2])


def jpeg_record(
    pixels: Pixels, subsampling: str = "4:2:0", progressive: bool = False, restart: int = 0
) -> Record:
    """`pixels` are RGB, or gray with two axes; quality 90, `restart` MCUs in an interval (0: no restarts)."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    options += [cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SUBSAMPLINGS[subsampling]]
    done, data = cv2.imencode(".jpg", pixels[:, :, ::-1] if pixels.ndim == 3 else pixels, options)
    assert done
    return Record(data.tobytes(), JPEG.mode, *pixels.shape[:2])


def decode_boxes(
    record: Record,
    boxes: ArrayLike,
    resolution: int,
    library: Library | None,
    memory: Pixels | None = None,
    offset: int = 0,
    exact: bool = False,
) -> tuple[Pixels, NDArray[np.uint8]]:
    """Each box of the image, (n, resolution, resolution, 3), and its status; in numba where `library` is None.

    `memory` holds the record at `offset`, unless it is the record alone. Fails when a byte outside of the pixels is
    written.
    """
    boxes = np.ascontiguousarray(np.atleast_2d(boxes), np.int32)
    count = len(boxes)
    size = count * resolution * resolution * 3
    around = np.full(size + 2 * _MARGIN, _CANARY, np.uint8)
    batch = DecodeBatch(
        memory=np.frombuffer(record.data, np.uint8) if memory is None else memory,
        offsets=np.full(count, offset, np.int64),
        sizes=np.full(count, len(record.data), np.int64),
        heights=np.full(count, record.height, np.int64),
        widths=np.full(count, record.width, np.int64),
        boxes=boxes,
        out=around[_MARGIN : _MARGIN + size].reshape(count, resolution, resolution, 3),
        status=np.full(count, 99, np.uint8),
        exact=exact,
    )
    of_mode(record.mode).decode(batch, np.arange(count), Workspace(library))
    assert (around[:_MARGIN] == _CANARY).all() and (around[_MARGIN + size :] == _CANARY).all()
    return batch.out, batch.status


def random_boxes(height: int, width: int, count: int, seed: int = 0) -> Boxes:
    """Crops of an image, any size from a pixel to the whole, which is the first; every second one flipped."""
    random = np.random.default_rng(seed)
    crop_height = random.integers(1, height + 1, count)
    crop_width = random.integers(1, width + 1, count)
    crop_height[0], crop_width[0] = height, width
    top = random.integers(0, height - crop_height + 1)
    left = random.integers(0, width - crop_width + 1)
    return np.stack([top, left, crop_height, crop_width, np.arange(count) % 2], axis=1).astype(np.int32)


def pillow(image: Image.Image, box: ArrayLike, resolution: int) -> Pixels:
    """Crop, then Pillow's resize with its triangle filter, then flip: the reference of every decoder."""
    top, left, height, width, flip = (int(value) for value in np.asarray(box))
    cut = image.crop((left, top, left + width, top + height))
    resized = np.asarray(cut.resize((resolution, resolution), Image.Resampling.BILINEAR))
    return resized[:, ::-1] if flip else resized


def pillow_yuv420(record: Record, box: ArrayLike, resolution: int) -> Pixels:
    """The same for the planes of a record, in a box of even numbers, and BT.601 from the resized planes."""
    luma, half = (record.height, record.width), (record.height // 2, record.width // 2)
    data = np.frombuffer(record.data, np.uint8)
    ends = np.cumsum([luma[0] * luma[1], half[0] * half[1]])
    box = np.asarray(box)
    half_box = np.array([*(box[:4] // 2), box[4]])
    planes = [
        pillow(Image.fromarray(plane.reshape(shape)), where, resolution).astype(np.float64)
        for plane, shape, where in zip(
            np.split(data, ends), (luma, half, half), (box, half_box, half_box), strict=True
        )
    ]
    y, u, v = planes[0], planes[1] - 128, planes[2] - 128
    rgb = np.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], axis=2)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def difference(ours: Pixels, theirs: Pixels) -> tuple[int, float]:
    """The greatest and the mean difference, in levels."""
    levels = np.abs(ours.astype(int) - theirs)
    return int(levels.max()), float(levels.mean())

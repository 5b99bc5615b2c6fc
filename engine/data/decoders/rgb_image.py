"""ffcv's RGBImageField (JPEG or raw RGB, mixed freely in one file) + crop -> resized uint8 RGB.

The kernel runs without the GIL over any slice of a batch and reports on each sample; it never leaves
old pixels under a new label unsaid. The JPEG is decoded whole with the accurate DCT (as Pillow does),
then cropped, area-resized (OpenCV's INTER_AREA, through ffcv's library) and flipped.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.crops import FLIP, HEIGHT, LEFT, TOP, WIDTH
from engine.data.decoders.libffcv import (
    TJFLAG_ACCURATEDCT,
    TJPF_RGB,
    decompress,
    decompress_header,
    resize_crop,
)
from engine.data.kernel import kernel
from engine.data.layout import MODE_JPEG, MODE_RAW

OK = 0
BAD_JPEG = 1
WRONG_SIZE = 2
UNKNOWN_MODE = 3

REASONS = {
    BAD_JPEG: "its JPEG data is damaged",
    WRONG_SIZE: "its JPEG header and the file's table disagree about the image's size",
    UNKNOWN_MODE: "its storage mode is unknown",
}


@kernel
def decode_slice(
    memory: NDArray[np.uint8],
    images: NDArray[Any],
    sizes: NDArray[np.uint64],
    ids: NDArray[np.int64],
    boxes: NDArray[np.int32],
    start: int,
    stop: int,
    handle: int,
    scratch: NDArray[np.uint8],
    out: NDArray[np.uint8],
    status: NDArray[np.uint8],
) -> None:
    """Decode samples ids[start:stop] into out[start:stop], shape (batch, resolution, resolution, 3) uint8.

    `images` and `sizes` are the file's record table, `boxes` the crops (engine.data.crops), `handle` and
    `scratch` (at least the largest image's height x width x 3 bytes) belong to the calling thread.
    """
    header = np.empty(4, np.int32)
    for row in range(start, stop):
        record = images[ids[row]]
        height, width = int(record["height"]), int(record["width"])
        data = memory.ctypes.data + int(record["data_ptr"])
        if record["mode"] == MODE_JPEG:
            size = np.uint64(sizes[ids[row]])
            status[row] = _decompress_whole(handle, data, size, height, width, header, scratch)
            data = scratch.ctypes.data
        elif record["mode"] == MODE_RAW:
            status[row] = OK
        else:
            status[row] = UNKNOWN_MODE
        if status[row] == OK:
            _resize_and_flip(data, height, width, boxes[row], out[row])


@kernel
def _decompress_whole(
    handle: int,
    data: int,
    size: np.uint64,
    height: int,
    width: int,
    header: NDArray[np.int32],
    scratch: NDArray[np.uint8],
) -> int:
    # A header that ends before it names a size is a success to libjpeg-turbo and leaves these as they are.
    header[:] = 0
    at = header.ctypes.data
    if decompress_header(handle, data, size, at, at + 4, at + 8, at + 12) != 0:
        return BAD_JPEG
    sized = header[0] != 0
    if sized and (header[0] != width or header[1] != height):
        return WRONG_SIZE
    failed = decompress(
        handle, data, size, scratch.ctypes.data, width, 3 * width, height, TJPF_RGB, TJFLAG_ACCURATEDCT
    )
    return OK if sized and failed == 0 else BAD_JPEG


@kernel
def _resize_and_flip(
    data: int, height: int, width: int, box: NDArray[np.int32], out: NDArray[np.uint8]
) -> None:
    bottom, right = box[TOP] + box[HEIGHT], box[LEFT] + box[WIDTH]
    rows, columns = out.shape[0], out.shape[1]
    resize_crop(0, data, height, width, box[TOP], bottom, box[LEFT], right, out.ctypes.data, rows, columns)
    if box[FLIP]:
        for row in range(rows):
            for column in range(columns // 2):
                for channel in range(3):
                    mirrored = columns - 1 - column
                    left = out[row, column, channel]
                    out[row, column, channel] = out[row, mirrored, channel]
                    out[row, mirrored, channel] = left

"""The numba JPEG decoder, for where native/ could not be built: the whole image, through TurboJPEG."""

import numpy as np
from numpy.typing import NDArray

from engine.data.decode.batch import BAD_JPEG, OK, WRONG_SIZE
from engine.data.decode.libffcv import TJFLAG_ACCURATEDCT, TJPF_RGB, decompress, decompress_header
from engine.data.decode.portable_resize import dct_eighths, resize_scaled
from engine.data.kernel import kernel
from engine.data.sampling.crops import HEIGHT, WIDTH


@kernel
def decode_whole(
    memory: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    sizes: NDArray[np.int64],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    boxes: NDArray[np.int32],
    windows: NDArray[np.float64],
    out: NDArray[np.uint8],
    status: NDArray[np.uint8],
    exact: bool,
    rows: NDArray[np.int64],
    handle: int,
    scratch: NDArray[np.uint8],
) -> int:
    """Fill out and status for these rows, up to the first of damaged data; returns how many that was.

    `handle` and `scratch` (height x width x 3) are the thread's own. After damage the handle is good for nothing but
    its last words: TurboJPEG does not leave a header that it failed in (libjpeg-turbo 2.1, tjDecompressHeader3).
    """
    for done, row in enumerate(rows):
        height, width, box, window = heights[row], widths[row], boxes[row], windows[row]
        data = memory.ctypes.data + offsets[row]
        eighths = 8 if exact else dct_eighths(box[HEIGHT], box[WIDTH], out.shape[1])
        status[row] = _decompress(handle, data, np.uint64(sizes[row]), height, width, eighths, scratch)
        if status[row] == BAD_JPEG:
            return done + 1
        if status[row] != OK:
            continue
        scaled_height, scaled_width = (height * eighths + 7) // 8, (width * eighths + 7) // 8
        pixels = scratch[: scaled_height * scaled_width * 3].reshape(scaled_height, scaled_width, 3)
        resize_scaled(pixels, eighths, box, window, out[row])
    return len(rows)


@kernel
def _decompress(
    handle: int,
    data: int,
    size: np.uint64,
    height: int,
    width: int,
    eighths: int,
    scratch: NDArray[np.uint8],
) -> int:
    # A header that ends before it names a size is a success to libjpeg-turbo and leaves these as they are.
    header = np.zeros(4, np.int32)
    at = header.ctypes.data
    if decompress_header(handle, data, size, at, at + 4, at + 8, at + 12) != 0:
        return BAD_JPEG
    sized = header[0] != 0
    if sized and (header[0] != width or header[1] != height):
        return WRONG_SIZE
    rows, columns = (height * eighths + 7) // 8, (width * eighths + 7) // 8
    failed = decompress(
        *(handle, data, size, scratch.ctypes.data, columns, 3 * columns, rows, TJPF_RGB, TJFLAG_ACCURATEDCT)
    )
    return OK if sized and failed == 0 else BAD_JPEG

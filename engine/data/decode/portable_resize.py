"""The one law by which every decoder, on the CPU and on the GPU, turns a crop into a square of pixels.

A triangle filter (bilinear) whose support grows with the shrinking factor, so that no source pixel is skipped
and none is repeated: what Pillow's `resize(BILINEAR)` and torchvision's `resize(antialias=True)` do, after the
crop was cut out (Pillow, Resample.c, precompute_coeffs). It replaces OpenCV's INTER_AREA, which stock ffcv uses and
which copies the nearest pixel when it enlarges.

For output pixel x of `resolution`, over a source axis on which the crop covers [start, start + extent) and only
pixels low <= p < high may be read (all in pixels of that axis; start and extent may be fractions, as they are
on the half-size axes of chroma planes and after a JPEG's DCT-scaled decode):

    step    = extent / resolution
    support = max(1, step)
    centre  = start + (x + 0.5) * step
    first   = max(low, floor(centre - support + 0.5)),  last = min(high, floor(centre + support + 0.5))
    weight of pixel p in first..last-1 = max(0, 1 - |p + 0.5 - centre| * (1 / support)), times 1 / (their sum)

The resize in numba: byte for byte what native/resize.c makes, on any machine, without a compiler, and slower.

float32 multiplications and additions in this order, rows first. numba contracts none of them.
"""

import numpy as np
from numpy.typing import NDArray

from engine.data.decode.batch import OK, WRONG_SIZE
from engine.data.decode.colour import BLUE_U, GREEN_U, GREEN_V, RED_V
from engine.data.kernel import kernel
from engine.data.sampling.crops import FLIP, HEIGHT, LEFT, TOP, WIDTH


@kernel
def most_taps(extent: float, resolution: int) -> int:
    """The most source pixels that one output pixel is made of."""
    return int(np.ceil(2.0 * max(1.0, extent / resolution))) + 1


@kernel
def fill_taps(
    start: float,
    extent: float,
    low: int,
    high: int,
    firsts: NDArray[np.int32],
    counts: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> None:
    """The law for every output pixel of an axis: firsts and counts (resolution,), weights (resolution, most_taps)."""
    resolution = len(firsts)
    step = extent / resolution
    support = max(1.0, step)
    per_pixel = 1.0 / support
    for x in range(resolution):
        centre = start + (x + 0.5) * step
        first = max(low, int(np.floor(centre - support + 0.5)))
        count = min(high, int(np.floor(centre + support + 0.5))) - first
        total = 0.0
        for k in range(count):
            total += max(0.0, 1.0 - abs(first + k + 0.5 - centre) * per_pixel)
        share = 1.0 / total
        for k in range(count):
            weights[x, k] = max(0.0, 1.0 - abs(first + k + 0.5 - centre) * per_pixel) * share
        firsts[x], counts[x] = first, count


_HALF = np.float32(0.5)
_MIDDLE = np.float32(128)
_RED_V, _GREEN_U, _GREEN_V, _BLUE_U = (np.float32(x) for x in (RED_V, GREEN_U, GREEN_V, BLUE_U))


@kernel
def resize_rgb(
    pixels: NDArray[np.uint8],
    start: tuple[float, float],
    extent: tuple[float, float],
    low: tuple[int, int],
    high: tuple[int, int],
    flip: bool,
    out: NDArray[np.uint8],
) -> None:
    """pixels (height, width, 3) -> out (resolution, resolution, 3); the crop as (rows, columns) of the law above."""
    size = out.shape[0]
    firsts, counts, weights = _taps(start[0], extent[0], low[0], high[0], size)
    column_firsts, column_counts, column_weights = _taps(start[1], extent[1], low[1], high[1], size)
    line = np.empty((high[1] - low[1]) * 3, np.float32)
    flat = pixels.reshape(pixels.shape[0], -1)
    for y in range(size):
        _combine_rows(flat, firsts[y], counts[y], weights[y], low[1] * 3, line)
        for x in range(size):
            to = size - 1 - x if flip else x
            first = (column_firsts[x] - low[1]) * 3
            for channel in range(3):
                value = _combine_line(line, first + channel, 3, column_counts[x], column_weights[x])
                out[y, to, channel] = _level(value)


@kernel
def dct_eighths(height: int, width: int, resolution: int) -> int:
    """The smallest of 1, 2, 4, 8 eighths at which a crop still has `resolution` pixels a side; see native/jpeg.c."""
    for eighths in (1, 2, 4):
        if min(height, width) * eighths >= resolution * 8:
            return eighths
    return 8


@kernel
def resize_scaled(
    pixels: NDArray[np.uint8],
    eighths: int,
    box: NDArray[np.int32],
    window: NDArray[np.float64],
    out: NDArray[np.uint8],
) -> None:
    """A JPEG decoded at `eighths` of its size, (height, width, 3) -> out (resolution, resolution, 3)."""
    start = (window[TOP] * eighths / 8.0, window[LEFT] * eighths / 8.0)
    extent = (window[HEIGHT] * eighths / 8.0, window[WIDTH] * eighths / 8.0)
    low = (box[TOP] * eighths // 8, box[LEFT] * eighths // 8)
    bottom, right = (box[TOP] + box[HEIGHT]) * eighths, (box[LEFT] + box[WIDTH]) * eighths
    high = (min(pixels.shape[0], (bottom + 7) // 8), min(pixels.shape[1], (right + 7) // 8))
    resize_rgb(pixels, start, extent, low, high, box[FLIP] != 0, out)


@kernel
def resize_yuv420(
    record: NDArray[np.uint8],
    height: int,
    width: int,
    box: NDArray[np.int32],
    window: NDArray[np.float64],
    out: NDArray[np.uint8],
) -> None:
    """A record of full-range BT.601 planes Y, U, V -> RGB out (resolution, resolution, 3)."""
    size, luma, chroma = out.shape[0], height * width, (height // 2) * (width // 2)
    y_plane = record[:luma].reshape(height, width)
    u_plane = record[luma : luma + chroma].reshape(height // 2, width // 2)
    v_plane = record[luma + chroma : luma + 2 * chroma].reshape(height // 2, width // 2)
    top, left, bottom, right = box[TOP], box[LEFT], box[TOP] + box[HEIGHT], box[LEFT] + box[WIDTH]
    rows = _taps(window[TOP], window[HEIGHT], top, bottom, size)
    columns = _taps(window[LEFT], window[WIDTH], left, right, size)
    half_rows = _taps(window[TOP] / 2, window[HEIGHT] / 2, top // 2, (bottom + 1) // 2, size)
    half_columns = _taps(window[LEFT] / 2, window[WIDTH] / 2, left // 2, (right + 1) // 2, size)
    y_line = np.empty(right - left, np.float32)
    u_line = np.empty((right + 1) // 2 - left // 2, np.float32)
    v_line = np.empty_like(u_line)
    for y in range(size):
        _combine_rows(y_plane, rows[0][y], rows[1][y], rows[2][y], left, y_line)
        _combine_rows(u_plane, half_rows[0][y], half_rows[1][y], half_rows[2][y], left // 2, u_line)
        _combine_rows(v_plane, half_rows[0][y], half_rows[1][y], half_rows[2][y], left // 2, v_line)
        for x in range(size):
            to = size - 1 - x if box[FLIP] else x
            luma_value = _combine_line(y_line, columns[0][x] - left, 1, columns[1][x], columns[2][x])
            first, count, weights = half_columns[0][x] - left // 2, half_columns[1][x], half_columns[2][x]
            u = _combine_line(u_line, first, 1, count, weights) - _MIDDLE
            v = _combine_line(v_line, first, 1, count, weights) - _MIDDLE
            out[y, to, 0] = _level(luma_value + v * _RED_V)
            out[y, to, 1] = _level(luma_value - u * _GREEN_U - v * _GREEN_V)
            out[y, to, 2] = _level(luma_value + u * _BLUE_U)


@kernel
def decode_raw(
    memory: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    sizes: NDArray[np.int64],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    boxes: NDArray[np.int32],
    windows: NDArray[np.float64],
    out: NDArray[np.uint8],
    status: NDArray[np.uint8],
    rows: NDArray[np.int64],
) -> None:
    """Fill out and status for these rows; the arguments are DecodeBatch.arrays(). Records of the wrong size are not
    read."""
    for row in rows:
        height, width, box, window = heights[row], widths[row], boxes[row], windows[row]
        if sizes[row] != height * width * 3:
            status[row] = WRONG_SIZE
            continue
        record = memory[offsets[row] : offsets[row] + sizes[row]]
        start = (window[TOP], window[LEFT])
        extent = (window[HEIGHT], window[WIDTH])
        low = (int(box[TOP]), int(box[LEFT]))
        high = (int(box[TOP] + box[HEIGHT]), int(box[LEFT] + box[WIDTH]))
        resize_rgb(record.reshape(height, width, 3), start, extent, low, high, box[FLIP] != 0, out[row])
        status[row] = OK


@kernel
def decode_yuv420(
    memory: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    sizes: NDArray[np.int64],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    boxes: NDArray[np.int32],
    windows: NDArray[np.float64],
    out: NDArray[np.uint8],
    status: NDArray[np.uint8],
    rows: NDArray[np.int64],
) -> None:
    """As `decode_raw`."""
    for row in rows:
        height, width = heights[row], widths[row]
        if (height | width) % 2 == 1 or sizes[row] != height * width // 2 * 3:
            status[row] = WRONG_SIZE
            continue
        record = memory[offsets[row] : offsets[row] + sizes[row]]
        resize_yuv420(record, height, width, boxes[row], windows[row], out[row])
        status[row] = OK


@kernel
def _taps(
    start: float, extent: float, low: int, high: int, size: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    firsts, counts = np.empty(size, np.int32), np.empty(size, np.int32)
    weights = np.empty((size, most_taps(float(extent), size)), np.float32)
    fill_taps(float(start), float(extent), low, high, firsts, counts, weights)
    return firsts, counts, weights


@kernel
def _combine_rows(
    plane: NDArray[np.uint8],
    first: int,
    count: int,
    weights: NDArray[np.float32],
    column: int,
    line: NDArray[np.float32],
) -> None:
    for x in range(len(line)):
        line[x] = np.float32(plane[first, column + x]) * weights[0]
    for k in range(1, count):
        for x in range(len(line)):
            line[x] += np.float32(plane[first + k, column + x]) * weights[k]


@kernel
def _combine_line(
    line: NDArray[np.float32], first: int, step: int, count: int, weights: NDArray[np.float32]
) -> np.float32:
    value = line[first] * weights[0]
    for k in range(1, count):
        value += line[first + k * step] * weights[k]
    return value


@kernel
def _level(value: np.float32) -> int:
    return min(255, max(0, int(value + _HALF)))

"""Packed crops -> a normalised batch in one launch of a Triton kernel: resize, colour, flip, normalise, store.

A program makes 128 consecutive pixels of one output image straight from the packed bytes. Pixel by pixel, taps and
weights are computed from the geometry row, never stored: with all positions multiplied by 2 x unit (see
torch_resize.py) they are integers, exact in float32, one multiplication and addition apart from tap to tap, and
the division by their sum comes last. Pixels are numbered row by row and a program's block has one dimension, so lanes
lie along a row whatever Triton's version (it lays blocks of two dimensions out as it likes), and their loads fall into
few cache lines; no lane is lost at the end of a row.
Every size is a run-time argument: a new resolution or batch size compiles nothing.

What bounds it on an H200, counted and not measured: a crop of (0.08, 1) from 256 x 341 pixels is 58 KB on average;
at 128 pixels in bfloat16 98 KB are written, 156 KB in all, at 4.8 TB/s 31 million images a second; at 224 pixels
359 KB, 13 million. Instructions bind first: in the code that Triton 3.6 compiles for it a tap takes 12, in 47
registers; with about 16 luma and 8 chroma taps a pixel at 128 pixels, the taps alone are 5 million instructions an
image. 33 x 10^12 a second (132 SMs x 128 lanes x 1.98 GHz) are at most 7 million images, were no cycle lost.
"""

import torch
import triton
import triton.language as tl

from engine.data.decode import colour
from engine.data.storage import packing
from engine.data.storage.storage_format import Packing

_PIXELS = 128
_WARPS = 4
_REGISTERS = 48
"""A thread's, at most, on NVIDIA's GPUs: without it ptxas takes 32 or 40 for some variants and spills 16 bytes, with it
none spills on any Triton, and an SM still holds 40 warps. Triton for AMD's GPUs does not know the option."""

_OFFSET = tl.constexpr(packing.OFFSET)
_ROWS = tl.constexpr(packing.ROWS)
_COLUMNS = tl.constexpr(packing.COLUMNS)
_TOP = tl.constexpr(packing.TOP)
_LEFT = tl.constexpr(packing.LEFT)
_HEIGHT = tl.constexpr(packing.HEIGHT)
_WIDTH = tl.constexpr(packing.WIDTH)
_FLIP = tl.constexpr(packing.FLIP)
_GEOMETRY_COLUMNS = tl.constexpr(packing.GEOMETRY_COLUMNS)

_RED_V = tl.constexpr(colour.RED_V)
_GREEN_U = tl.constexpr(colour.GREEN_U)
_GREEN_V = tl.constexpr(colour.GREEN_V)
_BLUE_U = tl.constexpr(colour.BLUE_U)


def resize(
    buffer: torch.Tensor,
    geometry: torch.Tensor,
    mode: int,
    mean: torch.Tensor,
    inverse_std: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """Fill `out` (n, 3, resolution, resolution); the arguments are those of gpu.resize.finish_packed."""
    count, _, resolution, _ = out.shape
    parts = -(-(resolution**2) // _PIXELS)
    _resize_part[(count * parts,)](
        buffer,
        geometry,
        mean,
        inverse_std,
        out,
        resolution,
        parts,
        *out.stride(),
        SUBSAMPLED=packing.packing_of(mode) == Packing.YUV420,
        PIXELS=_PIXELS,
        num_warps=_WARPS,
        # No fused multiply-add: the colours then round as they do in PyTorch.
        enable_fp_fusion=False,
        **({} if torch.version.hip else {"maxnreg": _REGISTERS}),
    )


_RUN_TIME_SIZES = [
    "resolution",
    "parts",
    "image_stride",
    "channel_stride",
    "row_stride",
    "column_stride",
]


@triton.jit(do_not_specialize=_RUN_TIME_SIZES)
def _resize_part(
    buffer: tl.tensor,
    geometry: tl.tensor,
    mean: tl.tensor,
    inverse_std: tl.tensor,
    out: tl.tensor,
    resolution: tl.tensor,
    parts: tl.tensor,
    image_stride: tl.tensor,
    channel_stride: tl.tensor,
    row_stride: tl.tensor,
    column_stride: tl.tensor,
    SUBSAMPLED: tl.constexpr,
    PIXELS: tl.constexpr,
) -> None:
    """One part of one image; the parts of an image follow each other, so that they share the cache."""
    program = tl.program_id(0)
    image = program // parts
    number = (program % parts) * PIXELS + tl.arange(0, PIXELS)
    stored = number < resolution * resolution
    # Beyond the last pixel the last one is computed again, and not stored.
    number = tl.minimum(number, resolution * resolution - 1)
    y, x = number // resolution, number % resolution

    plan = geometry + image.to(tl.int64) * _GEOMETRY_COLUMNS
    data = buffer + tl.load(plan + _OFFSET)
    rows, columns = tl.load(plan + _ROWS).to(tl.int32), tl.load(plan + _COLUMNS).to(tl.int32)
    top, left = tl.load(plan + _TOP).to(tl.int32), tl.load(plan + _LEFT).to(tl.int32)
    height, width = tl.load(plan + _HEIGHT).to(tl.int32), tl.load(plan + _WIDTH).to(tl.int32)
    if SUBSAMPLED:
        size = rows * columns
        blue, red, half = data + size, data + size + size // 4, columns // 2
        luma = _plane_mean(data, columns, 1, y, x, top, left, height, width, resolution, 1)
        u = _plane_mean(blue, half, 1, y, x, top, left, height, width, resolution, 2) - 128
        v = _plane_mean(red, half, 1, y, x, top, left, height, width, resolution, 2) - 128
        r = luma + _RED_V * v
        g = luma - _GREEN_U * u - _GREEN_V * v
        b = luma + _BLUE_U * u
    else:
        pitch = 3 * columns
        r = _plane_mean(data, pitch, 3, y, x, top, left, height, width, resolution, 1)
        g = _plane_mean(data + 1, pitch, 3, y, x, top, left, height, width, resolution, 1)
        b = _plane_mean(data + 2, pitch, 3, y, x, top, left, height, width, resolution, 1)

    column = tl.where(tl.load(plan + _FLIP) != 0, resolution - 1 - x, x)
    pixel = out + image.to(tl.int64) * image_stride + (y * row_stride + column * column_stride)
    tl.store(pixel, _normalised(r, mean, inverse_std, 0), mask=stored)
    tl.store(pixel + channel_stride, _normalised(g, mean, inverse_std, 1), mask=stored)
    tl.store(pixel + 2 * channel_stride, _normalised(b, mean, inverse_std, 2), mask=stored)


@triton.jit
def _plane_mean(
    plane: tl.tensor,
    pitch: tl.tensor,
    step: tl.tensor,
    y: tl.tensor,
    x: tl.tensor,
    top: tl.tensor,
    left: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    resolution: tl.tensor,
    SCALE: tl.constexpr,
) -> tl.tensor:
    """The law for pixels of a plane of full (SCALE 1) or half (2) size: weighted mean over rows, then columns."""
    unit = SCALE * resolution
    first_row, row_count, row_distance, row_total = _axis(y, top, height, resolution, SCALE)
    first_column, column_count, column_distance, column_total = _axis(x, left, width, resolution, SCALE)
    row_reach, column_reach = 2 * tl.maximum(unit, height), 2 * tl.maximum(unit, width)
    # From tap to tap a distance grows by 2 x unit: whole numbers below 2^24, so nothing is rounded.
    apart = (2 * unit).to(tl.float32)
    first = first_row * pitch + first_column * step
    total = tl.zeros([x.shape[0]], tl.float32)
    # The pointer that moves from tap to tap is a scalar, and each pixel's place after it stays.
    for across in range((column_reach + unit - 1) // unit):
        # A column beyond a pixel's last has no rows: its sum is 0, whatever its weight.
        rows_here = tl.where(across < column_count, row_count, 0)
        combined = tl.zeros([x.shape[0]], tl.float32)
        tap, distance = plane, row_distance
        for down in range((row_reach + unit - 1) // unit):
            value = tl.load(tap + first, mask=down < rows_here, other=0)
            # The triangle's height over the tap, times 2 x unit. Fused or not, nothing is rounded.
            combined = tl.fma(row_reach.to(tl.float32) - tl.abs(distance), value.to(tl.float32), combined)
            distance += apart
            tap += pitch
        total += (column_reach.to(tl.float32) - tl.abs(column_distance)) * combined
        column_distance += apart
        plane += step
    return tl.div_rn(total, row_total * column_total)


@triton.jit
def _axis(
    output: tl.tensor, start: tl.tensor, extent: tl.tensor, resolution: tl.tensor, SCALE: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """For each output pixel: first tap, how many taps, the first's distance from the centre, sum of weights."""
    unit = SCALE * resolution
    low, high = start // SCALE, (start + extent + SCALE - 1) // SCALE
    centre = 2 * resolution * start + (2 * output + 1) * extent
    reach = 2 * tl.maximum(unit, extent)
    # Division here rounds towards zero; where that is not downwards, `low` is the greater anyway.
    first = tl.maximum((centre - reach + unit) // (2 * unit), low)
    distance = ((2 * first + 1) * unit - centre).to(tl.float32)
    # From here in float32, which is quicker: a quotient rounded to the wrong side of a whole number adds or drops
    # a tap of weight 0, or takes one at the centre for one before it, and neither shows in the sum.
    inverse = 1.0 / (2 * unit).to(tl.float32)
    count = tl.minimum(tl.floor((reach - distance) * inverse) + 1.0, (high - first).to(tl.float32))
    # The sum of reach - |distance| over all taps, of which `before` lie before the centre.
    before = tl.minimum(tl.maximum(tl.ceil(-distance * inverse), 0.0), count)
    sum_before = before * (distance + unit * (before - 1.0))
    sum_all = count * (distance + unit * (count - 1.0))
    total = count * reach + 2.0 * sum_before - sum_all
    return first, count.to(tl.int32), distance, total


@triton.jit
def _normalised(
    value: tl.tensor, mean: tl.tensor, inverse_std: tl.tensor, CHANNEL: tl.constexpr
) -> tl.tensor:
    """Rounded to a level of 0..255, then (level - mean) * inverse_std; the store rounds it to the output's type."""
    level = tl.minimum(tl.maximum(tl.floor(value + 0.5), 0.0), 255.0)
    return (level - tl.load(mean + CHANNEL)) * tl.load(inverse_std + CHANNEL)

"""Packed crops -> a normalised batch with plain PyTorch, on any device, by the law of portable_resize.py.

For a CPU, for cards that Triton does not serve, and to test the Triton kernel against. The law's weights are
fractions of whole numbers: with all positions multiplied by 2 x unit (unit = resolution; on the half-size axes of
chroma 2 x resolution) a crop's start and extent, a pixel's centre and the support become integers, and the
weight of a tap is an integer divided by the sum of all. The integers are kept as weights and the division comes
last, so that neither the sums over rows nor the weights are rounded in float32.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.decode.colour import BLUE_U, GREEN_U, GREEN_V, RED_V
from engine.data.storage.packing import (
    COLUMNS,
    FLIP,
    HEIGHT,
    LEFT,
    OFFSET,
    ROWS,
    TOP,
    WIDTH,
    packing_of,
)
from engine.data.storage.storage_format import Packing

# Bounds the memory in use: about 1 MB for each image at 224 pixels.
_IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class _Taps:
    """Which source pixels make an output pixel: positions int64 and weights float32, both (n, resolution, taps).

    Positions are from `low` (n,) on, where each crop begins, and less than `extent` after it.
    """

    positions: torch.Tensor
    weights: torch.Tensor
    low: torch.Tensor
    extent: int

    @property
    def total(self) -> torch.Tensor:
        """Sum of the weights, (n, resolution)."""
        return self.weights.sum(2)


@dataclass(frozen=True)
class _Crops:
    """Geometry rows (n, 8) on the device, the same on the host, and the resolution to make of them."""

    geometry: torch.Tensor
    known: NDArray[np.int64]
    resolution: int


def resize(
    buffer: torch.Tensor,
    geometry: torch.Tensor,
    mode: int,
    mean: torch.Tensor,
    inverse_std: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """Fill `out` (n, 3, resolution, resolution); the arguments are those of gpu.resize.finish_packed."""
    planes = _yuv420 if packing_of(mode) == Packing.YUV420 else _rgb
    # The one wait for the device: how many taps there are depends on the crops.
    known = geometry.cpu().numpy()
    for start in range(0, len(geometry), _IMAGES_AT_ONCE):
        some = slice(start, start + _IMAGES_AT_ONCE)
        part, images = geometry[some], out[some]
        resized = planes(buffer, _Crops(part, known[some], out.shape[3]))
        levels = torch.floor(resized + 0.5).clamp(0, 255)
        levels = torch.where(part[:, FLIP, None, None, None] != 0, levels.flip(3), levels)
        images.copy_((levels - mean.view(3, 1, 1)) * inverse_std.view(3, 1, 1))


def _yuv420(buffer: torch.Tensor, crops: _Crops) -> torch.Tensor:
    """Full-range BT.601 planes -> RGB, float32 (n, 3, resolution, resolution), not yet rounded to levels."""
    geometry = crops.geometry
    pitch, size = geometry[:, COLUMNS], geometry[:, ROWS] * geometry[:, COLUMNS]
    rows, columns = _axis(crops, TOP, HEIGHT, 1), _axis(crops, LEFT, WIDTH, 1)
    half_rows, half_columns = _axis(crops, TOP, HEIGHT, 2), _axis(crops, LEFT, WIDTH, 2)
    start = geometry[:, OFFSET]
    y = _plane(buffer, start, pitch, 1, rows, columns)
    u = _plane(buffer, start + size, pitch // 2, 1, half_rows, half_columns) - 128
    v = _plane(buffer, start + size + size // 4, pitch // 2, 1, half_rows, half_columns) - 128
    return torch.stack([y + RED_V * v, y - GREEN_U * u - GREEN_V * v, y + BLUE_U * u], dim=1)


def _rgb(buffer: torch.Tensor, crops: _Crops) -> torch.Tensor:
    """Interleaved RGB -> float32 (n, 3, resolution, resolution), not yet rounded to levels."""
    geometry = crops.geometry
    rows, columns = _axis(crops, TOP, HEIGHT, 1), _axis(crops, LEFT, WIDTH, 1)
    pitch = 3 * geometry[:, COLUMNS]
    return torch.stack(
        [_plane(buffer, geometry[:, OFFSET] + channel, pitch, 3, rows, columns) for channel in range(3)],
        dim=1,
    )


def _axis(crops: _Crops, start_column: int, extent_column: int, scale: int) -> _Taps:
    """The law for one axis, of full (scale 1) or half (scale 2) size."""
    geometry, resolution = crops.geometry, crops.resolution
    start, extent = geometry[:, start_column, None], geometry[:, extent_column, None]
    low, high = start // scale, (start + extent + scale - 1) // scale
    unit = scale * resolution
    output = torch.arange(resolution, device=geometry.device)
    centre = 2 * resolution * start + (2 * output + 1) * extent
    reach = torch.clamp(2 * extent, min=2 * unit)
    first = torch.maximum((centre - reach + unit) // (2 * unit), low)
    starts, extents = crops.known[:, start_column], crops.known[:, extent_column]
    most = max(2, -(-2 * int(extents.max()) // unit))
    longest = int(((starts + extents + scale - 1) // scale - starts // scale).max())
    positions = first[:, :, None] + torch.arange(most, device=geometry.device)
    weights = reach[:, :, None] - ((2 * positions + 1) * unit - centre[:, :, None]).abs()
    weights = torch.where(positions < high[:, :, None], weights.clamp(min=0), 0)
    positions = torch.minimum(positions, high[:, :, None] - 1)
    return _Taps(positions, weights.to(torch.float32), low[:, 0], longest)


def _plane(
    buffer: torch.Tensor, start: torch.Tensor, pitch: torch.Tensor, step: int, rows: _Taps, columns: _Taps
) -> torch.Tensor:
    """Weighted mean over rows, then columns, of planes that begin at `start`, float32 (n, resolution, resolution).

    `pitch` is the bytes from one row to the next, `step` from one column to the next.
    """
    across = columns.low[:, None] + torch.arange(columns.extent, device=buffer.device)
    # Columns that a narrower crop does not have: any byte of its own will do, no weight falls on them.
    across = torch.minimum(across, columns.positions.amax((1, 2))[:, None])
    origin = (start[:, None] + across * step)[:, None, :]
    combined = torch.zeros((), device=buffer.device)
    for tap in range(rows.weights.shape[2]):
        bytes_at = origin + (rows.positions[:, :, tap] * pitch[:, None])[:, :, None]
        combined = combined + rows.weights[:, :, tap, None] * buffer[bytes_at]
    total = torch.zeros((), device=buffer.device)
    for tap in range(columns.weights.shape[2]):
        at = (columns.positions[:, :, tap] - columns.low[:, None])[:, None].expand(-1, combined.shape[1], -1)
        total = total + columns.weights[:, None, :, tap] * combined.gather(2, at)
    return total / (rows.total[:, :, None] * columns.total[:, None, :])

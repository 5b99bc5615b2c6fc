"""Packed crops -> a normalised batch with plain PyTorch, on any device, by the law of portable_resize.py.

For a CPU, for cards that Triton does not serve, and to test the Triton kernel against. The law's weights are
fractions of whole numbers: with all positions multiplied by 2 x unit (unit = resolution; on the half-size axes of
chroma 2 x resolution) a crop's start and extent, a pixel's centre and the support become integers, and the
weight of a tap is an integer divided by the sum of all. The integers are kept as weights and the division comes
last, so that neither the sums over rows nor the weights are rounded in float32.
"""

from dataclasses import dataclass

import torch

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
    """Which source pixels make an output pixel: positions int64 and weights float32, both (n, resolution, taps)."""

    positions: torch.Tensor
    weights: torch.Tensor

    @property
    def total(self) -> torch.Tensor:
        """Sum of the weights, (n, resolution)."""
        return self.weights.sum(2)


def resize(
    buffer: torch.Tensor,
    geometry: torch.Tensor,
    mode: int,
    mean: torch.Tensor,
    inverse_std: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """Fill `out` (n, 3, resolution, resolution); the arguments are those of gpu.resize.finish_packed."""
    plane_by_plane = packing_of(mode) == Packing.YUV420
    for part, images in zip(geometry.split(_IMAGES_AT_ONCE), out.split(_IMAGES_AT_ONCE), strict=True):
        resized = _yuv420(buffer, part, out.shape[3]) if plane_by_plane else _rgb(buffer, part, out.shape[3])
        levels = torch.floor(resized + 0.5).clamp(0, 255)
        levels = torch.where(part[:, FLIP, None, None, None] != 0, levels.flip(3), levels)
        images.copy_((levels - mean.view(3, 1, 1)) * inverse_std.view(3, 1, 1))


def _yuv420(buffer: torch.Tensor, geometry: torch.Tensor, resolution: int) -> torch.Tensor:
    """Full-range BT.601 planes -> RGB, float32 (n, 3, resolution, resolution), not yet rounded to levels."""
    pitch, size = geometry[:, COLUMNS], geometry[:, ROWS] * geometry[:, COLUMNS]
    rows, columns = _axis(geometry, TOP, HEIGHT, resolution, 1), _axis(geometry, LEFT, WIDTH, resolution, 1)
    half_rows, half_columns = (
        _axis(geometry, TOP, HEIGHT, resolution, 2),
        _axis(geometry, LEFT, WIDTH, resolution, 2),
    )
    start = geometry[:, OFFSET]
    y = _plane(buffer, start, pitch, 1, rows, columns)
    u = _plane(buffer, start + size, pitch // 2, 1, half_rows, half_columns) - 128
    v = _plane(buffer, start + size + size // 4, pitch // 2, 1, half_rows, half_columns) - 128
    return torch.stack([y + RED_V * v, y - GREEN_U * u - GREEN_V * v, y + BLUE_U * u], dim=1)


def _rgb(buffer: torch.Tensor, geometry: torch.Tensor, resolution: int) -> torch.Tensor:
    """Interleaved RGB -> float32 (n, 3, resolution, resolution), not yet rounded to levels."""
    rows, columns = _axis(geometry, TOP, HEIGHT, resolution, 1), _axis(geometry, LEFT, WIDTH, resolution, 1)
    pitch = 3 * geometry[:, COLUMNS]
    return torch.stack(
        [_plane(buffer, geometry[:, OFFSET] + channel, pitch, 3, rows, columns) for channel in range(3)],
        dim=1,
    )


def _axis(
    geometry: torch.Tensor, start_column: int, extent_column: int, resolution: int, scale: int
) -> _Taps:
    """The law for one axis, of full (scale 1) or half (scale 2) size."""
    start, extent = geometry[:, start_column, None], geometry[:, extent_column, None]
    low, high = start // scale, (start + extent + scale - 1) // scale
    unit = scale * resolution
    output = torch.arange(resolution, device=geometry.device)
    centre = 2 * resolution * start + (2 * output + 1) * extent
    reach = torch.clamp(2 * extent, min=2 * unit)
    first = torch.maximum((centre - reach + unit) // (2 * unit), low)
    most = int(torch.max((reach + unit - 1) // unit))
    positions = first[:, :, None] + torch.arange(most, device=geometry.device)
    weights = reach[:, :, None] - ((2 * positions + 1) * unit - centre[:, :, None]).abs()
    weights = torch.where(positions < high[:, :, None], weights.clamp(min=0), 0)
    return _Taps(torch.minimum(positions, high[:, :, None] - 1), weights.to(torch.float32))


def _plane(
    buffer: torch.Tensor, start: torch.Tensor, pitch: torch.Tensor, step: int, rows: _Taps, columns: _Taps
) -> torch.Tensor:
    """Weighted mean over rows, then columns, of planes that begin at `start`, float32 (n, resolution, resolution).

    `pitch` is the bytes from one row to the next, `step` from one column to the next.
    """
    widest = int(columns.positions.max()) + 1
    across = torch.arange(widest, device=buffer.device)
    # Columns that a narrower crop does not have: any byte of its own will do, no weight falls on them.
    across = torch.minimum(across, columns.positions.amax((1, 2))[:, None])
    origin = (start[:, None] + across * step)[:, None, :]
    combined = torch.zeros((), device=buffer.device)
    for tap in range(rows.weights.shape[2]):
        bytes_at = origin + (rows.positions[:, :, tap] * pitch[:, None])[:, :, None]
        combined = combined + rows.weights[:, :, tap, None] * buffer[bytes_at]
    total = torch.zeros((), device=buffer.device)
    for tap in range(columns.weights.shape[2]):
        at = columns.positions[:, None, :, tap].expand(-1, combined.shape[1], -1)
        total = total + columns.weights[:, None, :, tap] * combined.gather(2, at)
    return total / (rows.total[:, :, None] * columns.total[:, None, :])

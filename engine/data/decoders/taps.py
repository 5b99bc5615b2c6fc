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
"""

import numpy as np
from numpy.typing import NDArray

from engine.data.kernel import kernel


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

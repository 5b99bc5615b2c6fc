"""A hash that copies of an image share though their bytes differ, and a measure of how alike two images are."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

SIDE = 32
"""Pixels a side of the small pictures that all this is computed from."""

_BITS = 64
# BT.601's luma.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# A coefficient below this many levels, on the scale of an orthonormal transform of 32 x 32, is rounding: a tenth of
# a level in the picture.
_NOTHING = 1.5
# Standard deviation, in levels, below which a picture has no content that could be compared but its colour.
_FLAT = 2.0
_SAME_COLOUR = 4.0


def perceptual_hashes(pictures: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(n,) hashes of pictures (n, SIDE, SIDE, 3): the signs of luma's 64 lowest cosines, without the mean.

    Zauner's pHash (2010) with the signs themselves instead of a comparison with the median. Brightness and contrast
    do not change it, encoding and scaling little, and pictures of different things differ in about half the bits.
    """
    luma = pictures.astype(np.float32) @ _LUMA
    basis, rows, columns = _cosines()
    coefficients = (basis @ luma @ basis.T)[:, rows, columns]
    bits = np.packbits(coefficients > _NOTHING, axis=1)
    hashes: NDArray[np.uint64] = np.ascontiguousarray(bits).view(np.uint64)[:, 0]
    return hashes


@cache
def _cosines() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """The first rows of the orthonormal DCT-II, and which coefficients of a picture become bits, low ones first."""
    pairs = sorted((u + v, u, v) for u in range(SIDE) for v in range(SIDE))[1 : _BITS + 1]
    rows, columns = (np.array([pair[axis] for pair in pairs]) for axis in (1, 2))
    frequency = np.arange(max(rows.max(), columns.max()) + 1)[:, None]
    basis = np.cos(np.pi / SIDE * (np.arange(SIDE) + 0.5) * frequency) * np.sqrt(2 / SIDE)
    basis[0] = np.sqrt(1 / SIDE)
    return basis.astype(np.float32), rows, columns


def similarity(ones: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n,) correlation of the pixels of `ones` and `others`, both (n, SIDE, SIDE, 3), after each channel's mean.

    1 for a copy, also a brighter one or one of more contrast. Two plain pictures count as 1 where their colours
    agree within some levels, and as 0 otherwise, as a plain one beside another does.
    """
    flat = [pixels.reshape(len(pixels), -1, 3).astype(np.float64) for pixels in (ones, others)]
    means = [pixels.mean(axis=1) for pixels in flat]
    a, b = (pixels - mean[:, None] for pixels, mean in zip(flat, means, strict=True))
    spread_a, spread_b = (np.sqrt((part**2).mean(axis=(1, 2))) for part in (a, b))
    plain = np.minimum(spread_a, spread_b) < _FLAT
    correlation = (a * b).mean(axis=(1, 2)) / np.maximum(spread_a * spread_b, 1e-9)
    both_plain = np.maximum(spread_a, spread_b) < _FLAT
    same_colour = both_plain & (np.abs(means[0] - means[1]).max(axis=1) < _SAME_COLOUR)
    result: NDArray[np.float64] = np.where(plain, same_colour.astype(np.float64), correlation)
    return result

"""All pairs of 64-bit hashes that differ in few bits, without comparing each with each.

The 64 bits make four keys of 16. Two hashes that differ in at most `limit` bits differ in at most limit // 4 of some
key: that is all of the hashes that one has to be compared with (Norouzi, Punjani and Fleet 2012, "Fast search in
Hamming space with multi-index hashing"). Among n random hashes each one meets 4 x masks x n / 65536 others: of 10
bits, n / 120.

A hash that copies of an image share though their bytes differ, and a measure of how alike two images are.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from engine.data.kernel import kernel

KEYS = 4
"""Each hash is looked up so many times."""

# Of one hash, so many of the hashes near it are kept: a data set with thousands of blank images has millions of
# pairs of them, of which nobody needs more.
MOST = 16

_BITS = 16
_SLICE = 4096
# Hashes of a key that are first looked at for any near one, in vectors, and then one by one.
_TILE = 64


@intrinsic
def _count_bits(typing: Any, value: Any) -> tuple[Any, Callable[..., Any]]:
    """The number of ones in a uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@kernel
def _search(
    hashes: NDArray[np.uint64],
    places: NDArray[np.int32],
    starts: NDArray[np.int64],
    masks: NDArray[np.int64],
    key: int,
    first: int,
    behind: int,
    limit: int,
    radius: int,
    found: NDArray[np.int32],
    counts: NDArray[np.int32],
) -> None:
    """For hashes first to behind - 1: those of a later place within `limit` bits, and of `radius` in this key.

    `hashes` are in order of the key, of which value v begins at starts[v]; places (hashes,) are where they were
    before. Pairs that an earlier key has found are passed over. A row of `found` is ascending.
    """
    shift = np.uint64(_BITS * key)
    low = np.uint64(2**_BITS - 1)
    for row in range(first, behind):
        own, one = hashes[row], places[row]
        value = np.int64((own >> shift) & low)
        for mask in masks:
            begin, end = starts[value ^ mask], starts[(value ^ mask) + 1]
            for tile in range(begin, end, _TILE):
                stop = min(tile + _TILE, end)
                nearest = np.uint64(64)
                for other in range(tile, stop):
                    nearest = min(nearest, _count_bits(own ^ hashes[other]))
                if nearest > np.uint64(limit):
                    continue
                for other in range(tile, stop):
                    difference = own ^ hashes[other]
                    if places[other] <= one or _count_bits(difference) > np.uint64(limit):
                        continue
                    if not _is_found(difference, key, radius):
                        _insert(found[one], counts[one], places[other])
                        counts[one] += 1


@kernel
def _is_found(difference: np.uint64, key: int, radius: int) -> bool:
    """Whether a key before this one differs in at most `radius` bits."""
    for before in range(key):
        part = (difference >> np.uint64(_BITS * before)) & np.uint64(2**_BITS - 1)
        if _count_bits(part) <= np.uint64(radius):
            return True
    return False


@kernel
def _insert(row: NDArray[np.int32], count: int, place: int) -> None:
    """Put `place` into the ascending row of which `count` are taken; the largest is dropped where it is full."""
    at = min(count, len(row))
    if at == len(row):
        if row[at - 1] <= place:
            return
        at -= 1
    while at > 0 and row[at - 1] > place:
        row[at] = row[at - 1]
        at -= 1
    row[at] = place


def near_pairs(
    hashes: NDArray[np.uint64], limit: int, advance: Callable[[int], None] = lambda lookups: None
) -> tuple[NDArray[np.int64], int]:
    """Pairs of places (pairs, 2), the smaller first, whose hashes differ in at most `limit` bits.

    Of each place at most MOST pairs with later ones, the nearest places, are returned; the second value says how many
    there are beyond. `advance` is told how many lookups were made, of KEYS for each hash, from several threads.
    """
    count = len(hashes)
    mixed = _interleaved(np.ascontiguousarray(hashes, np.uint64))
    radius = limit // KEYS
    masks = _masks(radius)
    found = np.empty((count, MOST), np.int32)
    counts = np.zeros(count, np.int32)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        for key in range(KEYS):
            values = (mixed >> np.uint64(_BITS * key)).astype(np.uint16)
            places = np.argsort(values, kind="stable").astype(np.int32)
            starts = np.concatenate([[0], np.cumsum(np.bincount(values, minlength=2**_BITS))])
            ordered = mixed[places]

            def search(
                first: int,
                key: int = key,
                ordered: NDArray[np.uint64] = ordered,
                places: NDArray[np.int32] = places,
                starts: NDArray[np.int64] = starts,
            ) -> None:
                behind = min(first + _SLICE, count)
                _search(ordered, places, starts, masks, key, first, behind, limit, radius, found, counts)
                advance(behind - first)

            # A row of `found` belongs to one thread at a time: within a key to one slice, and keys wait for each
            # other here. The list makes an error of any slice one of this call.
            list(threads.map(search, range(0, count, _SLICE)))
    kept = np.minimum(counts, MOST)
    ones = np.repeat(np.arange(count), kept)
    others = found[np.arange(MOST) < kept[:, None]]
    return np.stack([ones, others.astype(np.int64)], axis=1), int((counts.astype(np.int64) - kept).sum())


def _interleaved(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The same bits in another order, of which each key gets every fourth.

    A picture's high frequencies are often nothing, and a key of their bits alone would be 0 for most.
    """
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1)
    mixed = np.packbits(bits.reshape(-1, _BITS, KEYS).transpose(0, 2, 1).reshape(-1, 64), axis=1)
    result: NDArray[np.uint64] = np.ascontiguousarray(mixed).view(np.uint64)[:, 0]
    return result


def _masks(radius: int) -> NDArray[np.int64]:
    """All values of a key with at most `radius` ones."""
    chosen = (bits for ones in range(min(radius, _BITS) + 1) for bits in combinations(range(_BITS), ones))
    return np.array([sum(1 << bit for bit in bits) for bits in chosen], np.int64)


SIDE = 32
"""Pixels a side of the small pictures that all this is computed from."""

_HASH_BITS = 64
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
    pairs = sorted((u + v, u, v) for u in range(SIDE) for v in range(SIDE))[1 : _HASH_BITS + 1]
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

"""Near copies: perceptual hashes, the search for similar hashes, and the similarity of two images.

The search finds all pairs of 64-bit hashes that differ in few bits without comparing all pairs. The 64 bits make four
keys of 16 bits. Two hashes that differ in at most `limit` bits differ in at most limit // 4 bits of some key, so only
those have to be compared (Norouzi, Punjani and Fleet 2012, "Fast search in Hamming space with multi-index hashing").
With n random hashes each is compared with 4 x masks x n / 65536 others: for 10 bits n / 120.
"""

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
from engine.limits import usable_cores

KEYS = 4
"""Number of lookups for each hash."""

# Number of near hashes kept for each hash: a data set with thousands of blank images has millions of such pairs.
MOST = 16

_KEY_BITS = 16
_SLICE = 4096
# Hashes of a key that are first checked together, with vector instructions, and one by one only if any is near.
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
    """For hashes first to behind - 1 find those at later places within `limit` bits, and `radius` bits in this key.

    `hashes` are sorted by the key; those with value v start at starts[v]. `places` (hashes,) are their original places.
    Pairs that an earlier key has found are skipped. Rows of `found` are ascending.
    """
    shift = np.uint64(_KEY_BITS * key)
    low = np.uint64(2**_KEY_BITS - 1)
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
    """Whether an earlier key differs in at most `radius` bits."""
    for before in range(key):
        part = (difference >> np.uint64(_KEY_BITS * before)) & np.uint64(2**_KEY_BITS - 1)
        if _count_bits(part) <= np.uint64(radius):
            return True
    return False


@kernel
def _insert(row: NDArray[np.int32], count: int, place: int) -> None:
    """Insert `place` into the ascending row with `count` entries; drops the largest if the row is full."""
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
    """Pairs of places, int64 (pairs, 2), the smaller first, whose hashes differ in at most `limit` bits.

    For each place at most MOST pairs with later places are returned, those with the smallest places; the second value
    is the number of the others. `advance` is called from several threads with the number of lookups done, of KEYS for
    each hash.
    """
    count = len(hashes)
    mixed = _interleaved(np.ascontiguousarray(hashes, np.uint64))
    radius = limit // KEYS
    masks = _masks(radius)
    found = np.empty((count, MOST), np.int32)
    counts = np.zeros(count, np.int32)
    with ThreadPoolExecutor(usable_cores()) as threads:
        for key in range(KEYS):
            values = (mixed >> np.uint64(_KEY_BITS * key)).astype(np.uint16)
            places = np.argsort(values, kind="stable").astype(np.int32)
            starts = np.concatenate([[0], np.cumsum(np.bincount(values, minlength=2**_KEY_BITS))])
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
            # other here. list() raises an error of any slice here.
            list(threads.map(search, range(0, count, _SLICE)))
    kept = np.minimum(counts, MOST)
    ones = np.repeat(np.arange(count), kept)
    others = found[np.arange(MOST) < kept[:, None]]
    return np.stack([ones, others.astype(np.int64)], axis=1), int((counts.astype(np.int64) - kept).sum())


def _interleaved(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The bits in another order, so that each key gets every fourth.

    The high frequencies of a picture are often zero, and a key of their bits alone would be 0 for most pictures.
    """
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1)
    mixed = np.packbits(bits.reshape(-1, _KEY_BITS, KEYS).transpose(0, 2, 1).reshape(-1, 64), axis=1)
    result: NDArray[np.uint64] = np.ascontiguousarray(mixed).view(np.uint64)[:, 0]
    return result


def _masks(radius: int) -> NDArray[np.int64]:
    """All values of a key with at most `radius` ones."""
    chosen = (
        bits for ones in range(min(radius, _KEY_BITS) + 1) for bits in combinations(range(_KEY_BITS), ones)
    )
    return np.array([sum(1 << bit for bit in bits) for bits in chosen], np.int64)


SIDE = 32
"""Pixels a side of the pictures that hashes and similarity are computed from."""

_HASH_BITS = 64
# BT.601 luma.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# A coefficient of the orthonormal 32 x 32 transform below this many levels is rounding: a tenth of a level in the
# picture.
_NOTHING = 1.5
# Standard deviation, in levels, below which only the colour of a picture can be compared.
_FLAT = 2.0
_SAME_COLOUR = 4.0


def perceptual_hashes(pictures: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hashes uint64 (n,) of pictures uint8 (n, SIDE, SIDE, 3): the signs of the 64 lowest cosines of luma, without the
    mean.

    Zauner's pHash (2010), with signs instead of a comparison with the median. Brightness and contrast do not change it,
    encoding and scaling change few bits, and unrelated pictures differ in about half of the bits.
    """
    luma = pictures.astype(np.float32) @ _LUMA
    basis, rows, columns = _cosines()
    coefficients = (basis @ luma @ basis.T)[:, rows, columns]
    bits = np.packbits(coefficients > _NOTHING, axis=1)
    hashes: NDArray[np.uint64] = np.ascontiguousarray(bits).view(np.uint64)[:, 0]
    return hashes


@cache
def _cosines() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """The first rows of the orthonormal DCT-II, and the coefficients that become bits, low frequencies first."""
    pairs = sorted((u + v, u, v) for u in range(SIDE) for v in range(SIDE))[1 : _HASH_BITS + 1]
    rows, columns = (np.array([pair[axis] for pair in pairs]) for axis in (1, 2))
    frequency = np.arange(max(rows.max(), columns.max()) + 1)[:, None]
    basis = np.cos(np.pi / SIDE * (np.arange(SIDE) + 0.5) * frequency) * np.sqrt(2 / SIDE)
    basis[0] = np.sqrt(1 / SIDE)
    return basis.astype(np.float32), rows, columns


def similarity(ones: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Correlation float64 (n,) of the pixels of `ones` and `others`, both uint8 (n, SIDE, SIDE, 3), without the mean of
    each channel.

    1 for a copy, also with other brightness or contrast. Two plain pictures have 1 if their colours agree within some
    levels, else 0; a plain and another picture have 0.
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

"""All pairs of 64-bit hashes that differ in few bits, by comparing each with each.

One comparison is an exclusive or and a count of bits, some tenths of a nanosecond in vectors, so that a million
images need no index: 4e11 pairs within a million, 6.4e10 between ImageNet's two splits.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from engine.data.kernel import kernel

# Of one hash, so many of the hashes near it are kept: a data set with thousands of blank images has millions of
# pairs of them, of which nobody needs more.
MOST = 16

_SLICE = 2048
# 16 KiB of hashes, which stay in the first cache while a slice is compared with them.
_TILE = 2048


@intrinsic
def _count_bits(typing: Any, value: Any) -> tuple[Any, Callable[..., Any]]:
    """The number of ones in a uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@kernel
def _search(
    hashes: NDArray[np.uint64],
    first: int,
    behind: int,
    limit: int,
    found: NDArray[np.int32],
    counts: NDArray[np.int32],
) -> None:
    """For hashes first to behind - 1: which later ones are within `limit` bits."""
    for tile in range(first + 1, len(hashes), _TILE):
        end = min(tile + _TILE, len(hashes))
        for one in range(first, min(behind, end - 1)):
            own = hashes[one]
            begin = max(tile, one + 1)
            nearest = np.uint64(64)
            for other in range(begin, end):
                nearest = min(nearest, _count_bits(own ^ hashes[other]))
            if nearest > np.uint64(limit):
                continue
            for other in range(begin, end):
                if _count_bits(own ^ hashes[other]) <= np.uint64(limit):
                    if counts[one] < found.shape[1]:
                        found[one, counts[one]] = other
                    counts[one] += 1


def near_pairs(
    hashes: NDArray[np.uint64], limit: int, advance: Callable[[int], None] = lambda pairs: None
) -> tuple[NDArray[np.int64], int]:
    """Pairs of places (pairs, 2), the smaller first, whose hashes differ in at most `limit` bits.

    Of each place at most MOST pairs with later ones are returned; the second value says how many there are beyond.
    `advance` is told how many comparisons were made, from several threads.
    """
    hashes = np.ascontiguousarray(hashes, np.uint64)
    count = len(hashes)
    found = np.empty((count, MOST), np.int32)
    counts = np.zeros(count, np.int32)

    def search(first: int) -> None:
        behind = min(first + _SLICE, count)
        _search(hashes, first, behind, limit, found, counts)
        advance((behind - first) * (2 * count - first - behind - 1) // 2)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        # The list makes an error of any slice one of this call.
        list(threads.map(search, range(0, count, _SLICE)))
    kept = np.minimum(counts, MOST)
    ones = np.repeat(np.arange(count), kept)
    others = found[np.arange(MOST) < kept[:, None]]
    return np.stack([ones, others.astype(np.int64)], axis=1), int((counts - kept).sum())

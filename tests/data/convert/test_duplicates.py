"""A content is found again by its digest, whichever it is, in a table of fixed size."""

import tracemalloc

import numpy as np
import pytest

from engine.data.convert.duplicates import DIGEST_BYTES, Seen, digest_of
from engine.data.sources.base import Content


def test_digest_depends_on_content_alone() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    contents: list[Content] = [
        b"",
        b"a",
        pixels.tobytes(),
        pixels,
        pixels.reshape(4, 2, 3),
        np.ascontiguousarray(pixels[::-1]),
    ]
    digests = [digest_of(content) for content in contents]
    assert len(set(digests)) == len(contents)
    assert {len(digest) for digest in digests} == {DIGEST_BYTES}
    assert digest_of(np.asfortranarray(pixels)) == digest_of(pixels)
    assert digest_of(pixels[::-1][::-1]) == digest_of(pixels)


@pytest.mark.parametrize("capacity", [1, 2, 3, 1000])
def test_digest_is_found_at_its_first_number(capacity: int) -> None:
    random = np.random.default_rng(capacity)
    kinds = [random.bytes(DIGEST_BYTES) for _ in range(max(1, capacity // 2))]
    # Of one slot of the table, whatever its size.
    kinds += [bytes(8) + number.to_bytes(8, "little") for number in range(max(1, capacity // 4))]
    first: dict[bytes, int] = {}
    seen = Seen(capacity)
    for number in range(capacity):
        digest = kinds[random.integers(len(kinds))]
        assert seen.find(digest) == first.get(digest, -1)
        assert seen.add(digest, number) == first.setdefault(digest, number)
    assert all(seen.find(digest) == first.get(digest, -1) for digest in kinds)


def test_table_takes_at_most_32_bytes_per_image() -> None:
    tracemalloc.start()
    try:
        seen = Seen(100_000)
        for number in range(100_000):
            seen.add(digest_of(number.to_bytes(8, "big")), number)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 33 * 100_000

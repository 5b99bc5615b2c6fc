"""A byte that has changed is named where pixels can't tell, as often as the user wants it looked for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.data.beton.reader import Beton, Storage, open_beton
from engine.data.decode.batch import BAD_CHECKSUM, REASONS
from engine.data.loading.decode_pool import DecodePool
from engine.data.storage.formats import all_formats
from tests.data.betons import overwrite, record, write_pixels
from tests.data.decode.pooling import COUNT, SIDE, WHOLE, squares

STORAGES: tuple[Storage, ...] = tuple(form.name for form in all_formats())
DAMAGED = 3


@pytest.fixture(params=STORAGES)
def beton(request: pytest.FixtureRequest, tmp_path: Path) -> Beton:
    """The squares in a file of this test's own, with checksums."""
    found = open_beton(write_pixels(tmp_path, squares(), request.param))
    assert found.checksums is not None
    return found


def _flip_a_bit(beton: Beton) -> None:
    """In a place that still decodes: a pixel, or a JPEG's density, which says nothing of pixels."""
    offset = 15 if beton.storage == "jpeg" else 100
    before = record(beton, DAMAGED)[offset]
    overwrite(beton, DAMAGED, bytes([before ^ 1]), offset)


def _named(pool: DecodePool, packed: bool = False) -> list[str]:
    """What the pool says of a batch of all samples, decoded or packed."""
    ids = np.arange(COUNT)
    if packed:
        return [bad.message for bad in pool.pack(ids, WHOLE, lambda size: np.empty(size, np.uint8))[1]]
    return [bad.message for bad in pool.decode(ids, WHOLE, np.empty((COUNT, SIDE, SIDE, 3), np.uint8))]


@pytest.mark.parametrize("verify", ["first-epoch", "always"])
def test_changed_byte_is_named(beton: Beton, verify: str, portable: bool) -> None:
    _flip_a_bit(beton)
    pool = DecodePool(beton, 2, verify, portable)
    try:
        for packed in [False, True] if beton.formats[0].packing is not None else [False]:
            # Each time: a sample that was refused is not taken for verified.
            for _ in range(2):
                (message,) = _named(pool, packed)
                assert f"sample {DAMAGED} (" in message and REASONS[BAD_CHECKSUM] in message
    finally:
        pool.close()


def test_verify_never_checks_nothing(beton: Beton, portable: bool) -> None:
    _flip_a_bit(beton)
    pool = DecodePool(beton, 2, "never", portable)
    assert _named(pool) == []
    pool.close()


@pytest.mark.parametrize(("verify", "noticed"), [("first-epoch", False), ("always", True)])
def test_damage_after_first_use_is_noticed_by_always_only(beton: Beton, verify: str, noticed: bool) -> None:
    pool = DecodePool(beton, 2, verify)
    try:
        assert _named(pool) == []
        _flip_a_bit(beton)
        assert bool(_named(pool)) is noticed
    finally:
        pool.close()


def test_first_use_is_verified_in_any_batch(beton: Beton) -> None:
    pool, out = DecodePool(beton, 2, "first-epoch"), np.empty((COUNT, SIDE, SIDE, 3), np.uint8)
    others = np.setdiff1d(np.arange(COUNT), [DAMAGED])
    try:
        assert pool.decode(others, WHOLE, out[: len(others)]) == []
        _flip_a_bit(beton)
        (message,) = _named(pool)
        assert f"sample {DAMAGED} (" in message
    finally:
        pool.close()


@pytest.mark.parametrize("verify", ["first-epoch", "always", "never"])
def test_file_without_checksums_is_used_unchecked(beton: Beton, verify: str) -> None:
    _flip_a_bit(beton)
    pool = DecodePool(replace(beton, checksums=None), 2, verify)
    assert _named(pool) == []
    pool.close()

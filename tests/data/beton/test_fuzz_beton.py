"""Thousands of damaged files: each is refused in one line, or all it says can be believed."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from engine.data.beton import layout
from engine.data.beton.reader import Beton, Storage, open_beton
from engine.data.storage import YUV420
from engine.errors import UserError
from tests.data.betons import drop_checksums, drop_manifest, write_pixels
from tests.data.conftest import photo
from tests.data.mutations import Anatomy, Pieces, damaged, write_pieces

_EXAMPLES = 750


@contextmanager
def _little_memory() -> Iterator[None]:
    """A damaged number must not make the reader ask for much memory: more than 256 MiB is a MemoryError here."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**28, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _believable(beton: Beton, size: int) -> None:
    """In Python's own numbers, which have no end to wrap around at."""
    assert beton.num_samples == len(beton.images) == len(beton.sizes) == len(beton.labels) > 0
    assert beton.checksums is None or len(beton.checksums) == beton.num_samples
    records = sorted(zip(beton.images["data_ptr"].tolist(), beton.sizes.tolist(), strict=True))
    end = layout.HEADER.itemsize + 2 * layout.FIELD.itemsize
    for start, length in records:
        assert length > 0
        assert end <= start, "a record lies over the header or another record"
        end = start + length
        assert start // beton.page_size == (end - 1) // beton.page_size
    assert end <= size
    assert beton.labels.min() >= 0
    assert beton.labels.max() < beton.num_classes < 2**25
    assert beton.storage in ("jpeg", "raw", "proportion", "yuv420")
    per_pixel = {"raw": 3, "yuv420": 1.5}.get(beton.storage)
    if per_pixel:
        pixels = beton.images["width"].astype(np.int64) * beton.images["height"]
        np.testing.assert_array_equal(beton.sizes, pixels * per_pixel)


@pytest.mark.parametrize("bare", [False, True], ids=["ours", "like stock ffcv's"])
@pytest.mark.parametrize("storage", ["proportion", "yuv420"])
def test_damaged_file_is_refused_or_sound(tmp_path: Path, storage: Storage, bare: bool) -> None:
    path = write_pixels(tmp_path, [photo(12 + seed, 20, seed) for seed in range(8)], storage)
    if bare:
        drop_checksums(path)
        drop_manifest(path)
    copy = tmp_path / "copy.beton"
    copy.touch()
    outcomes = {"refused": 0, "opened": 0}

    @settings(
        max_examples=_EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(path.read_bytes()))
    def opens_or_is_refused(content: Pieces) -> None:
        size = write_pieces(copy, content)
        try:
            with _little_memory():
                beton = open_beton(copy)
        except UserError as error:
            assert "\n" not in str(error)
            assert str(copy) in str(error)
            outcomes["refused"] += 1
            return
        _believable(beton, size)
        outcomes["opened"] += 1

    opens_or_is_refused()
    # Damage to records alone is left to their checksums; so is, without checksums, what no other number contradicts.
    assert outcomes["refused"] > _EXAMPLES / 3
    assert outcomes["opened"] > _EXAMPLES / 20


def test_damages_reach_every_part_of_the_file(tmp_path: Path) -> None:
    path = write_pixels(tmp_path, [photo(12, 20)] * 2, "yuv420")
    anatomy, beton = Anatomy(path.read_bytes()), open_beton(path)
    numbers = dict(number for group in anatomy.numbers.values() for number in group)
    assert anatomy.head.stop <= anatomy.records.start == beton.images["data_ptr"][0]
    assert len(anatomy.records) == beton.sizes.sum()
    assert anatomy.tail.stop == path.stat().st_size
    good = path.read_bytes()
    places = {int.from_bytes(good[at : at + width], "little"): width for at, width in numbers.items()}
    assert places[int(beton.images["data_ptr"][1])] == 8
    starts = [
        [int.from_bytes(good[at : at + size], "little") for at, size in both] for both in anatomy.pointers
    ]
    assert starts == [[pointer, pointer] for pointer in beton.images["data_ptr"].tolist()]
    assert places[int.from_bytes(layout.CHECKSUMS_MAGIC, "little")] == 8
    assert places[int.from_bytes(YUV420.magic, "little")] == 8

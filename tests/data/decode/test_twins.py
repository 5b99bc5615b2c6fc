"""The decoders in C and in numba, and C's builds with and without AVX2, give the same bytes."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from engine.data.decode.batch import OK
from engine.data.native.library import Library
from tests.data.conftest import photo
from tests.data.decode.decoding import (
    SUBSAMPLINGS,
    Record,
    decode_boxes,
    jpeg_record,
    random_boxes,
    raw_record,
    yuv420_record,
)

RESOLUTIONS = [1, 17, 31, 64, 128, 224]

RECORDS: dict[str, Callable[[], Record]] = {
    "raw": lambda: raw_record(photo(141, 203, 1)),
    "raw, small": lambda: raw_record(photo(5, 3, 1)),
    "raw, a row": lambda: raw_record(photo(1, 300, 1)),
    "raw, a column": lambda: raw_record(photo(300, 1, 1)),
    "yuv420": lambda: yuv420_record(photo(142, 204, 2)),
    "yuv420, small": lambda: yuv420_record(photo(2, 4, 2)),
    **{
        f"jpeg {name}": lambda name=name: jpeg_record(photo(141, 203, 3), name)  # type: ignore[misc]
        for name in SUBSAMPLINGS
    },
    "jpeg, gray": lambda: jpeg_record(photo(141, 203, 3)[:, :, 1]),
    "jpeg, progressive": lambda: jpeg_record(photo(141, 203, 3), progressive=True),
    "jpeg, restarts": lambda: jpeg_record(photo(141, 203, 3), restart=3),
    "jpeg, small": lambda: jpeg_record(photo(7, 9, 3)),
    "jpeg, a row": lambda: jpeg_record(photo(1, 50, 3)),
}


@pytest.fixture
def baseline(c_library: Library) -> Iterator[Library]:
    """The library with its build for any machine."""
    assert not c_library.use_avx2(False)
    yield c_library
    c_library.use_avx2(True)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("name", RECORDS)
def test_c_and_numba_agree_to_the_bit(c_library: Library, name: str, resolution: int) -> None:
    record = RECORDS[name]()
    boxes = random_boxes(record.height, record.width, 24, resolution)
    in_c, c_status = decode_boxes(record, boxes, resolution, c_library)
    in_numba, numba_status = decode_boxes(record, boxes, resolution, None)
    assert (c_status == OK).all() and (numba_status == OK).all()
    np.testing.assert_array_equal(in_c, in_numba)


@pytest.mark.parametrize("name", ["raw", "yuv420", "jpeg 4:2:0"])
def test_avx2_and_baseline_agree_to_the_bit(baseline: Library, name: str) -> None:
    record = RECORDS[name]()
    for resolution in RESOLUTIONS:
        boxes = random_boxes(record.height, record.width, 40, resolution)
        without, _ = decode_boxes(record, boxes, resolution, baseline)
        if not baseline.use_avx2(True):
            pytest.skip("this machine has no AVX2")
        with_it, _ = decode_boxes(record, boxes, resolution, baseline)
        baseline.use_avx2(False)
        np.testing.assert_array_equal(without, with_it)


def test_extreme_colours_agree_and_saturate(c_library: Library) -> None:
    """Planes of noise make colours outside of 0 to 255, which are cut off at the ends."""
    noise = np.random.default_rng(0).choice([0, 1, 127, 128, 254, 255], 48 * 64 * 3 // 2).astype(np.uint8)
    record = Record(noise.tobytes(), yuv420_record(photo(48, 64)).mode, 48, 64)
    boxes = random_boxes(48, 64, 40)
    for resolution in (16, 64, 100):
        in_c, _ = decode_boxes(record, boxes, resolution, c_library)
        in_numba, _ = decode_boxes(record, boxes, resolution, None)
        np.testing.assert_array_equal(in_c, in_numba)
    assert in_c.min() == 0 and in_c.max() == 255

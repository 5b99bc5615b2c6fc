"""Of a JPEG only the crop is decoded, and it is the same crop as of the whole image, at every DCT scale."""

import io

import numpy as np
import pytest
from PIL import Image

from engine.data.decode.batch import OK
from engine.data.native.library import Library
from tests.data.conftest import photo
from tests.data.decode.decoding import SUBSAMPLINGS, Record, decode_boxes, difference, jpeg_record

SIDE = 96
CUT = 5


def record_of(kind: str, subsampling: str = "4:2:0") -> Record:
    """A square JPEG: baseline, progressive, with restart markers, or gray."""
    pixels = photo(SIDE, SIDE, 3)
    if kind == "gray":
        return jpeg_record(pixels[:, :, 0])
    return jpeg_record(pixels, subsampling, kind == "progressive", 2 if kind == "restarts" else 0)


def check_crops(record: Record, eighths: int, step: int, library: Library | None) -> None:
    """Squares of 5 x 5 pixels, at every `step`-th place of the image scaled by the DCT, are parts of the whole."""
    # A crop of whole blocks, so many of them as pixels are asked for, is not resized: what comes is what was decoded.
    scale = 8 // eighths
    side = SIDE // scale
    (whole,), (status,) = decode_boxes(record, (0, 0, SIDE, SIDE, 0), side, library)
    assert status == OK
    image = Image.open(io.BytesIO(record.data))
    if eighths < 8:
        image.draft(image.mode, (side, side))
    most, mean = difference(whole, np.asarray(image.convert("RGB")))
    assert image.size == (side, side) and most <= 2 and mean < 0.1, (most, mean)
    cut = min(CUT, side // 2)
    starts = range(0, side - cut + 1, step)
    places = [(top, left) for top in starts for left in starts]
    boxes = np.array([(top, left, cut, cut, 0) for top, left in places]) * [*[scale] * 4, 0]
    crops, statuses = decode_boxes(record, boxes, cut, library)
    assert (statuses == OK).all()
    for (top, left), crop in zip(places, crops, strict=True):
        np.testing.assert_array_equal(crop, whole[top : top + cut, left : left + cut], f"at {top}, {left}")


@pytest.mark.parametrize("eighths", [8, 4, 2, 1])
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_crop_equals_part_of_the_whole(c_library: Library, subsampling: str, eighths: int) -> None:
    check_crops(record_of("baseline", subsampling), eighths, 1, c_library)


@pytest.mark.parametrize("eighths", [8, 4, 2, 1])
@pytest.mark.parametrize("kind", ["progressive", "restarts", "gray"])
def test_crop_of_other_jpeg_kinds_equals_part_of_the_whole(
    c_library: Library, kind: str, eighths: int
) -> None:
    check_crops(record_of(kind), eighths, 3, c_library)


@pytest.mark.parametrize("eighths", [8, 2])
def test_crop_in_numba_equals_part_of_the_whole(eighths: int) -> None:
    check_crops(record_of("baseline"), eighths, 7, None)


def test_workspace_serves_small_large_and_small_again(library: Library | None) -> None:
    small, large = jpeg_record(photo(20, 30)), jpeg_record(photo(500, 700))
    box = (1, 2, 18, 17, 1)
    before, _ = decode_boxes(small, box, 16, library)
    decode_boxes(large, (0, 0, 500, 700, 0), 64, library)
    after, _ = decode_boxes(small, box, 16, library)
    np.testing.assert_array_equal(before, after)

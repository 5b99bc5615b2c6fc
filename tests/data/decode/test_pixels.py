"""Decoded pixels are those of Pillow's crop and resize, and of the law written out, at every resolution."""

import ctypes
import io
import mmap

import numpy as np
import pytest
from PIL import Image

from engine.data.decode.batch import OK
from engine.data.native.library import Library
from tests.data import reference_resize
from tests.data.conftest import photo
from tests.data.decode.decoding import (
    Boxes,
    Pixels,
    Record,
    decode_boxes,
    difference,
    jpeg_record,
    pillow,
    pillow_yuv420,
    random_boxes,
    raw_record,
    yuv420_record,
)

RESOLUTIONS = [1, 17, 31, 64, 128, 224]
# Crops of the first are shrunk, and those of the second enlarged, at most resolutions.
SHAPES = [(300, 400), (60, 80)]
STORED = {"raw": raw_record, "yuv420": yuv420_record, "jpeg": jpeg_record}


def decoded(record: Record, boxes: Boxes, resolution: int, library: Library | None) -> Pixels:
    """As decode_boxes, where no sample may be bad."""
    out, status = decode_boxes(record, boxes, resolution, library)
    assert (status == OK).all()
    return out


def even_boxes(height: int, width: int, count: int) -> Boxes:
    """Crops whose chroma is a whole number of pixels."""
    boxes = random_boxes(height // 2, width // 2, count)
    boxes[:, :4] *= 2
    return boxes


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_raw_matches_pillows_crop_and_resize(
    library: Library | None, resolution: int, shape: tuple[int, int]
) -> None:
    pixels, boxes = photo(*shape, seed=4), random_boxes(*shape, 12, resolution)
    for box, ours in zip(boxes, decoded(raw_record(pixels), boxes, resolution, library), strict=True):
        most, mean = difference(ours, pillow(Image.fromarray(pixels), box, resolution))
        # Pillow rounds to whole levels between rows and columns.
        assert most <= 1 and (mean < 0.25 or resolution == 1), (box, most, mean)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_yuv420_matches_pillows_resize_of_its_planes(
    library: Library | None, resolution: int, shape: tuple[int, int]
) -> None:
    record, boxes = yuv420_record(photo(*shape, seed=4)), even_boxes(*shape, 12)
    for box, ours in zip(boxes, decoded(record, boxes, resolution, library), strict=True):
        most, mean = difference(ours, pillow_yuv420(record, box, resolution))
        # Pillow's planes are whole levels, of which blue is up to 1.772.
        assert most <= 4 and (mean < 0.7 or resolution == 1), (box, most, mean)


@pytest.mark.parametrize("resolution", [64, 128, 224])
def test_yuv420_is_near_its_source_image(library: Library | None, resolution: int) -> None:
    pixels, boxes = photo(300, 400, seed=4), even_boxes(300, 400, 12)
    # photo() has noise in its colours, which half-size chroma can't keep; a real photo has less (test_photos.py).
    for box, ours in zip(boxes, decoded(yuv420_record(pixels), boxes, resolution, library), strict=True):
        if min(box[2:4]) >= 8:
            assert difference(ours, pillow(Image.fromarray(pixels), box, resolution))[1] < 4, box


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_every_crop_follows_the_law_within_a_level(library: Library | None, resolution: int) -> None:
    for height, width in [(142, 204), (60, 80), (2, 2), (2, 90), (90, 2)]:
        pixels, boxes = photo(height, width, seed=5), random_boxes(height, width, 8, resolution)
        record = yuv420_record(pixels)
        raw = decoded(raw_record(pixels), boxes, resolution, library)
        yuv420 = decoded(record, boxes, resolution, library)
        for box, of_raw, of_yuv420 in zip(boxes, raw, yuv420, strict=True):
            assert difference(of_raw, reference_resize.resize_rgb(pixels, box, resolution))[0] <= 1, box
            law = reference_resize.resize_yuv420(record.data, height, width, box, resolution)
            assert difference(of_yuv420, law)[0] <= 1, box


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0", "gray"])
def test_jpeg_matches_pillows_decode_crop_and_resize(
    library: Library | None, subsampling: str, resolution: int
) -> None:
    pixels = photo(300, 400, seed=4)
    record = jpeg_record(pixels[:, :, 0]) if subsampling == "gray" else jpeg_record(pixels, subsampling)
    image = Image.open(io.BytesIO(record.data)).convert("RGB")
    boxes = random_boxes(300, 400, 12, resolution)
    for box, ours in zip(boxes, decoded(record, boxes, resolution, library), strict=True):
        most, mean = difference(ours, pillow(image, box, resolution))
        # From half size on, the DCT does a part of the shrinking, by its own law.
        limits = (2, 0.3) if min(box[2:4]) < 2 * resolution else (8, 0.8)
        assert most <= limits[0] and (mean < limits[1] or resolution == 1), (box, most, mean)


@pytest.mark.parametrize("resolution", [64, 31, 1])
@pytest.mark.parametrize("storage", STORED)
def test_flip_mirrors_exactly(library: Library | None, storage: str, resolution: int) -> None:
    boxes = random_boxes(120, 90, 12)
    record = STORED[storage](photo(120, 90))
    plain, flipped = (
        decoded(
            record, np.concatenate([boxes[:, :4], np.full((12, 1), flip, np.int32)], 1), resolution, library
        )
        for flip in (0, 1)
    )
    np.testing.assert_array_equal(flipped, plain[:, :, ::-1])


@pytest.mark.parametrize("storage", STORED)
def test_one_colour_stays_that_colour_in_any_shape(library: Library | None, storage: str) -> None:
    even = storage == "yuv420"
    for height, width in (
        [(2, 2), (2, 90), (90, 2), (34, 48), (120, 40)]
        if even
        else [*[(1, 1), (1, 90), (90, 1), (2, 3), (33, 47), (120, 40)]]
    ):
        record = STORED[storage](np.full((height, width, 3), (200, 30, 110), np.uint8))
        for resolution in (1, 24):
            # An image of a few pixels is left out: no recipe asks for less than 8, see dct_eighths.
            if storage == "jpeg" and max(height, width) < 6 and resolution == 1:
                continue
            out = decoded(record, random_boxes(height, width, 8), resolution, library)
            assert np.abs(out.astype(int) - (200, 30, 110)).max() <= (0 if storage == "raw" else 2)


@pytest.mark.parametrize("storage", STORED)
def test_decoders_read_nothing_beside_the_record(storage: str, c_library: Library) -> None:
    """The record begins where memory does, then ends where it does: a read beside it would end the process."""
    record, boxes = STORED[storage](photo(46, 34)), random_boxes(46, 34, 40)
    page = mmap.PAGESIZE
    pages = -(-len(record.data) // page)
    memory = np.frombuffer(mmap.mmap(-1, (pages + 2) * page), np.uint8)
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    no_access = 0
    for edge in (0, (pages + 1) * page):
        assert protect(memory.ctypes.data + edge, page, no_access) == 0
    for offset in (page, (pages + 1) * page - len(record.data)):
        memory[offset : offset + len(record.data)] = np.frombuffer(record.data, np.uint8)
        for resolution in (8, 31, 64):
            out, status = decode_boxes(record, boxes, resolution, c_library, memory, offset)
            assert (status == OK).all()
            np.testing.assert_array_equal(out, decoded(record, boxes, resolution, c_library))

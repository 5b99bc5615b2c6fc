"""Our declaration of the file format is ffcv's."""

from itertools import pairwise

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.rgb_image import IMAGE_MODES
from ffcv.types import (
    ALLOC_TABLE_TYPE,
    CURRENT_VERSION,
    TYPE_ID_HANDLER,
    FieldDescType,
    HeaderType,
    get_metadata_type,
)
from ffcv.writer import MAX_PAGE_SIZE, MIN_PAGE_SIZE

from engine.data.beton import layout
from engine.data.storage import JPEG, RAW, YUV420


def _places(dtype: np.dtype[np.void]) -> list[tuple[str, int, int]]:
    """Name, offset and bytes of each part."""
    assert dtype.fields is not None
    return [(name, part[1], part[0].itemsize) for name, part in dtype.fields.items()]


def test_dtypes_equal_ffcvs() -> None:
    assert layout.VERSION == CURRENT_VERSION
    assert HeaderType == layout.HEADER
    assert layout.HEADER.itemsize == HeaderType.itemsize
    assert layout.ALLOCATION == ALLOC_TABLE_TYPE
    assert layout.FIELD.itemsize == FieldDescType.itemsize
    assert _places(layout.FIELD) == _places(FieldDescType)


def test_field_types_and_modes_equal_ffcvs() -> None:
    assert TYPE_ID_HANDLER[layout.INT_FIELD] is IntField
    assert TYPE_ID_HANDLER[layout.RGB_IMAGE_FIELD] is RGBImageField
    assert (IMAGE_MODES["jpg"], IMAGE_MODES["raw"]) == (JPEG.mode, RAW.mode)


def test_sample_metadata_equals_ffcvs_in_either_order() -> None:
    handlers = {layout.RGB_IMAGE_FIELD: RGBImageField(), layout.INT_FIELD: IntField()}
    for order in ([2, 1], [1, 2]):
        ours, theirs = layout.sample_dtype(order), get_metadata_type([handlers[i] for i in order])
        assert ours == theirs
        assert ours.itemsize == theirs.itemsize
        assert _places(ours) == _places(theirs)


def test_added_parts_fit_into_bytes_ffcv_ignores() -> None:
    places = [layout.MANIFEST_PLACE, layout.CHECKSUMS_PLACE, layout.FIELD["arguments"].itemsize]
    assert all(end - start >= layout.PART.itemsize for start, end in pairwise(places))
    for dtype, magic in (
        (layout.PART, layout.MANIFEST_MAGIC),
        (layout.PART, layout.CHECKSUMS_MAGIC),
        (layout.CUSTOM_ARGUMENTS, YUV420.magic),
    ):
        assert np.dtype(dtype["magic"]).itemsize == len(magic)


def test_custom_field_is_unknown_to_ffcv() -> None:
    assert TYPE_ID_HANDLER[layout.CUSTOM_FIELD] is None
    assert YUV420.mode not in IMAGE_MODES.values()
    assert layout.MIN_PAGE_SIZE == MIN_PAGE_SIZE
    assert layout.MAX_PAGE_SIZE * 2 == MAX_PAGE_SIZE, "ffcv's limit is itself refused"


def test_align_up_gives_the_next_multiple() -> None:
    assert [layout.align_up(n, 8) for n in (0, 1, 8, 9)] == [0, 8, 8, 16]

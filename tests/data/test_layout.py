"""Our declaration of the file format is ffcv's."""

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

from engine.data import layout


def _places(dtype: np.dtype[np.void]) -> list[tuple[str, int, int]]:
    """Name, offset and bytes of each part."""
    assert dtype.fields is not None
    return [(name, part[1], part[0].itemsize) for name, part in dtype.fields.items()]


def test_dtypes_are_those_of_ffcv() -> None:
    assert layout.VERSION == CURRENT_VERSION
    assert HeaderType == layout.HEADER
    assert layout.HEADER.itemsize == HeaderType.itemsize
    assert layout.ALLOCATION == ALLOC_TABLE_TYPE
    assert layout.FIELD.itemsize == FieldDescType.itemsize
    assert _places(layout.FIELD) == _places(FieldDescType)


def test_field_types_and_modes_are_those_of_ffcv() -> None:
    assert TYPE_ID_HANDLER[layout.INT_FIELD] is IntField
    assert TYPE_ID_HANDLER[layout.RGB_IMAGE_FIELD] is RGBImageField
    assert (IMAGE_MODES["jpg"], IMAGE_MODES["raw"]) == (layout.MODE_JPEG, layout.MODE_RAW)


def test_metadata_of_a_sample_is_that_of_ffcv_in_either_field_order() -> None:
    handlers = {layout.RGB_IMAGE_FIELD: RGBImageField(), layout.INT_FIELD: IntField()}
    for order in ([2, 1], [1, 2]):
        ours, theirs = layout.sample_dtype(order), get_metadata_type([handlers[i] for i in order])
        assert ours == theirs
        assert ours.itemsize == theirs.itemsize
        assert _places(ours) == _places(theirs)


def test_the_manifest_record_fits_where_ffcv_looks_away() -> None:
    assert layout.MANIFEST_RECORD.itemsize <= layout.FIELD["arguments"].itemsize
    assert np.dtype(layout.MANIFEST_RECORD["magic"]).itemsize == len(layout.MANIFEST_MAGIC)


def test_align_up() -> None:
    assert [layout.align_up(n, 8) for n in (0, 1, 8, 9)] == [0, 8, 8, 16]

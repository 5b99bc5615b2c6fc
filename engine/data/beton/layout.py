"""The binary layout of a .beton (ffcv's version 2), declared once as little-endian dtypes.

A file is: header, one descriptor for each field, one metadata entry for each sample, then data pages that
start at multiples of the page size, then (in files of ours) the manifest and the records' checksums, and last
the allocation table, which runs to the end of the file. The dtypes are declared here rather than imported
because importing ffcv brings in torch and numba, seconds that opening or writing a file has no need of;
tests/data/beton/test_layout.py holds them equal to ffcv's.
"""

import numpy as np

VERSION = 2

HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("num_fields", "<u2"),
        ("page_size", "<u4"),
        ("num_samples", "<u8"),
        ("alloc_table_ptr", "<u8"),
    ],
    align=True,
)

FIELD = np.dtype([("type_id", "<u1"), ("name", "<u1", (16,)), ("arguments", "<u1", (1024,))], align=True)

INT_FIELD = 1
RGB_IMAGE_FIELD = 2
# Any field that ffcv itself does not know; which one it is, its `arguments` say.
CUSTOM_FIELD = 255

IMAGE = np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("data_ptr", "<u8")])
LABEL = np.dtype("<i8")

ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])

# Where a part that only files of ours have lies, and its crc32. These records sit in the label descriptor's
# `arguments`, all zeros in a file of stock ffcv, which ignores them.
PART = np.dtype([("magic", "S8"), ("version", "<u4"), ("crc32", "<u4"), ("offset", "<u8"), ("size", "<u8")])

MANIFEST_MAGIC = b"ENGMANI1"
MANIFEST_VERSION = 1
MANIFEST_PLACE = 0

# One <u4 for each sample, in file order: the crc32 of its record. The part's own crc32 covers all that a loader
# believes of a file: the metadata entries, then the allocation table, then this array.
CHECKSUMS_MAGIC = b"ENGCRC32"
CHECKSUMS_VERSION = 1
CHECKSUMS_PLACE = 64
CHECKSUM = np.dtype("<u4")

# Opens the `arguments` of an image field of type CUSTOM_FIELD: which storage format it is (engine/data/storage/), the
# version of that format's records, and what the images were shrunk to, in pixels.
CUSTOM_ARGUMENTS = np.dtype(
    [("magic", "S8"), ("version", "<u4"), ("short_side", "<u4"), ("max_resolution", "<u4")]
)

# What ffcv's writer takes for a page.
MIN_PAGE_SIZE = 2**21
MAX_PAGE_SIZE = 2**31


def sample_dtype(field_types: list[int]) -> np.dtype[np.void]:
    """The dtype of one sample's metadata, for fields of these type ids in file order."""
    of_type = {RGB_IMAGE_FIELD: IMAGE, CUSTOM_FIELD: IMAGE, INT_FIELD: LABEL}
    return np.dtype(
        [(f"f{place}", of_type[type_id]) for place, type_id in enumerate(field_types)], align=True
    )


def align_up(offset: int, page_size: int) -> int:
    """The first multiple of `page_size` at or after `offset` (bytes)."""
    return -(-offset // page_size) * page_size

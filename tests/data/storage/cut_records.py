"""`python -m tests.data.storage.cut_records NAME`: records of a format cut short, each ending where memory does.

What follows is a page that nobody may read: a decoder that goes on past a record's end ends this process. Prints a line
for each decoder and cut, with the status (engine.data.decode.batch) that each record gets.
"""

import ctypes
import importlib
import mmap
import sys

import numpy as np
from numpy.typing import NDArray

from engine.data.beton import layout
from engine.data.decode.batch import DecodeBatch
from engine.data.decode.workspace import Workspace
from engine.data.native.library import library
from engine.data.storage import formats
from engine.data.storage.packing import copy_crops, plan_crops
from engine.data.storage.storage_format import EncodeSettings, StorageFormat
from tests.data.conftest import photo

HEIGHT, WIDTH, RESOLUTION, UNTOUCHED = 130, 202, 32, 99
BOXES = np.array([(0, 0, HEIGHT, WIDTH, 0), (HEIGHT - 7, WIDTH - 9, 7, 9, 1)], np.int32)
SETTINGS = EncodeSettings(max_resolution=0, short_side=0, jpeg_quality=90, max_bytes=2**24)


def before_the_end(record: bytes) -> tuple[NDArray[np.uint8], int]:
    """Memory whose last bytes that may be read are the record's, and where it begins."""
    page = mmap.PAGESIZE
    pages = -(-len(record) // page)
    memory = np.frombuffer(mmap.mmap(-1, (pages + 1) * page), np.uint8)
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    no_access = 0
    assert protect(memory.ctypes.data + pages * page, page, no_access) == 0
    offset = pages * page - len(record)
    memory[offset : pages * page] = np.frombuffer(record, np.uint8)
    return memory, offset


def decoded(form: StorageFormat, record: bytes, in_c: bool, checked: bool) -> list[int]:
    """The statuses by `decode`, or by `decode_rows` behind its check."""
    memory, offset = before_the_end(record)
    count = len(BOXES)
    batch = DecodeBatch(
        memory=memory,
        offsets=np.full(count, offset, np.int64),
        sizes=np.full(count, len(record), np.int64),
        heights=np.full(count, HEIGHT, np.int64),
        widths=np.full(count, WIDTH, np.int64),
        boxes=BOXES,
        out=np.zeros((count, RESOLUTION, RESOLUTION, 3), np.uint8),
        status=np.full(count, UNTOUCHED, np.uint8),
    )
    workspace = Workspace(library() if in_c else None)
    (form.decode if checked else form.decode_rows)(batch, np.arange(count), workspace)
    statuses: list[int] = batch.status.tolist()
    return statuses


def packed(form: StorageFormat, record: bytes) -> list[int]:
    """The statuses of packing."""
    memory, offset = before_the_end(record)
    count = len(BOXES)
    images = np.array([(form.mode, WIDTH, HEIGHT, offset)] * count, layout.IMAGE)
    geometry, size = plan_crops(BOXES, form.mode)
    status, sizes = np.zeros(count, np.uint8), np.full(count, len(record), np.int64)
    buffer = np.full(size, UNTOUCHED, np.uint8)
    copy_crops(memory, images, sizes, np.arange(count), BOXES, geometry, form.mode, 0, count, buffer, status)
    statuses: list[int] = status.tolist()
    return statuses


def main(name: str, *modules: str) -> None:
    """Print the statuses of whole records, then of cut ones."""
    for module in modules:
        importlib.import_module(module)
    (form,) = formats.named(name)
    whole = form.encode(photo(HEIGHT, WIDTH, 1), SETTINGS)
    # More than a crop's bytes are gone with the longest cut, and with the shortest one byte.
    for cut in (0, 1, 2, len(whole) // 2, len(whole) - 1):
        record = whole[: len(whole) - cut]
        ways = {
            f"{decoder}{'' if checked else ' unchecked'}": decoded(form, record, decoder == "C", checked)
            for decoder in ("C", "numba")
            for checked in (True, False)
        }
        ways |= {"packed": packed(form, record)} if form.packing is not None else {}
        for way, statuses in ways.items():
            print(cut, way, *statuses, sep=":")


if __name__ == "__main__":
    main(*sys.argv[1:])

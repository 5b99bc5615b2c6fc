"""Where the bytes of each crop lie for a device that decodes: packed one after the other, or in whole records there.

First a plan: `plan_crops` says for every sample which even-aligned region is taken and where it goes in the
buffer. Then `copy_crops` copies, without the GIL and on as many threads as there are slices of the batch. Only
the file's own bytes are moved, row by row or, where a region is as wide as the image, plane by plane, with LLVM's
memcpy: numba's slice assignment reaches less than half of its speed on rows this short.

Records that lie on the device as a whole (data.resident) are not packed again: `place_crops` says for each crop where
its record begins and where in it the crop is. A record is laid out as a packed region is, so its width is the pitch.

A sample's bytes are, for Packing.YUV420, ROWS x COLUMNS of Y, then (ROWS/2) x (COLUMNS/2) of U, then the same of V;
for Packing.RGB, ROWS x COLUMNS x 3 of interleaved RGB. engine/data/gpu/ finishes them. Which of the two is used, the
storage format says.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from engine.data.decode.batch import WRONG_SIZE
from engine.data.kernel import kernel
from engine.data.sampling.crops import FLIP as _BOX_FLIP
from engine.data.sampling.crops import HEIGHT as _BOX_HEIGHT
from engine.data.sampling.crops import LEFT as _BOX_LEFT
from engine.data.sampling.crops import TOP as _BOX_TOP
from engine.data.sampling.crops import WIDTH as _BOX_WIDTH
from engine.data.storage.formats import of_mode
from engine.data.storage.storage_format import Packing
from engine.errors import UserError

# Columns of a geometry row: the first byte in the buffer, the size of the region that lies there (its columns are the
# pitch), where in it the crop starts, the crop's size, and whether it is flipped. In luma pixels. A packed region
# starts where chroma does, so a crop starts at 0 or 1 of it; a whole record is a region with its crop anywhere.
OFFSET, ROWS, COLUMNS, TOP, LEFT, HEIGHT, WIDTH, FLIP = range(8)
GEOMETRY_COLUMNS = 8

# Samples start at multiples of this many bytes, so that wide loads and copies are aligned.
_ALIGNMENT = 16

# Within a sample, 32-bit offsets are enough for the GPU.
_LARGEST_BYTES = 2**31 - 1


def packing_of(mode: int) -> Packing:
    """How crops of images of this mode are packed. Raises ValueError where they can't be."""
    packing = of_mode(mode).packing
    if packing is None:
        raise ValueError(f"crops of storage mode {mode} can't be packed")
    return packing


def plan_crops(boxes: NDArray[np.int32], mode: int) -> tuple[NDArray[np.int64], int]:
    """Where each crop goes: geometry, int64 of shape (len(boxes), 8), and how many bytes the buffer needs.

    `boxes` are rows (top, left, height, width, flip) that lie inside their images. Every sample of the batch is
    stored in the format of this `mode`; raises ValueError for one whose crops can't be packed, and UserError for a crop
    of more than 2 GiB.
    """
    subsampled = packing_of(mode) == Packing.YUV420
    geometry = np.empty((len(boxes), GEOMETRY_COLUMNS), np.int64)
    size = int(_plan(np.ascontiguousarray(boxes, np.int32), subsampled, geometry))
    largest = int((geometry[:, ROWS] * geometry[:, COLUMNS]).max(initial=0))
    if largest * 3 > _LARGEST_BYTES:
        raise UserError(
            f"a crop of {largest:,} pixels is too large to be packed: use data.decoder=cpu, or write the file "
            "again with smaller images"
        )
    return geometry, size


def place_crops(
    starts: NDArray[np.int64], heights: NDArray[np.int64], widths: NDArray[np.int64], boxes: NDArray[np.int32]
) -> NDArray[np.int64]:
    """The geometry, int64 (n, 8), of crops in whole records that begin at `starts` (n,) of a buffer, in bytes.

    `heights` and `widths` (n,) are the images'; `boxes` (n, 5) are as in `plan_crops`.
    """
    return np.column_stack([starts, heights, widths, boxes.astype(np.int64)])


@kernel
def _plan(boxes: NDArray[np.int32], subsampled: bool, geometry: NDArray[np.int64]) -> int:
    # In raw pixels nothing has to start at an even place.
    odd = 1 if subsampled else 0
    offset = 0
    for row in range(len(boxes)):
        box, plan = boxes[row], geometry[row]
        plan[OFFSET] = offset
        plan[TOP], plan[LEFT] = box[_BOX_TOP] & odd, box[_BOX_LEFT] & odd
        plan[HEIGHT], plan[WIDTH] = box[_BOX_HEIGHT], box[_BOX_WIDTH]
        plan[FLIP] = box[_BOX_FLIP]
        plan[ROWS] = (plan[TOP] + plan[HEIGHT] + odd) & ~odd
        plan[COLUMNS] = (plan[LEFT] + plan[WIDTH] + odd) & ~odd
        pixels = plan[ROWS] * plan[COLUMNS]
        size = pixels * 3 // 2 if subsampled else pixels * 3
        offset += (size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
    return offset


def copy_crops(
    memory: NDArray[np.uint8],
    images: NDArray[Any],
    sizes: NDArray[np.int64],
    ids: NDArray[np.int64],
    boxes: NDArray[np.int32],
    geometry: NDArray[np.int64],
    mode: int,
    start: int,
    stop: int,
    buffer: NDArray[np.uint8],
    status: NDArray[np.uint8],
) -> None:
    """Copy the crops of samples ids[start:stop] out of the file's `memory` into the plan's places in `buffer`.

    `images` is the file's record table, `sizes` the records' bytes; `boxes`, `geometry` and `mode` are what
    `plan_crops` was given and gave. A record of the wrong size is not read: its row of `status` (len(ids),) becomes
    WRONG_SIZE, and its place in the buffer stays as it is. The caller has seen to it that the ids are the file's, that
    their records lie inside `memory`, that every box lies inside its image, and that `buffer` is as long as the plan
    says. Slices of one batch may be copied by several threads at once: they write to different bytes.
    """
    subsampled = packing_of(mode) == Packing.YUV420
    _copy(memory, images, sizes, ids, boxes, geometry, subsampled, start, stop, buffer, status)


@kernel
def _copy(
    memory: NDArray[np.uint8],
    images: NDArray[Any],
    sizes: NDArray[np.int64],
    ids: NDArray[np.int64],
    boxes: NDArray[np.int32],
    geometry: NDArray[np.int64],
    subsampled: bool,
    start: int,
    stop: int,
    buffer: NDArray[np.uint8],
    status: NDArray[np.uint8],
) -> None:
    for row in range(start, stop):
        record, plan = images[ids[row]], geometry[row]
        source = memory.ctypes.data + int(record["data_ptr"])
        destination = buffer.ctypes.data + plan[OFFSET]
        height, width = int(record["height"]), int(record["width"])
        top, left = boxes[row, _BOX_TOP] - plan[TOP], boxes[row, _BOX_LEFT] - plan[LEFT]
        rows, columns = plan[ROWS], plan[COLUMNS]
        odd = subsampled and (height | width) % 2 == 1
        if odd or sizes[ids[row]] != (height * width // 2 if subsampled else height * width) * 3:
            status[row] = WRONG_SIZE
            continue
        if not subsampled:
            _copy_region(destination, source, 3 * width, top, 3 * left, rows, 3 * columns)
            continue
        _copy_region(destination, source, width, top, left, rows, columns)
        source += height * width
        destination += rows * columns
        for _ in range(2):
            _copy_region(destination, source, width // 2, top // 2, left // 2, rows // 2, columns // 2)
            source += height * width // 4
            destination += rows * columns // 4


@kernel
def _copy_region(
    destination: int, source: int, pitch: int, top: int, left: int, rows: int, columns: int
) -> None:
    """Pack a region of a plane whose rows are `pitch` bytes apart; left and columns are in bytes, too."""
    first = source + top * pitch + left
    if columns == pitch:
        _copy_bytes(destination, first, rows * columns)
        return
    for row in range(rows):
        _copy_bytes(destination + row * columns, first + row * pitch, columns)


@intrinsic
def _copy_bytes(_typing: Any, destination: Any, source: Any, count: Any) -> Any:
    """C's memcpy on addresses: numba has no way to write it."""

    def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        to, origin = (builder.inttoptr(address, pointer) for address in arguments[:2])
        cgutils.raw_memcpy(builder, to, origin, arguments[2], itemsize=1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), emit

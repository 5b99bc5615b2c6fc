"""Raw RGB -> crop -> resized RGB: ffcv's RGBImageField in its raw mode, height x width x 3 bytes a record."""

import numpy as np
from numpy.typing import NDArray

from engine.data.decode.batch import OK, DecodeBatch
from engine.data.decode.portable_resize import resize_rgb
from engine.data.decode.workspace import Workspace
from engine.data.kernel import kernel
from engine.data.sampling.crops import FLIP, HEIGHT, LEFT, TOP, WIDTH


def decode(batch: DecodeBatch, rows: NDArray[np.int64], workspace: Workspace) -> None:
    """Fill batch.out and batch.status for these rows."""
    if workspace.library:
        workspace.library.decode("raw", batch, rows, workspace.address)
    else:
        _decode(
            *(batch.memory, batch.offsets, batch.heights, batch.widths, batch.boxes, batch.out, batch.status),
            rows,
        )


@kernel
def _decode(
    memory: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    boxes: NDArray[np.int32],
    out: NDArray[np.uint8],
    status: NDArray[np.uint8],
    rows: NDArray[np.int64],
) -> None:
    for row in rows:
        height, width, box = heights[row], widths[row], boxes[row]
        record = memory[offsets[row] : offsets[row] + height * width * 3]
        start = (float(box[TOP]), float(box[LEFT]))
        extent = (float(box[HEIGHT]), float(box[WIDTH]))
        low = (int(box[TOP]), int(box[LEFT]))
        high = (int(box[TOP] + box[HEIGHT]), int(box[LEFT] + box[WIDTH]))
        resize_rgb(record.reshape(height, width, 3), start, extent, low, high, box[FLIP] != 0, out[row])
        status[row] = OK

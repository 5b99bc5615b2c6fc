"""YUV 4:2:0 -> crop -> resized RGB on the CPU. For a GPU the crops are only packed: packing.py and engine/data/gpu/."""

import numpy as np
from numpy.typing import NDArray

from engine.data.decode.batch import OK, DecodeBatch
from engine.data.decode.portable_resize import resize_yuv420
from engine.data.decode.workspace import Workspace
from engine.data.kernel import kernel


def decode(batch: DecodeBatch, rows: NDArray[np.int64], workspace: Workspace) -> None:
    """Fill batch.out and batch.status for these rows."""
    if workspace.library:
        workspace.library.decode("yuv420", batch, rows, workspace.address)
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
        height, width = heights[row], widths[row]
        record = memory[offsets[row] : offsets[row] + height * width * 3 // 2]
        resize_yuv420(record, height, width, boxes[row], out[row])
        status[row] = OK

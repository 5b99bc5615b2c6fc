"""JPEG -> crop -> resized RGB: ffcv's RGBImageField in its JPEG mode.

In C (native/jpeg.c) only the crop's rows and columns are decoded. Without that library the whole image is, by
libjpeg-turbo's own interface, at the same DCT scale and to the same pixels.

The DCT scale is the smallest that covers the resolution, unless the batch is to be exact: the DCT then does part of
the shrinking, as a box and not as the resize law's triangle does it, by 0.2 to 1.7 levels on average on photos.
"""

import numpy as np
from numpy.typing import NDArray

from engine.data.decode.batch import BAD_JPEG, DecodeBatch
from engine.data.decode.workspace import Workspace


def decode(batch: DecodeBatch, rows: NDArray[np.int64], workspace: Workspace) -> None:
    """Fill batch.out and batch.status for these rows."""
    if workspace.library and workspace.library.has_jpeg:
        workspace.library.decode("jpeg", batch, rows, workspace.address)
        return
    # Imported late: it opens ffcv's library.
    from engine.data.decode.jpeg_whole import decode_whole

    pixels = int((batch.heights[rows] * batch.widths[rows]).max(initial=1))
    while len(rows):
        done = decode_whole(
            *(batch.memory, batch.offsets, batch.sizes, batch.heights, batch.widths, batch.boxes),
            *(batch.out, batch.status, batch.exact, rows),
            *(workspace.turbojpeg(), workspace.scratch(3 * pixels)),
        )
        if batch.status[rows[done - 1]] == BAD_JPEG:
            workspace.retire_turbojpeg()
        rows = rows[done:]

"""The JPEG decoder where there is neither the C library nor ffcv's: the whole image by Pillow, the resize in numba.

Pillow decodes by a libjpeg-turbo of its own, with the same DCT and to the same pixels. It reports a file that is cut
short, but no damage within its data, as the other decoders do; a record's checksum notices that too.
"""

import numpy as np
from numpy.typing import NDArray

from engine.data.decode.batch import BAD_JPEG, OK, WRONG_SIZE, DecodeBatch
from engine.data.decode.pillow_pixels import DamagedError, UnreadableError, open_image
from engine.data.decode.portable_resize import dct_eighths, resize_scaled
from engine.data.decode.workspace import Workspace
from engine.data.sampling.crops import HEIGHT, WIDTH


def decode_by_pillow(batch: DecodeBatch, rows: NDArray[np.int64], workspace: Workspace) -> None:
    """Fill batch.out and batch.status for these rows; `workspace` keeps what Pillow says of the last damaged one."""
    for row in rows:
        begin, box = batch.offsets[row], batch.boxes[row]
        record = batch.memory[begin : begin + batch.sizes[row]].tobytes()
        eighths = 8 if batch.exact else dct_eighths(box[HEIGHT], box[WIDTH], batch.resolution)
        try:
            pixels = _decode(record, int(batch.heights[row]), int(batch.widths[row]), eighths)
        except (DamagedError, UnreadableError) as error:
            workspace.note_jpeg_message(str(error))
            batch.status[row] = BAD_JPEG
            continue
        if pixels is None:
            batch.status[row] = WRONG_SIZE
            continue
        resize_scaled(pixels, eighths, box, batch.windows[row], batch.out[row])
        batch.status[row] = OK


def _decode(record: bytes, height: int, width: int, eighths: int) -> NDArray[np.uint8] | None:
    """RGB pixels at this scale; None for a JPEG of another size than height x width. Raises ValueError."""
    with open_image(record) as image:
        if image.size != (width, height):
            return None
        # Pillow takes the smallest scale that covers a size.
        image.draft("RGB", (max(1, width * eighths // 8), max(1, height * eighths // 8)))
        return np.asarray(image.convert("RGB"))

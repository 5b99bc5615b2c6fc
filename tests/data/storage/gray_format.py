"""A toy storage format from outside the engine: height x width bytes of luma. Importing this registers it."""

import numpy as np
from numpy.typing import NDArray

from engine.data.storage.formats import register
from engine.data.storage.storage_format import EncodeSettings, StorageFormat


class GrayFormat(StorageFormat):
    """Rows of luma by JFIF's weights."""

    name, title, mode = "gray", "gray", 77
    magic = b"TOYGRAY1"
    record_words = "width x height"

    def record_bytes(self, heights: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.int64]:
        return heights * widths

    def encode(self, pixels: NDArray[np.uint8], settings: EncodeSettings) -> bytes:
        luma = pixels.astype(np.float64) @ [0.299, 0.587, 0.114]
        return np.rint(luma).astype(np.uint8).tobytes()

    def to_rgb(self, record: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        return record.reshape(height, width, 1).repeat(3, axis=2)


GRAY = GrayFormat()
register(GRAY)

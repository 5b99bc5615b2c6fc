"""Storage format raw: ffcv's RGBImageField in its raw mode. A record is height x width x 3 bytes of RGB."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.data.decode.batch import DecodeBatch
from engine.data.decode.workspace import Workspace, resize_rgb
from engine.data.storage.storage_format import EncodeSettings, Packing, StorageFormat

if TYPE_CHECKING:
    from engine.data.storage.jpeg_header import JpegHeader


class RawFormat(StorageFormat):
    """Pixels as they are."""

    name, title, mode = "raw", "raw", 1
    record_words = "width x height x 3"
    packing = Packing.RGB

    def record_bytes(self, heights: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.int64]:
        return heights * widths * 3

    def encode(self, pixels: NDArray[np.uint8], settings: EncodeSettings) -> bytes:
        return pixels.tobytes()

    def from_jpeg(
        self, content: bytes, header: "JpegHeader", size: tuple[int, int], settings: EncodeSettings
    ) -> bytes | None:
        from engine.data.storage.jpeg_transcode import to_planes

        return to_planes("to_rgb", content, size, size[0] * size[1] * 3)

    def to_rgb(self, record: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        return record.reshape(height, width, 3)

    def decode_rows(self, batch: DecodeBatch, rows: NDArray[np.int64], workspace: Workspace) -> None:
        resize_rgb(batch, rows, workspace)


RAW = RawFormat()

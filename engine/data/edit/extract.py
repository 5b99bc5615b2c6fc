"""One image back out of a .beton: its bytes as a file's, or its pixels."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.data.beton import layout
from engine.data.beton.bulk_reader import RecordReader
from engine.data.beton.checksum import crc32
from engine.data.beton.reader import Beton
from engine.data.sources.access.pixels import decode_rgb


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """One image as a file would hold it."""

    content: bytes
    suffix: str
    """".jpg" for a JPEG record, which is the file's content as it is; ".png" for pixels."""
    sound: bool
    """Whether the record has the checksum that it was written with; True where the file has none."""


def extract(beton: Beton, sample: int) -> Extracted:
    """One image. Raises UserError when its record can't be read."""
    with RecordReader(beton) as reader:
        record = reader.read(sample)
    sound = beton.checksums is None or crc32(record) == beton.checksums[sample]
    if beton.images["mode"][sample] == layout.MODE_JPEG:
        return Extracted(content=record, suffix=".jpg", sound=sound)
    png = BytesIO()
    Image.fromarray(pixels_of(beton, sample, record)).save(png, "png")
    return Extracted(content=png.getvalue(), suffix=".png", sound=sound)


def pixels_of(beton: Beton, sample: int, record: bytes) -> NDArray[np.uint8]:
    """RGB, uint8 of shape (height, width, 3), of a sample's record.

    Raises ValueError with the reason when it is a JPEG that can't be decoded.
    """
    mode, width, height, _ = beton.images[sample].tolist()
    if mode == layout.MODE_JPEG:
        return decode_rgb(record)
    data = np.frombuffer(record, np.uint8)
    return data.reshape(height, width, 3) if mode == layout.MODE_RAW else _rgb(data, height, width)


def _rgb(record: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """YUV 4:2:0 (layout.py) to RGB, each chroma value serving its 2 x 2 pixels.

    Source of the formula: JFIF 1.02, section "Conversion to and from RGB"; in 1 / 65536, rounded once.
    """
    luma = height * width
    y = record[:luma].reshape(height, width).astype(np.int32) << 16
    chroma = record[luma:].reshape(2, height // 2, width // 2).astype(np.int32) - 128
    cb, cr = chroma.repeat(2, axis=1).repeat(2, axis=2)
    rgb = np.stack([y + 91881 * cr, y - 22553 * cb - 46802 * cr, y + 116130 * cb], axis=2)
    return np.clip((rgb + 32768) >> 16, 0, 255).astype(np.uint8)

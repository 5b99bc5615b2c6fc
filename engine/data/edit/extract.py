"""One image back out of a .beton: its bytes as a file's, or its pixels."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.data.beton.bulk_reader import RecordReader
from engine.data.beton.checksum import crc32
from engine.data.beton.reader import Beton
from engine.data.storage.formats import of_mode


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """One image as a file would hold it."""

    content: bytes
    suffix: str
    """".jpg" for a JPEG record, which is a file's content as it is; ".png" for pixels."""
    sound: bool
    """Whether the record has the checksum that it was written with; True where the file has none."""


def extract(beton: Beton, sample: int) -> Extracted:
    """One image. Raises UserError when its record can't be read."""
    with RecordReader(beton) as reader:
        record = reader.read(sample)
    sound = beton.checksums is None or crc32(record) == beton.checksums[sample]
    suffix = of_mode(int(beton.images["mode"][sample])).suffix
    if suffix:
        return Extracted(content=record, suffix=suffix, sound=sound)
    png = BytesIO()
    Image.fromarray(pixels_of(beton, sample, record)).save(png, "png")
    return Extracted(content=png.getvalue(), suffix=".png", sound=sound)


def pixels_of(beton: Beton, sample: int, record: bytes) -> NDArray[np.uint8]:
    """RGB, uint8 of shape (height, width, 3), of a sample's record.

    Raises ValueError with the reason when it can't be decoded.
    """
    mode, width, height, _ = beton.images[sample].tolist()
    return of_mode(mode).pixels(record, height, width)

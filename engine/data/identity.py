"""What data a file holds, in a few words that change when they do: a run that goes on has to go on with the same."""

from engine.data.beton import Beton
from engine.data.checksum import crc32


def identity(beton: Beton) -> str:
    """Number of images and a CRC-32 of their labels, sizes and places and, where the file has them, checksums.

    Where the file lies and when it was written plays no part. Without checksums (files that stock ffcv wrote) other
    pixels of the same sizes are not noticed.
    """
    total = 0
    for table in (beton.labels, beton.sizes, beton.images, beton.checksums):
        if table is not None:
            total = crc32(memoryview(table.tobytes()), total)
    return f"{beton.num_samples} images, crc {total:08x}"

"""Files of made-up pixels are the same bytes as ever, but for what names versions: raw and yuv420, nothing resized.

JPEG's bytes depend on the machine's libjpeg-turbo, so they are not held here.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.data.beton import layout
from engine.data.beton.reader import open_beton
from tests.data.betons import write_pixels

# By the engine before storage formats were objects (November 2026).
SHA256 = {
    "raw": "b7d8ff1cbd1695d563c59eeeafd0d3f383f497cba4fab77898168903fc65801b",
    "yuv420": "f2571f96c9ab33ccae56c5dd3c35207fb89b576ca4bed8ec288590d2121d6c4c",
}


def pictures() -> list[NDArray[np.uint8]]:
    """Colours over the whole cube in small images of even and odd sides, from plain arithmetic."""
    sides = [(1, 1), (2, 2), (3, 5), (16, 16), (31, 64), (200, 77), (256, 300), (255, 129)]
    return [
        (np.arange(height * width * 3, dtype=np.uint64) ** 2 * (2 * number + 1) // 7 % 256)
        .astype(np.uint8)
        .reshape(height, width, 3)
        for number, (height, width) in enumerate(sides)
    ]


def lasting_bytes(path: Path) -> bytes:
    """The file up to the end of its last record, without the places of what follows, then the allocation table."""
    beton = open_beton(path)
    data = bytearray(path.read_bytes())
    header = np.frombuffer(data, layout.HEADER, count=1)
    table_start = int(header["alloc_table_ptr"][0])
    header["alloc_table_ptr"] = 0
    fields = np.frombuffer(data, layout.FIELD, count=2, offset=layout.HEADER.itemsize)
    fields["arguments"][1] = 0
    end = int((beton.images["data_ptr"] + beton.sizes).max())
    return bytes(data[:end] + data[table_start:])


@pytest.mark.parametrize("storage", SHA256)
def test_converted_bytes_match_recorded_digests(storage: str, tmp_path: Path) -> None:
    path = write_pixels(tmp_path, pictures(), storage)
    assert hashlib.sha256(lasting_bytes(path)).hexdigest() == SHA256[storage]

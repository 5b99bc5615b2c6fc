"""Tiny .betons with any manifest, written record by record."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.beton import layout
from engine.data.beton.checksum import crc32
from engine.data.beton.manifest import Manifest
from engine.data.beton.reader import Beton, open_beton
from engine.data.beton.writer import BetonWriter, image_fields
from engine.data.storage import JPEG, RAW
from engine.data.storage.formats import of_mode
from engine.files import atomic_write
from tests.data.conftest import jpeg_bytes

PAGE_SIZE = 2**21


def make(
    path: Path,
    labels: list[int],
    *,
    mode: int = RAW.mode,
    side: int = 4,
    first_id: int = 0,
    limits: tuple[int, int] = (0, 0),
    named: bool = True,
    **manifest: Any,
) -> Beton:
    """A file of an image for each label, `side` pixels wide and high, ids "0000" on; classes a, b and c."""
    count = len(labels)
    pixels = np.random.default_rng(first_id).integers(0, 256, (count, side, side, 3), np.uint8)
    records = [_record(one, mode) for one in pixels]
    images = np.zeros(count, layout.IMAGE)
    images["mode"], images["width"], images["height"] = mode, side, side
    said: dict[str, Any] = {
        "split": "train",
        "classes": ("a", "b", "c"),
        "ids": tuple(f"{number:04d}" for number in range(first_id, first_id + count)),
        "source": "made",
        "source_numbers": tuple(range(first_id, first_id + count)),
        "settings": {"format": "raw", "seed": 0},
        "counts": {"samples": count, "raw": count},
    }
    with atomic_write(path) as file:
        writer = BetonWriter(file, image_fields(of_mode(mode), *limits), PAGE_SIZE, count)
        checksums = [crc32(one) for one in records]
        sizes = [len(one) for one in records]
        writer.append(images, np.array(labels, np.int64), sizes, checksums, b"".join(records))
        writer.finish(Manifest(**(said | manifest)) if named else None)
    return open_beton(path)


def _record(pixels: NDArray[np.uint8], mode: int) -> bytes:
    if mode == JPEG.mode:
        return jpeg_bytes(pixels)
    data = pixels.tobytes()
    return data if mode == RAW.mode else data[: len(data) // 2]

"""Small .betons of given pixels, and ways to damage them as disks and cables do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton import layout
from engine.data.beton.checksum import crc32
from engine.data.beton.manifest import Manifest
from engine.data.beton.reader import Beton, Storage, open_beton
from engine.data.convert.conversion import convert
from engine.data.sampling.crops import CropLaw

CPU_PAGE_MB = 2

_INSIDE = layout.FIELD.fields
assert _INSIDE is not None
# Where the label's descriptor tells of the manifest and the checksums.
_PARTS = layout.HEADER.itemsize + layout.FIELD.itemsize + _INSIDE["arguments"][1]


def write_pixels(
    folder: Path,
    pictures: list[NDArray[np.uint8]],
    mode: Storage = "raw",
    short_side: int = 256,
    max_resolution: int = 500,
) -> Path:
    """A .beton of these RGB pictures in this order, the first half of class "a", the others of "b"."""
    for split in ("train", "val"):
        for number, pixels in enumerate(pictures):
            # Numbers decide the order within a class, and the classes come one after the other.
            name = "a" if number < (len(pictures) + 1) // 2 else "b"
            path = folder / "source" / split / name / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    output = OutputConfig(
        folder=str(folder),
        format=mode,
        short_side=short_side,
        max_resolution=max_resolution,
        num_workers=1,
        page_size=CPU_PAGE_MB,
        order="source",
    )
    return convert(WriteConfig(source=SourceConfig(path=str(folder / "source")), output=output))["train"]


def record(beton: Beton, sample: int) -> bytes:
    """The stored bytes of one image."""
    start = int(beton.images["data_ptr"][sample])
    return beton.memory()[start : start + int(beton.sizes[sample])].tobytes()


@contextmanager
def damaging(path: Path) -> Iterator[BinaryIO]:
    """The open file, to be changed as a failing disk does: its time of change stays."""
    before = path.stat()
    with open(path, "r+b") as file:
        yield file
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def overwrite(beton: Beton, sample: int, data: bytes, offset: int = 0) -> None:
    """Put `data` into the stored bytes of one image, on disk."""
    with damaging(beton.path) as file:
        file.seek(int(beton.images["data_ptr"][sample]) + offset)
        file.write(data)


def shorten(beton: Beton, sample: int, size: int) -> Beton:
    """Let the file's table give one image only `size` bytes, unnoticed; returns the file opened anew."""
    drop_checksums(beton.path)
    with damaging(beton.path) as file:
        header = np.frombuffer(file.read(layout.HEADER.itemsize), layout.HEADER)[0]
        file.seek(int(header["alloc_table_ptr"]))
        table = np.frombuffer(file.read(), layout.ALLOCATION).copy()
        table["size"][table["ptr"] == beton.images["data_ptr"][sample]] = size
        file.seek(int(header["alloc_table_ptr"]))
        file.write(table.tobytes())
    return open_beton(beton.path)


def drop_checksums(path: Path) -> None:
    """Make the file one without checksums, as our older ones are, so that damage to its tables goes unnoticed."""
    with damaging(path) as file:
        manifest, checksums = (
            _part(file, place) for place in (layout.MANIFEST_PLACE, layout.CHECKSUMS_PLACE)
        )
        _put(file, layout.CHECKSUMS_PLACE, bytes(layout.PART.itemsize))
        _put_bytes(file, checksums["offset"], bytes(checksums["size"]))
        if manifest["size"]:
            file.seek(manifest["offset"])
            content = Manifest.from_bytes(file.read(manifest["size"]))
            data = replace(content, checksums=False).to_bytes()
            part = (
                layout.MANIFEST_MAGIC,
                layout.MANIFEST_VERSION,
                crc32(data),
                manifest["offset"],
                len(data),
            )
            _put(file, layout.MANIFEST_PLACE, np.array(part, layout.PART).tobytes())
            # A little longer perhaps than it was: into where the checksums were.
            _put_bytes(file, manifest["offset"], data.ljust(manifest["size"], b"\0"))


def drop_manifest(path: Path) -> None:
    """Make the file one without class names and settings, as stock ffcv's are."""
    with damaging(path) as file:
        part = _part(file, layout.MANIFEST_PLACE)
        _put(file, layout.MANIFEST_PLACE, bytes(layout.PART.itemsize))
        _put_bytes(file, part["offset"], bytes(part["size"]))


def _part(file: BinaryIO, place: int) -> dict[str, int]:
    file.seek(_PARTS + place)
    part = np.frombuffer(file.read(layout.PART.itemsize), layout.PART)[0]
    return {name: int(part[name]) for name in ("offset", "size")}


def _put(file: BinaryIO, place: int, entry: bytes) -> None:
    _put_bytes(file, _PARTS + place, entry)


def _put_bytes(file: BinaryIO, offset: int, data: bytes) -> None:
    file.seek(offset)
    file.write(data)


class FixedBoxes:
    """A crop law with one given box (top, left, height, width, flip) for each sample id."""

    def __init__(self, boxes: list[tuple[int, int, int, int, int]]) -> None:
        self._boxes = np.array(boxes, np.int32)

    def boxes(self, ids: NDArray[np.int64], heights: object, widths: object) -> NDArray[np.int32]:
        """The boxes of these samples."""
        return self._boxes[ids]


def fixed(*boxes: tuple[int, int, int, int, int]) -> CropLaw:
    """A crop law with these boxes, by sample id."""
    return cast(CropLaw, FixedBoxes(list(boxes)))

"""Small pictures of the images of both files, and a contact sheet of images that a person should look at.

The engine's decoders make them; images that can't be decoded are listed in `Pictures.damaged`.
"""

import io
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from engine.data.beton.reader import Beton
from engine.data.loading.decode_pool import DecodePool
from engine.data.sampling.crops import CenterCrop, CropLaw, RandomResizedCrop
from engine.files import atomic_write

# Whole images, with aspect ratios up to 16 : 1. Not a CenterCrop, which decodes JPEGs at full scale.
_WHOLE = RandomResizedCrop(seed=0, epoch=0, min_scale=1.0, max_scale=1.0, max_aspect=16.0, flip=False)


class Pictures:
    """Decodes the images of several files, numbered continuously, with `workers` threads for each file.

    `damaged` has a line for each image that could not be decoded. Owns threads: use it as a context manager.
    """

    def __init__(self, betons: Sequence[Beton], workers: int) -> None:
        self._owned = ExitStack()
        self.damaged: dict[int, str] = {}
        self._files: list[_File] = []
        start = 0
        for beton in betons:
            pool = DecodePool(beton, workers)
            self._owned.callback(pool.close)
            self._files.append(_File(pool, start, start + beton.num_samples))
            start += beton.num_samples

    def whole(self, images: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        """The whole images, resized to side x side: uint8 (n, side, side, 3). Damaged ones are black."""
        return self._decode(images, side, _WHOLE)

    def centre(self, images: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        """The centred square of each image, in the form of `whole`."""
        return self._decode(images, side, CenterCrop(ratio=1.0))

    def _decode(self, images: NDArray[np.int64], side: int, crop: CropLaw) -> NDArray[np.uint8]:
        pixels = np.zeros((len(images), side, side, 3), np.uint8)
        for file in self._files:
            rows = np.flatnonzero((images >= file.start) & (images < file.behind))
            out = np.empty((len(rows), side, side, 3), np.uint8)
            for bad in file.pool.decode(images[rows] - file.start, crop, out):
                out[bad.row] = 0
                self.damaged[int(images[rows[bad.row]])] = bad.message
            pixels[rows] = out
        return pixels

    def close(self) -> None:
        """End the threads."""
        self._owned.close()

    def __enter__(self) -> "Pictures":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass(frozen=True)
class _File:
    """A file's decoder, and the range of its image numbers."""

    pool: DecodePool
    start: int
    behind: int


_SIDE, _GAP, _LINE, _COLUMNS = 128, 8, 14, 8
MOST = 64


@dataclass(frozen=True)
class Tile:
    """An image of the collection, and lines of text below it."""

    image: int
    lines: tuple[str, ...]


def write_sheet(path: Path, pictures: Pictures, tiles: Sequence[Tile]) -> None:
    """Write the first MOST tiles as a PNG, whole or not at all. Raises UserError if it can't be written."""
    shown = tiles[:MOST]
    pixels = pictures.centre(np.array([tile.image for tile in shown], np.int64), _SIDE)
    buffer = io.BytesIO()
    _draw(shown, pixels).save(buffer, "PNG")
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def _draw(tiles: Sequence[Tile], pixels: NDArray[np.uint8]) -> Image.Image:
    font = ImageFont.load_default(11)
    lines = max(len(tile.lines) for tile in tiles)
    width, height = _SIDE + _GAP, _SIDE + _GAP + lines * _LINE
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (tile, square) in enumerate(zip(tiles, pixels, strict=True)):
        left, top = _GAP + place % columns * width, _GAP + place // columns * height
        sheet.paste(Image.fromarray(square), (left, top))
        for number, line in enumerate(tile.lines):
            draw.text((left, top + _SIDE + 1 + number * _LINE), _fit(draw, font, line), "black", font)
    return sheet


def _fit(draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, line: str) -> str:
    """The line, cut to a tile's width."""
    if draw.textlength(line, font) <= _SIDE:
        return line
    while line and draw.textlength(line + "…", font) > _SIDE:
        line = line[:-1]
    return line + "…"

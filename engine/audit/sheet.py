"""A picture of the images that need a person's eye, each with what is said of it below."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from engine.audit.pictures import Pictures
from engine.files import atomic_write

_SIDE, _GAP, _LINE, _COLUMNS = 128, 8, 14, 8
MOST = 64


@dataclass(frozen=True)
class Tile:
    """One image of the collection, and lines of text for below it."""

    image: int
    lines: tuple[str, ...]


def write_sheet(path: Path, pictures: Pictures, tiles: Sequence[Tile]) -> None:
    """Write the first MOST tiles as a PNG, whole or not at all. Raises UserError where it can't be written."""
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

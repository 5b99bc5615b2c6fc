"""Random images of a .beton on one picture, by class, under their class names: wrong labels show at a glance."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from engine.data.beton.bulk_reader import RecordReader
from engine.data.beton.reader import Beton
from engine.data.edit.extract import pixels_of

# Pixels.
_SIDE, _MARGIN, _LINE = 160, 8, 17
_CELL_WIDTH, _CELL_HEIGHT = _SIDE + _MARGIN, _SIDE + 2 * _LINE + _MARGIN + 4
_TITLE = 32

_PAPER, _INK, _FAINT, _ALARM = "white", "black", "#666666", "#c00000"


def draw_sheet(beton: Beton, count: int, seed: int) -> Image.Image:
    """A picture of `count` images (all, if there are fewer) drawn by the seed, sorted by label.

    Under each one stand its class and its number. Raises UserError when the file can't be read; an image that can't
    be decoded is named in its place.
    """
    count = min(count, beton.num_samples)
    samples = np.random.default_rng(seed).choice(beton.num_samples, count, replace=False)
    samples = samples[np.lexsort((samples, beton.labels[samples]))]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = Image.new(
        "RGB", (columns * _CELL_WIDTH + _MARGIN, _TITLE + rows * _CELL_HEIGHT + _MARGIN), _PAPER
    )
    draw = ImageDraw.Draw(sheet)
    title = f"{beton.path.name}: {count} of {beton.num_samples:,} images, {beton.num_classes:,} classes"
    _write(draw, (_MARGIN, _MARGIN), title, sheet.width - 2 * _MARGIN, 16, _INK)
    with RecordReader(beton) as reader:
        for place, sample in enumerate(samples.tolist()):
            left = _MARGIN + place % columns * _CELL_WIDTH
            top = _TITLE + place // columns * _CELL_HEIGHT
            try:
                picture = _fitted(Image.fromarray(pixels_of(beton, sample, reader.read(sample))))
            except ValueError as error:
                _write(draw, (left, top), f"damaged: {error}", _SIDE, 13, _ALARM)
            else:
                middle = (left + (_SIDE - picture.width) // 2, top + (_SIDE - picture.height) // 2)
                sheet.paste(picture, middle)
            _caption(draw, beton, sample, left, top + _SIDE + 2)
    return sheet


def _fitted(picture: Image.Image) -> Image.Image:
    """In the size of a cell, its shape kept; a small one is enlarged so that its pixels can be told apart."""
    scale = _SIDE / max(picture.size)
    if scale >= 2:
        scale = math.floor(scale)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX if scale >= 1 else Image.Resampling.LANCZOS)


def _caption(draw: ImageDraw.ImageDraw, beton: Beton, sample: int, left: int, top: int) -> None:
    label = int(beton.labels[sample])
    name = beton.manifest.classes[label] if beton.manifest else f"label {label}"
    width, height = (int(beton.images[side][sample]) for side in ("width", "height"))
    _write(draw, (left, top), name, _SIDE, 14, _INK)
    _write(draw, (left, top + _LINE), f"{sample:,}: label {label}, {width} x {height}", _SIDE, 12, _FAINT)


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, size: int, colour: str
) -> None:
    """One line, cut where it would be wider than `width`."""
    font = ImageFont.load_default(size)
    text = "".join(character if character.isprintable() else "?" for character in text)
    if draw.textlength(text, font) > width:
        while text and draw.textlength(text + "...", font) > width:
            text = text[:-1]
        text += "..."
    draw.text(place, text, colour, font)

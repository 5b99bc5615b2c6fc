"""One image's content to its record: what a conversion does to every image, as a pure function."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.config.write_schema import RulesConfig
from engine.data import layout
from engine.data.encode import encode_image, shrink
from engine.data.sources.base import Content
from engine.data.sources.pixels import decode_rgb
from engine.data.yuv420 import fit
from engine.errors import UserError

REMEDY = {
    layout.MODE_JPEG: "lower --output.max_resolution",
    layout.MODE_RAW: "lower --output.max_resolution",
    layout.MODE_YUV420: "limit its longer side with --output.short_side=0 --output.max_resolution",
}


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """How images become records; the options of the same names (engine.config.write_schema)."""

    max_resolution: int
    short_side: int
    jpeg_quality: int
    jpeg_subsampling: str = "420"
    jpeg_unchanged: bool = True
    max_bytes: int
    """Largest record that fits into the file: its page size, in bytes."""
    rules: RulesConfig = RulesConfig()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one image."""

    record: bytes = b""
    """Empty where the image was rejected."""
    mode: int = 0
    width: int = 0
    height: int = 0
    unchanged: bool = False
    """Whether the record is the source's own JPEG data."""
    odd: tuple[str, ...] = ()
    """What is unusual in it: names of options of RulesConfig, such as "cmyk"."""
    rejected: str = ""
    """The option of RulesConfig by which it is not stored (whose value is fail or skip); empty: it is stored."""
    reason: str = ""
    """Why it was rejected, in words."""


def make_record(content: Content, name: str, mode: int, settings: RecordSettings) -> Outcome:
    """The record of an image, stored in `mode` (layout.MODE_...); `name` is its file's name, for its extension.

    Raises UserError, to be told with the image's place, for what no rule is about: a record larger than a page, an
    image with more pixels a side than the format can say.
    """
    try:
        pixels = decode_rgb(content) if isinstance(content, bytes) else content
    except ValueError as error:
        return Outcome(odd=("damaged",), rejected="damaged", reason=str(error))
    pixels = _sized(pixels, mode, settings)
    record = encode_image(pixels, mode, settings.jpeg_quality, REMEDY[mode])
    if len(record) > settings.max_bytes:
        raise UserError(
            f"it takes {len(record)} bytes, more than a page of {settings.max_bytes}: {REMEDY[mode]} or raise "
            "--output.page_size"
        )
    return Outcome(record=record, mode=mode, width=pixels.shape[1], height=pixels.shape[0])


def _sized(pixels: NDArray[np.uint8], mode: int, settings: RecordSettings) -> NDArray[np.uint8]:
    if mode == layout.MODE_YUV420:
        return fit(pixels, settings.short_side, settings.max_resolution)
    return shrink(pixels, settings.max_resolution)

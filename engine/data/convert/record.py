"""One image's content to its record: what a conversion does to every image, as a pure function.

The shortest way that loses nothing is taken: a JPEG that fits is kept, another is transcoded in C, anything else goes
through Pillow's pixels.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from engine.config.write import RulesConfig
from engine.data.beton import layout
from engine.data.convert.image_checks import Look, look_at
from engine.data.convert.transcode import TooLargeError, keep, transcode, verify
from engine.data.sources.access.pixels import DamagedError, decode_rgb
from engine.data.sources.base import Content
from engine.data.storage.encode import check_sides, encode_image, shrink, shrunk_size
from engine.data.storage.jpeg_header import JpegHeader
from engine.data.storage.yuv420_record import even_size, fit
from engine.errors import UserError

REMEDY = {
    layout.MODE_JPEG: "lower --output.max_resolution",
    layout.MODE_RAW: "lower --output.max_resolution",
    layout.MODE_YUV420: "limit its longer side with --output.short_side=0 --output.max_resolution",
}


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """How images become records; the options of the same names (engine.config.write)."""

    max_resolution: int
    short_side: int
    jpeg_quality: int
    jpeg_subsampling: str = "420"
    jpeg_unchanged: bool = True
    jpeg_check: bool = True
    max_bytes: int
    """Largest record that fits into the file: its page size, in bytes."""
    rules: RulesConfig = field(default_factory=RulesConfig)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one image."""

    record: bytes = b""
    """Empty where the image was rejected."""
    mode: int = 0
    width: int = 0
    height: int = 0
    unchanged: bool = False
    """Whether the record is the source's own JPEG data, coefficient by coefficient."""
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
    if not isinstance(content, bytes):
        return _of_pixels(content, mode, settings)
    look = look_at(content, name, settings.rules.max_megapixels)
    try:
        if look.known and not look.rejected(settings.rules):
            return replace(_of_file(content, look, mode, settings), odd=tuple(look.odd))
    except DamagedError as error:
        look = replace(look, odd={**look.odd, "damaged": str(error)})
    rejected = look.rejected(settings.rules)
    if not rejected:
        # What is left to do is damaged, and to be repaired.
        try:
            pixels = decode_rgb(content, truncated=True, upright=_is_turned(look, settings))
            return replace(_of_pixels(pixels, mode, settings), odd=tuple(look.odd))
        except ValueError as error:
            rejected = "unreadable"
            look = replace(look, odd={**look.odd, rejected: f"nothing of it can be decoded ({error})"})
    return Outcome(odd=tuple(look.odd), rejected=rejected, reason=look.odd[rejected])


def _of_file(content: bytes, look: Look, mode: int, settings: RecordSettings) -> Outcome:
    """The record of an image file that is to be stored. Raises DamagedError, and UserError as make_record does."""
    turned = _is_turned(look, settings)
    if look.jpeg is not None and not turned:
        outcome = _of_jpeg(content, look.jpeg, mode, settings)
        if outcome is not None:
            return outcome
    if look.jpeg is not None:
        # Pillow passes over damage that libjpeg only warns of.
        verify(content, look.jpeg)
    return _of_pixels(decode_rgb(content, upright=turned), mode, settings)


def _is_turned(look: Look, settings: RecordSettings) -> bool:
    return settings.rules.exif == "apply" and look.rotation != 1


def _of_jpeg(content: bytes, header: JpegHeader, mode: int, settings: RecordSettings) -> Outcome | None:
    """The record of a JPEG without a way through pixels in Python; None where there is none."""
    width, height = _size(header.width, header.height, mode, settings)
    _check(width, height, mode, settings)
    unchanged = mode == layout.MODE_JPEG and settings.jpeg_unchanged and width == header.width
    try:
        if unchanged:
            record = keep(content, header, settings.max_bytes, check=settings.jpeg_check)
        else:
            record = transcode(
                content,
                mode,
                (width, height),
                settings.jpeg_quality,
                settings.jpeg_subsampling,
                settings.max_bytes,
            )
    except TooLargeError as error:
        raise _too_large(str(error), mode) from None
    if record is None:
        return None
    if len(record) > settings.max_bytes:
        raise _too_large(f"it takes {len(record)} bytes, more than a page of {settings.max_bytes}", mode)
    return Outcome(record=record, mode=mode, width=width, height=height, unchanged=unchanged)


def _of_pixels(pixels: NDArray[np.uint8], mode: int, settings: RecordSettings) -> Outcome:
    """The record of RGB pixels, uint8 of shape (height, width, 3). Raises UserError as make_record does."""
    if mode == layout.MODE_YUV420:
        pixels = fit(pixels, settings.short_side, settings.max_resolution)
    else:
        pixels = shrink(pixels, settings.max_resolution)
    height, width = pixels.shape[:2]
    _check(width, height, mode, settings)
    record = encode_image(pixels, mode, settings.jpeg_quality, settings.jpeg_subsampling)
    if len(record) > settings.max_bytes:
        raise _too_large(f"it takes {len(record)} bytes, more than a page of {settings.max_bytes}", mode)
    return Outcome(record=record, mode=mode, width=width, height=height)


def _size(width: int, height: int, mode: int, settings: RecordSettings) -> tuple[int, int]:
    if mode == layout.MODE_YUV420:
        return even_size(width, height, settings.short_side, settings.max_resolution)
    return shrunk_size(width, height, settings.max_resolution)


def _check(width: int, height: int, mode: int, settings: RecordSettings) -> None:
    """Refuse what its size alone rules out, before memory is taken for it."""
    check_sides(width, height, mode, REMEDY[mode])
    size = {layout.MODE_RAW: width * height * 3, layout.MODE_YUV420: width * height * 3 // 2}.get(mode, 0)
    if size > settings.max_bytes:
        raise _too_large(f"it takes {size} bytes, more than a page of {settings.max_bytes}", mode)


def _too_large(what: str, mode: int) -> UserError:
    return UserError(f"{what}: {REMEDY[mode]} or raise --output.page_size")

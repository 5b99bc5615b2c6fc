"""One image's content to its record: what a conversion does to every image, as a pure function.

The shortest way that loses nothing is taken: a JPEG that fits is kept, another is transcoded in C, anything else goes
through Pillow's pixels.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from engine.config.write import RulesConfig
from engine.data.convert.image_checks import Look, look_at
from engine.data.decode.pillow_pixels import DamagedError, OversizedError, decode_rgb, gray_as_rgb
from engine.data.sources.base import Content
from engine.data.storage.formats import of_mode
from engine.data.storage.jpeg_header import JpegHeader
from engine.data.storage.jpeg_transcode import TooLargeError, verify
from engine.data.storage.storage_format import EncodeSettings, StorageFormat
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class RecordSettings(EncodeSettings):
    """How images become records, and which of them do."""

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
    """The record of an image in the storage format of this mode; `name` is its file's name, for its extension.

    Raises UserError, to be told with the image's place, for what no rule is about: a record larger than a page, an
    image with more pixels a side than the format can say.
    """
    form = of_mode(mode)
    look = look_at(content, name, settings.rules)
    try:
        if look.known and not look.rejected(settings.rules):
            return replace(_of_content(content, look, form, settings), odd=tuple(look.odd))
    except DamagedError as error:
        look = replace(look, odd={**look.odd, "damaged": str(error)})
    except OversizedError as error:
        look = replace(look, odd={**look.odd, "oversized": str(error)})
    rejected = look.rejected(settings.rules)
    if not rejected:
        # What is left to do is damaged, and to be repaired.
        try:
            pixels = _pixels(content, look, settings, truncated=True)
            return replace(_of_pixels(pixels, form, settings), odd=tuple(look.odd))
        except ValueError as error:
            rejected = "unreadable"
            look = replace(look, odd={**look.odd, rejected: f"nothing of it can be decoded ({error})"})
    return Outcome(odd=tuple(look.odd), rejected=rejected, reason=look.odd[rejected])


def _of_content(content: Content, look: Look, form: StorageFormat, settings: RecordSettings) -> Outcome:
    """The record of an image that is to be stored. Raises DamagedError, and UserError as make_record does."""
    if look.jpeg is not None and isinstance(content, bytes):
        if not _is_turned(look, settings):
            outcome = _of_jpeg(content, look.jpeg, form, settings)
            if outcome is not None:
                return outcome
        # Pillow passes over damage that libjpeg only warns of.
        verify(content, look.jpeg)
    return _of_pixels(_pixels(content, look, settings), form, settings)


def _pixels(
    content: Content, look: Look, settings: RecordSettings, *, truncated: bool = False
) -> NDArray[np.uint8]:
    """RGB. Raises ValueError as `decode_rgb` does."""
    if isinstance(content, np.ndarray):
        return gray_as_rgb(content)
    rules = settings.rules
    most = 0 if rules.oversized == "repair" else rules.max_megapixels * 10**6
    return decode_rgb(content, truncated, _is_turned(look, settings), most)


def _is_turned(look: Look, settings: RecordSettings) -> bool:
    return settings.rules.exif == "apply" and look.rotation != 1


def _of_jpeg(
    content: bytes, header: JpegHeader, form: StorageFormat, settings: RecordSettings
) -> Outcome | None:
    """The record of a JPEG without a way through pixels in Python; None where there is none."""
    width, height = size = form.stored_size(header.width, header.height, settings)
    _check(width, height, form, settings)
    try:
        record = form.from_jpeg(content, header, size, settings)
    except TooLargeError as error:
        raise _too_large(str(error), form) from None
    if record is None:
        return None
    unchanged = form.keeps(header, size, settings)
    return _outcome(record, form, width, height, settings, unchanged)


def _of_pixels(pixels: NDArray[np.uint8], form: StorageFormat, settings: RecordSettings) -> Outcome:
    """The record of RGB pixels, uint8 of shape (height, width, 3). Raises UserError as make_record does."""
    pixels = form.fit(pixels, settings)
    height, width = pixels.shape[:2]
    _check(width, height, form, settings)
    return _outcome(form.encode(pixels, settings), form, width, height, settings)


def _outcome(
    record: bytes,
    form: StorageFormat,
    width: int,
    height: int,
    settings: RecordSettings,
    unchanged: bool = False,
) -> Outcome:
    if len(record) > settings.max_bytes:
        raise _too_large(f"it takes {len(record)} bytes, more than a page of {settings.max_bytes}", form)
    return Outcome(record=record, mode=form.mode, width=width, height=height, unchanged=unchanged)


def _check(width: int, height: int, form: StorageFormat, settings: RecordSettings) -> None:
    """Refuse what its size alone rules out, before memory is taken for it."""
    if max(height, width) > form.max_side:
        raise UserError(
            f"it has {width} x {height} pixels, more than the format's {form.max_side} a side: {form.remedy}"
        )
    size = form.record_bytes(np.array([height], np.int64), np.array([width], np.int64))
    if size is not None and size[0] > settings.max_bytes:
        raise _too_large(f"it takes {size[0]} bytes, more than a page of {settings.max_bytes}", form)


def _too_large(what: str, form: StorageFormat) -> UserError:
    return UserError(f"{what}: {form.remedy} or raise --output.page_size")

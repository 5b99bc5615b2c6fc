"""Oddities of an image file, found in its header before anything is decoded.

The kinds of oddities are the options of RulesConfig (engine.config.write), which say what is done with each.
"""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from engine.config.write import RulesConfig
from engine.data.decode.orientation import load_late_metadata, orientation_of
from engine.data.decode.pillow_pixels import DamagedError, UnreadableError, open_image
from engine.data.sources.access.size_bound import too_large
from engine.data.sources.base import Content
from engine.data.storage.jpeg_header import JpegHeader, is_jpeg, read_jpeg_header

_FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **{f".{name.lower()}": name for name in ("PNG", "WEBP", "BMP", "GIF")},
}
_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
_TIFF_BITS_PER_SAMPLE = 258


@dataclass(frozen=True, kw_only=True)
class Look:
    """An image file's properties, by its header."""

    odd: dict[str, str] = field(default_factory=dict)
    """Kind of oddity -> a description. With "empty", "unreadable" or "damaged" the rest is unknown."""
    width: int = 0
    height: int = 0
    rotation: int = 1
    """As `orientation_of` finds it: 1 to 8."""
    jpeg: JpegHeader | None = None

    def rejected(self, rules: RulesConfig) -> str:
        """The kind for which the rules leave the image out, one that fails first; "" to store it."""
        policies = {kind: getattr(rules, kind) for kind in self.odd}
        for policy in ("fail", "skip"):
            for kind, of_kind in policies.items():
                if of_kind == policy:
                    return kind
        return ""

    @property
    def known(self) -> bool:
        """Whether the header could be read."""
        return self.width > 0


def look_at(content: Content, name: str, rules: RulesConfig) -> Look:
    """Look at an image file's header, or at an image as it is; `name` is the file's, for its extension."""
    look = _look_at(content, name, rules.max_megapixels)
    most = rules.max_megabytes * 10**6
    if isinstance(content, bytes) and len(content) > most:
        look.odd["oversized"] = too_large(len(content), most)
    return look


def _look_at(content: Content, name: str, max_megapixels: int) -> Look:
    try:
        if isinstance(content, np.ndarray):
            height, width = content.shape[:2]
            odd = _common("", "", width, height, 1, max_megapixels)
            if content.ndim == 2:
                odd["grayscale"] = "it is an array of gray levels"
            return Look(odd=odd, width=width, height=height)
        if not isinstance(content, bytes):
            with open_image(content) as image:
                return _look_at_image(image, name, max_megapixels)
        if not content:
            return Look(odd={"empty": "it is empty"})
        if is_jpeg(content):
            return _look_at_jpeg(content, name, max_megapixels)
        with open_image(content) as image:
            return _look_at_image(image, name, max_megapixels, content)
    except UnreadableError as error:
        return Look(odd={"unreadable": str(error)})
    except ValueError as error:
        return Look(odd={"damaged": str(error)})


def _look_at_jpeg(content: bytes, name: str, max_megapixels: int) -> Look:
    header = read_jpeg_header(content)
    if header.precision != 8:
        raise UnreadableError(
            f"it is a JPEG of {header.precision} bits a sample, which cannot be decoded here"
        )
    rotation = header.rotation
    odd = _common(name, "JPEG", header.width, header.height, rotation, max_megapixels)
    if header.components == 1:
        odd["grayscale"] = "it is a grayscale JPEG"
    elif header.components == 4:
        odd["cmyk"] = "it is a CMYK JPEG"
    return Look(odd=odd, width=header.width, height=header.height, rotation=rotation, jpeg=header)


def _look_at_image(image: Image.Image, name: str, max_megapixels: int, content: bytes = b"") -> Look:
    # One that a program made, not Pillow of a file, says no format.
    form, (width, height), mode = image.format or "", image.size, image.mode
    if not width or not height:
        raise DamagedError("its header says that it has no pixels")
    deep = mode.startswith(("I", "F")) or _is_deep(image)
    # A bomb is not decoded.
    if width * height <= max_megapixels * 10**6:
        load_late_metadata(image, content)
    rotation = orientation_of(image)
    odd = _common(name, form, width, height, rotation, max_megapixels)
    kinds = {
        "cmyk": mode == "CMYK",
        "grayscale": mode in ("1", "L", "LA", "La", "F") or mode.startswith("I"),
        "palette": mode in ("P", "PA"),
        "transparent": mode in _ALPHA or "transparency" in image.info,
        "deep": deep,
    }
    odd |= {kind: f"it is a {form or 'PIL image'} of mode {mode}" for kind, found in kinds.items() if found}
    return Look(odd=odd, width=width, height=height, rotation=rotation)


def _is_deep(image: Image.Image) -> bool:
    if image.format == "PNG":
        # Such as "RGB;16B", until it is decoded.
        return any(";16" in str(tile) for tile in getattr(image, "tile", ()))
    bits = getattr(image, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE, (8,))
    return max(bits) > 8


def _common(
    name: str, form: str, width: int, height: int, rotation: int, max_megapixels: int
) -> dict[str, str]:
    odd = {}
    if width * height > max_megapixels * 10**6:
        odd["oversized"] = (
            f"it has {width} x {height} pixels, more than rules.max_megapixels={max_megapixels}"
        )
    extension = PurePosixPath(name).suffix.lower()
    if form and _FORMATS.get(extension, form) != form:
        odd["misnamed"] = f"it is a {form} named {extension}"
    if rotation != 1:
        odd["exif"] = f"its metadata says orientation {rotation}"
    return odd

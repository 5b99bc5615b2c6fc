"""Oddities of an image file, found in its header before anything is decoded.

The kinds of oddities are the options of RulesConfig (engine.config.write), which say what is done with each.
"""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from PIL import Image

from engine.config.write import RulesConfig
from engine.data.decode.pillow_pixels import DamagedError, UnreadableError, open_image
from engine.data.storage.jpeg_header import ORIENTATION, JpegHeader, is_jpeg, orientation, read_jpeg_header

_FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **{f".{name.lower()}": name for name in ("PNG", "WEBP", "BMP", "GIF")},
}
_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
# A PNG's IHDR is always its first part; its bit depth is there.
_PNG_DEPTH = 24
_TIFF_BITS_PER_SAMPLE = 258


@dataclass(frozen=True, kw_only=True)
class Look:
    """An image file's properties, by its header."""

    odd: dict[str, str] = field(default_factory=dict)
    """Kind of oddity -> a description. With "empty", "unreadable" or "damaged" the rest is unknown."""
    width: int = 0
    height: int = 0
    rotation: int = 1
    """EXIF's orientation, 1 to 8."""
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


def look_at(content: bytes, name: str, max_megapixels: int) -> Look:
    """Look at an image file's header; `name` is the file's, for its extension."""
    if not content:
        return Look(odd={"empty": "it is empty"})
    try:
        return (_look_at_jpeg if is_jpeg(content) else _look_at_other)(content, name, max_megapixels)
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


def _look_at_other(content: bytes, name: str, max_megapixels: int) -> Look:
    with open_image(content) as image:
        form, (width, height), mode = str(image.format), image.size, image.mode
        transparent = mode in _ALPHA or "transparency" in image.info
        deep = mode.startswith(("I", "F")) or _is_deep(image, content)
        rotation = _rotation(image)
    if not width or not height:
        raise DamagedError("its header says that it has no pixels")
    odd = _common(name, form, width, height, rotation, max_megapixels)
    kinds = {
        "cmyk": mode == "CMYK",
        "grayscale": mode in ("1", "L", "LA", "La", "F") or mode.startswith("I"),
        "palette": mode in ("P", "PA"),
        "transparent": transparent,
        "deep": deep,
    }
    odd |= {kind: f"it is a {form} of mode {mode}" for kind, found in kinds.items() if found}
    return Look(odd=odd, width=width, height=height, rotation=rotation)


def _is_deep(image: Image.Image, content: bytes) -> bool:
    if image.format == "PNG":
        return content[_PNG_DEPTH : _PNG_DEPTH + 1] == b"\x10"
    bits = getattr(image, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE, (8,))
    return max(bits) > 8


def _rotation(image: Image.Image) -> int:
    # Not by getexif, which decodes a whole PNG to look behind it.
    exif = image.info.get("exif")
    if isinstance(exif, bytes):
        return orientation(exif)
    value = getattr(image, "tag_v2", {}).get(ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _common(
    name: str, form: str, width: int, height: int, rotation: int, max_megapixels: int
) -> dict[str, str]:
    odd = {}
    if width * height > max_megapixels * 10**6:
        odd["oversized"] = (
            f"it has {width} x {height} pixels, more than rules.max_megapixels={max_megapixels}"
        )
    extension = PurePosixPath(name).suffix.lower()
    if _FORMATS.get(extension, form) != form:
        odd["misnamed"] = f"it is a {form} named {extension}"
    if rotation != 1:
        odd["exif"] = f"its EXIF data says orientation {rotation}"
    return odd

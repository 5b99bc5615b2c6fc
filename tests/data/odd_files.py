"""Image files made on the spot: one of each kind that RulesConfig has a rule for, and JPEGs of every make."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.data.conftest import photo

MAKES: dict[str, dict[str, Any]] = {
    "444": {"subsampling": "4:4:4"},
    "422": {"subsampling": "4:2:2"},
    "420": {"subsampling": "4:2:0"},
    "optimised": {"optimize": True},
    "restarts": {"restart_marker_rows": 1},
    "often": {"restart_marker_blocks": 3},
    "progressive": {"progressive": True},
    "metadata": {"exif": b"Exif\0\0" + bytes(500), "comment": b"hello" * 99, "icc_profile": bytes(3000)},
}
"""Kind of JPEG -> options of `jpeg`."""


def save(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """The bytes of an image's file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def picture(height: int = 40, width: int = 60, seed: int = 0) -> Image.Image:
    """An RGB picture."""
    return Image.fromarray(photo(height, width, seed))


def jpeg(height: int = 40, width: int = 60, seed: int = 0, **options: object) -> bytes:
    """A JPEG of a picture; options are those of Pillow's encoder."""
    return save(picture(height, width, seed), "JPEG", **{"quality": 92, **options})


def pixels_of(content: bytes) -> NDArray[np.uint8]:
    """A file's pixels as Pillow and so torchvision gives them, (height, width, 3)."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def with_orientation(orientation: int) -> bytes:
    """A JPEG that says so in its EXIF data."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(exif=exif.tobytes())


def _deep_png(channels: int) -> bytes:
    """A PNG of 16 bits a channel by hand, since Pillow writes none in colour. Its upper bytes are row, column, 200."""
    height, width = 8, 12
    rows, columns = np.mgrid[:height, :width]
    levels = np.stack([rows * 20, columns * 20, rows * 0 + 200], 2)[:, :, :channels].astype(np.uint16)
    words = (levels * 256 + 77).astype(">u2").reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in words)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 16, 2 if channels == 3 else 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose header says this size, whatever its data."""
    content = bytearray(jpeg())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def odd_files() -> dict[str, tuple[str, bytes]]:
    """Kind -> a file's name and content, of every kind that repair or keeping it makes an image of."""
    rgba = picture().convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(rgba.size))
    whole = jpeg()
    return {
        "damaged": ("a.JPEG", whole[: len(whole) * 2 // 3]),
        "cmyk": ("a.JPEG", save(picture().convert("CMYK"), quality=95)),
        "grayscale": ("a.JPEG", save(picture().convert("L"), quality=95)),
        "palette": ("a.png", save(picture().quantize(16), "PNG")),
        "transparent": ("a.png", save(rgba, "PNG")),
        "deep": ("a.png", _deep_png(3)),
        "misnamed": ("n02105855_2933.JPEG", save(picture(), "PNG")),
    }


def deep_gray() -> bytes:
    """A grayscale PNG of 16 bits, whose upper bytes are 20 times the row."""
    return _deep_png(1)

"""What a prediction can be asked about, and its content: a path, a URL, bytes, a Pillow image or an array."""

import io
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.config.write import RulesConfig
from engine.errors import UserError, describe_os_error
from engine.progress import human_bytes

if TYPE_CHECKING:
    from PIL import Image

MOST_BYTES = RulesConfig.max_megabytes * 10**6
"""Size of a file above which it is not read: a disk image named .jpg takes no memory."""
URL_SECONDS = 30.0
"""How long a server may stay silent."""


@dataclass(frozen=True)
class Named:
    """An image's bytes under the name that messages and results are to show."""

    name: str
    content: bytes


ImageSource = "str | Path | bytes | Named | Image.Image | NDArray[np.uint8]"


def is_url(source: object) -> bool:
    """Whether it is text such as "https://host/image.jpg"."""
    return isinstance(source, str) and "://" in source


def name_of(source: object, number: int = 0) -> str:
    """What results call it: its path, URL or name, else "image N"."""
    if isinstance(source, Named):
        return source.name
    return str(source) if isinstance(source, str | Path) else f"image {number}"


def content_of(source: object) -> "bytes | Image.Image | NDArray[np.uint8]":
    """The bytes of a path or a URL, and anything else as it is, an array as RGB or gray.

    Raises UserError, without its name, for what can't be read or is no image by its kind.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, Named):
        return source.content
    if isinstance(source, str) and is_url(source):
        return _fetch(source)
    if isinstance(source, str | Path):
        return _read(Path(source))
    if isinstance(source, np.ndarray):
        return _checked(source)
    from PIL import Image

    if isinstance(source, Image.Image):
        return source
    raise UserError(f"it is a {type(source).__name__}: give a path, a URL, bytes, a Pillow image or an array")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return _bounded(file)
    except OSError as error:
        raise UserError(
            str(describe_os_error(error, path, "read")).removeprefix(f"cannot read {path}: ")
        ) from None


def _fetch(url: str) -> bytes:
    if not url.startswith(("http://", "https://")):
        return _fetch_by_fsspec(url)
    try:
        asked = urllib.request.Request(url, headers={"User-Agent": "imagenet-engine"})
        with urllib.request.urlopen(asked, timeout=URL_SECONDS) as answer:
            return _bounded(answer)
    except urllib.error.HTTPError as error:
        raise UserError(f"the server answers {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"it can't be fetched: {_words(getattr(error, 'reason', error))}") from None


def _fetch_by_fsspec(url: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(url, "rb") as file:
            return _bounded(file)
    # Each file system raises its own kinds.
    except Exception as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"it can't be fetched: {_words(error)}") from None


def _bounded(file: "io.BufferedIOBase") -> bytes:
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"it has more than {human_bytes(MOST_BYTES)}")
    return content


def _words(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _checked(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB (height, width, 3) or gray (height, width); an alpha channel is dropped, as the conversion does."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1 if pixels.ndim == 2 else 0
    if pixels.dtype != np.uint8 or channels not in (1, 3, 4) or not pixels.size:
        raise UserError(
            f"it is an array of {pixels.dtype} and shape {pixels.shape}: give uint8 of shape (height, width, 3)"
        )
    if pixels.ndim == 3:
        pixels = pixels[:, :, 0] if channels == 1 else pixels[:, :, :3]
    return pixels

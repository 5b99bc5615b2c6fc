"""From an image file to RGB pixels, as Pillow and therefore torchvision's users get them.

Grayscale, palette, CMYK and transparent images become RGB by the rule of Pillow's `convert("RGB")`; of more than
8 bits a channel the upper 8 stay. The file is decoded to its end, so that a truncated one is an error here and not
a gray stripe in training.
"""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

# How files begin whose format is known whatever became of the rest.
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")
# Pillow's settings are the process' own.
_SETTINGS = threading.Lock()


class UnreadableError(ValueError):
    """The file is in no image format known here."""


class DamagedError(ValueError):
    """The image is cut short or its data is damaged; says how."""


@contextlib.contextmanager
def open_image(content: bytes, truncated: bool = False) -> Iterator[Image.Image]:
    """The file in Pillow's hands, of any size; `truncated`: what is missing of it is no error.

    Raises UnreadableError, or DamagedError, also for what is met while the image is decoded in the block.
    """
    try:
        # Pillow warns of odd metadata. It does not change the pixels, and a worker's warning would only tear the
        # progress bar. How large an image may be, record.py decides.
        with _SETTINGS, warnings.catch_warnings(), _set(Image, "MAX_IMAGE_PIXELS", None):
            warnings.simplefilter("ignore")
            with (
                _set(ImageFile, "LOAD_TRUNCATED_IMAGES", truncated),
                Image.open(io.BytesIO(content)) as image,
            ):
                yield image
    except UnidentifiedImageError:
        if content.startswith(_MAGIC):
            raise DamagedError("its header is damaged or cut short") from None
        raise UnreadableError("it is not an image in a format known here") from None
    # Pillow's decoders raise whatever a damaged file drives them into: OSError, SyntaxError, ValueError,
    # struct.error, ... Each of them means that this file cannot be used.
    except Exception as error:  # noqa: BLE001
        raise DamagedError(" ".join(str(error).split()) or type(error).__name__) from None


@contextlib.contextmanager
def _set(module: object, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def decode_rgb(content: bytes, truncated: bool = False, upright: bool = False) -> NDArray[np.uint8]:
    """Pixels of an image file's bytes, uint8 of shape (height, width, 3).

    `truncated`: what is missing is left as Pillow leaves it. `upright`: turned as its EXIF data says. Raises ValueError
    as `open_image` does.
    """
    with open_image(content, truncated) as image:
        image.load()
        turned = ImageOps.exif_transpose(image) if upright else image
        if turned.mode.startswith("I"):
            # 16 bits, in 32 in some formats; what is more than that is clipped.
            gray = np.clip(np.asarray(turned), 0, 65535).astype(np.uint16) >> 8
            return np.repeat(gray.astype(np.uint8)[:, :, None], 3, axis=2)
        return np.asarray(turned.convert("RGB"))

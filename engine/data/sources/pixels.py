"""From an image file to RGB pixels, as Pillow and therefore torchvision's users get them.

Grayscale, palette, CMYK, 16-bit and transparent images become RGB by the rule of Pillow's `convert("RGB")`;
EXIF rotation is not applied. The file is decoded to its end, so that a truncated one is an error here and not
a gray stripe in training.
"""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from engine.data.sources.base import printable
from engine.errors import UserError, describe_os_error


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Pixels of an image file, uint8 of shape (height, width, 3). Raises UserError with path and reason."""
    try:
        # Pillow warns of odd metadata and of large images. Neither changes the pixels, and a worker's
        # warning would only tear the progress bar.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        reason = "it is empty" if path.stat().st_size == 0 else "it is not an image in a format known here"
    except OSError as error:
        # Pillow reports damaged content as an OSError without a number, the system with one.
        if error.errno is not None:
            raise describe_os_error(error, printable(path), "read") from None
        reason = _one_line(error)
    # Pillow's decoders raise whatever a damaged file drives them into: SyntaxError, ValueError,
    # struct.error, DecompressionBombError, ... Each of them means that this file cannot be used.
    except Exception as error:  # noqa: BLE001
        reason = _one_line(error)
    raise UserError(f"cannot read image {printable(path)}: {reason}; repair or remove it")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

"""From an image file to RGB pixels, as Pillow and therefore torchvision's users get them.

Grayscale, palette, CMYK, 16-bit and transparent images become RGB by the rule of Pillow's `convert("RGB")`;
EXIF rotation is not applied. The file is decoded to its end, so that a truncated one is an error here and not
a gray stripe in training.
"""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError


def decode_rgb(content: bytes) -> NDArray[np.uint8]:
    """Pixels of an image file's bytes, uint8 of shape (height, width, 3). Raises ValueError with the reason."""
    try:
        # Pillow warns of odd metadata and of large images. Neither changes the pixels, and a worker's
        # warning would only tear the progress bar.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        raise ValueError("it is not an image in a format known here" if content else "it is empty") from None
    # Pillow's decoders raise whatever a damaged file drives them into: OSError, SyntaxError, ValueError,
    # struct.error, DecompressionBombError, ... Each of them means that this file cannot be used.
    except Exception as error:  # noqa: BLE001
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None

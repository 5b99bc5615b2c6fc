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
from PIL import Image, ImageFile, UnidentifiedImageError

from engine.data.decode.orientation import turned

# How files begin whose format is known whatever became of the rest.
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")


@contextlib.contextmanager
def _set(module: object, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


class _Settings:
    """Pillow's settings, which are the process' own: in force for all threads that want the same at a time.

    Pillow warns of odd metadata. It does not change the pixels, and a worker's warning would only tear the progress
    bar. How large an image may be, record.py decides; Pillow's own error comes at twice its limit.
    """

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._users = 0
        self._wanted: tuple[float | None, bool] = (None, False)
        self._before = contextlib.ExitStack()

    @contextlib.contextmanager
    def use(self, most_pixels: float | None, truncated: bool) -> Iterator[None]:
        """Set in the block; waits for threads that want others."""
        wanted = (most_pixels, truncated)
        with self._free:
            self._free.wait_for(lambda: not self._users or self._wanted == wanted)
            if not self._users:
                self._begin(wanted)
            self._users += 1
        try:
            yield
        finally:
            with self._free:
                self._users -= 1
                if not self._users:
                    self._before.close()
                    self._free.notify_all()

    def _begin(self, wanted: tuple[float | None, bool]) -> None:
        self._wanted = wanted
        self._before.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        self._before.enter_context(_set(Image, "MAX_IMAGE_PIXELS", wanted[0]))
        self._before.enter_context(_set(ImageFile, "LOAD_TRUNCATED_IMAGES", wanted[1]))


_SETTINGS = _Settings()


class UnreadableError(ValueError):
    """The file is in no image format known here."""


class OversizedError(ValueError):
    """An image inside the file has more pixels than its header said, and than are allowed."""


class DamagedError(ValueError):
    """The image is cut short or its data is damaged; says how."""


@contextlib.contextmanager
def open_image(
    content: bytes | Image.Image, truncated: bool = False, most_pixels: int = 0
) -> Iterator[Image.Image]:
    """The file, or the image as it is, in Pillow's hands; `truncated`: what is missing of it is no error.

    Raises UnreadableError, OversizedError for more than `most_pixels` (0: any number), or DamagedError, also for what
    is met while the image is decoded in the block.
    """
    try:
        with _SETTINGS.use(most_pixels / 2 or None, truncated):
            if isinstance(content, Image.Image):
                yield content
            else:
                with Image.open(io.BytesIO(content)) as image:
                    yield image
    except UnidentifiedImageError:
        if isinstance(content, bytes) and content.startswith(_MAGIC):
            raise DamagedError("its header is damaged or cut short") from None
        raise UnreadableError("it is not an image in a format known here") from None
    except Image.DecompressionBombError:
        raise OversizedError(f"an image in it has more than {most_pixels:,} pixels") from None
    # It says nothing of the file.
    except MemoryError:
        raise
    # Pillow's decoders raise whatever a damaged file drives them into: OSError, SyntaxError, ValueError,
    # struct.error, ... Each of them means that this file cannot be used.
    except Exception as error:  # noqa: BLE001
        raise DamagedError(" ".join(str(error).split()) or type(error).__name__) from None


def decode_rgb(
    content: bytes | Image.Image, truncated: bool = False, upright: bool = False, most_pixels: int = 0
) -> NDArray[np.uint8]:
    """Pixels of an image file's bytes, or of an image, uint8 of shape (height, width, 3).

    `truncated`: what is missing is left as Pillow leaves it. `upright`: turned as its metadata says. Raises ValueError
    as `open_image` does.
    """
    with open_image(content, truncated, most_pixels) as image:
        image.load()
        if upright:
            image = turned(image)
        if image.mode.startswith("I"):
            # 16 bits, in 32 in some formats; what is more than that is clipped.
            gray = np.clip(np.asarray(image), 0, 65535).astype(np.uint16) >> 8
            return gray_as_rgb(gray.astype(np.uint8))
        return np.asarray(image.convert("RGB"))


def gray_as_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels (height, width), gray, or (height, width, 3), RGB, as RGB."""
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels

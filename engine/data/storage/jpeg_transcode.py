"""JPEG files to records by the C library (native/transcode.c): no detour through RGB, nothing lost needlessly.

Where the library is not built, `verify` and `keep` do by libjpeg-turbo in ffcv's library what they must, or by Pillow,
which finds what is cut short but no damage within; all else goes through Pillow and the storage format's `encode`.
"""

import ctypes

import numpy as np

from engine.data.decode.ffcv_library import ffcv_library
from engine.data.decode.pillow_pixels import DamagedError, decode_rgb
from engine.data.native.library import library
from engine.data.storage.jpeg_header import JpegHeader, without_metadata

_DONE, _DAMAGED, _UNSUITABLE, _TOO_LARGE = range(4)
_EOI = b"\xff\xd9"
# Of 8 x 8 samples at most 64 codes of 16 bits with values of 11, and a header.
_MOST_JPEG_BYTES_PER_SAMPLE, _MOST_HEADER = 4, 65536
# Pixels that share a chroma sample: side by side, one above the other.
SUBSAMPLING = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}


class TooLargeError(ValueError):
    """The record does not fit into its limit."""


class _Job(ctypes.Structure):
    """struct job of transcode.h."""

    _fields_ = (
        ("data", ctypes.c_char_p),
        ("size", ctypes.c_int64),
        ("out", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("capacity", "length", "height", "width")),
        *((name, ctypes.c_int64) for name in ("quality", "across", "down")),
        ("message", ctypes.c_char * 200),
    )


def encoder_name() -> str:
    """Who makes records of JPEGs here, such as "libjpeg-turbo 2.1.5, C": the bytes may differ with it."""
    native = library()
    if native is None or not native.has_jpeg:
        return "Pillow, OpenCV"
    major, minor = divmod(native.jpeg_version(), 1_000_000)
    return f"libjpeg-turbo {major}.{minor // 1000}.{minor % 1000}, C"


def keep(content: bytes, header: JpegHeader, max_bytes: int, *, check: bool = True) -> bytes | None:
    """The JPEG with its own coefficients, to the bit, without metadata and whatever follows its end.

    A baseline JPEG keeps its own entropy-coded data. Another one, or one too unusual to tell, is written anew as a
    baseline JPEG of a single scan: a progressive one takes several times as long to decode, at each epoch again.
    None where it is no JPEG that training can decode, such as CMYK. Raises DamagedError when libjpeg has anything
    against it, TooLargeError when one that is written anew has more than `max_bytes`. Without `check` a baseline JPEG
    is looked at in its header and for its end only.
    """
    if header.components not in (1, 3):
        return None
    jpeg = without_metadata(content, header)
    if header.baseline and not check:
        end = jpeg.rfind(_EOI, len(header.segments))
        if end < 0:
            raise DamagedError("it is cut short: it lacks the end of the image")
        return jpeg[: end + len(_EOI)]
    native = library()
    if native is None or not native.has_jpeg:
        end = jpeg.find(_EOI, len(header.segments)) + len(_EOI)
        jpeg = jpeg[:end] if end >= len(_EOI) else jpeg
        verify(jpeg, header)
        return jpeg
    if header.baseline:
        job = _job(jpeg, header.width, header.height)
        if native.transcode("find_end", job) == _DONE:
            return jpeg[: job.length]
    most = min(max_bytes, _most_jpeg_bytes(header.width, header.height))
    return _run("rewrite", jpeg, header.width, header.height, most)


def to_jpeg(
    content: bytes, size: tuple[int, int], quality: int, subsampling: str, max_bytes: int
) -> bytes | None:
    """A JPEG of a JPEG in this size (width, height), no larger than the image; None where it has to go another way.

    Raises DamagedError, or TooLargeError when it would have more than `max_bytes`.
    """
    native = library()
    if native is None or not native.has_jpeg:
        return None
    most = min(max_bytes, _most_jpeg_bytes(*size))
    return _run("to_jpeg", content, *size, most, quality, SUBSAMPLING[subsampling])


def to_planes(kind: str, content: bytes, size: tuple[int, int], record_bytes: int) -> bytes | None:
    """What transcode.c's function `kind`, to_rgb or to_yuv420, makes of a JPEG in this size (width, height), no larger
    than the image but for a row and column that make it even; None where it has to go another way.

    Raises DamagedError.
    """
    native = library()
    if native is None or not native.has_jpeg:
        return None
    return _run(kind, content, *size, record_bytes)


def verify(content: bytes, header: JpegHeader) -> None:
    """Decode all of a JPEG, as cheaply as can be. Raises DamagedError when libjpeg has anything against it."""
    native = library()
    if native is not None and native.has_jpeg:
        _run("check", content, header.width, header.height, 0)
        return
    if ffcv_library() is None:
        decode_rgb(content)
        return
    # Loads numba: only where it must.
    from engine.data.decode.libffcv import JpegHandle

    reason = JpegHandle().check(content, header.width, header.height, cmyk=header.components == 4)
    if reason:
        raise DamagedError(reason)


def _most_jpeg_bytes(width: int, height: int) -> int:
    # Whole MCUs of 16 x 16 pixels.
    return _MOST_HEADER + _MOST_JPEG_BYTES_PER_SAMPLE * 3 * (width + 15) * (height + 15)


def _job(content: bytes, width: int, height: int) -> _Job:
    return _Job(data=content, size=len(content), width=width, height=height)


def _run(
    kind: str,
    content: bytes,
    width: int,
    height: int,
    most: int,
    quality: int = 0,
    subsampling: tuple[int, int] = (2, 2),
) -> bytes | None:
    native = library()
    assert native is not None
    # Memory that is not touched costs nothing.
    out = np.empty(most, np.uint8)
    job = _job(content, width, height)
    job.out, job.capacity = out.ctypes.data, most
    job.quality, (job.across, job.down) = quality, subsampling
    status = native.transcode(kind, job)
    if status == _DAMAGED:
        raise DamagedError(job.message.decode("ascii", "replace"))
    if status == _TOO_LARGE:
        raise TooLargeError(f"it takes more than {most} bytes")
    return out[: job.length].tobytes() if status == _DONE else None

"""The law between RGB and YUV, once for all of Python: JFIF's, which is BT.601 in full range, so that of JPEG files.

Source: JFIF 1.02, section "Conversion to and from RGB". With u = Cb - 128 and v = Cr - 128:

    R = Y + 1.402 v        G = Y - 0.344136 u - 0.714136 v        B = Y + 1.772 u

native/colour.h says the same to C; a test holds the two equal.
"""

from typing import Any, TypeVar

RED_V, GREEN_U, GREEN_V, BLUE_U = 1.402, 0.344136, 0.714136, 1.772
"""Factors of u and v, for decoders that work in floating point."""

SHIFT = 16
_RED_V, _GREEN_U, _GREEN_V, _BLUE_U = (round(x * 2**SHIFT) for x in (RED_V, GREEN_U, GREEN_V, BLUE_U))
_ROUNDING = 1 << SHIFT - 1

T = TypeVar("T", bound=Any)


def rgb_from_yuv(y: T, u: T, v: T) -> tuple[T, T, T]:
    """Red, green and blue, rounded, not yet limited to 0..255: of integers of at least 32 bits, or arrays of them.

    `u` and `v` are centred: Cb - 128 and Cr - 128. numba can compile it.
    """
    luma = (y << SHIFT) + _ROUNDING
    red, green, blue = luma + _RED_V * v, luma - _GREEN_U * u - _GREEN_V * v, luma + _BLUE_U * u
    return red >> SHIFT, green >> SHIFT, blue >> SHIFT


# The other way, in 1 / 65536: of Cb 0.299 / 1.772 and 0.587 / 1.772, of Cr 0.587 / 1.402 and 0.114 / 1.402. Either pair
# makes up the half, so that grey has no colour.
HALF = 32768
CB_RED, CB_GREEN = 11058, 21710
CR_GREEN, CR_BLUE = 27439, 5329

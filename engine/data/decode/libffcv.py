"""libjpeg-turbo's functions for where our own C decoders could not be built, by way of ffcv's library.

They are made known to numba by name rather than by address: a kernel that calls a name can be cached on
disk, so that a second start does not compile again, and a GIL-free kernel can call it. The library is opened
without importing ffcv, which takes seconds and sets torch's and numba's thread counts to 1.
"""

import ctypes

import llvmlite.binding
from numba import types

from engine.data.decode.ffcv_library import ffcv_library

TJPF_RGB = 0
TJPF_CMYK = 11
TJFLAG_ACCURATEDCT = 4096

_SYMBOLS = ("tjDecompressHeader3", "tjDecompress2")


_library = ctypes.CDLL(str(ffcv_library()))


def _known_to_numba(name: str) -> str:
    """Publish the C function to LLVM under a name of our own and return that name."""
    ours = f"engine_{name}"
    llvmlite.binding.add_symbol(ours, ctypes.cast(getattr(_library, name), ctypes.c_void_p).value)
    return ours


_header_name, _decompress_name = (_known_to_numba(name) for name in _SYMBOLS)

# int tjDecompressHeader3(handle, jpeg, jpeg_size, *width, *height, *subsampling, *colorspace)
decompress_header = types.ExternalFunction(
    _header_name,
    types.int32(types.uintp, types.uintp, types.uint64, types.uintp, types.uintp, types.uintp, types.uintp),
)
# int tjDecompress2(handle, jpeg, jpeg_size, destination, width, pitch, height, pixel_format, flags)
decompress = types.ExternalFunction(
    _decompress_name,
    types.int32(
        types.uintp,
        types.uintp,
        types.uint64,
        types.uintp,
        types.int32,
        types.int32,
        types.int32,
        types.int32,
        types.int32,
    ),
)

_library.tjInitDecompress.restype = ctypes.c_void_p
_library.tjDestroy.argtypes = [ctypes.c_void_p]
_library.tjGetErrorStr2.argtypes = [ctypes.c_void_p]
_library.tjGetErrorStr2.restype = ctypes.c_char_p


class JpegHandle:
    """A libjpeg-turbo decompressor. It has state: one for each thread, freed with the object."""

    def __init__(self) -> None:
        address = _library.tjInitDecompress()
        if not address:
            raise MemoryError("libjpeg-turbo could not make a decompressor")
        self.address: int = address

    def last_error(self) -> str:
        """What libjpeg-turbo said of the last image that this handle failed on."""
        return str(_library.tjGetErrorStr2(self.address).decode("ascii", "replace"))

    def check(self, jpeg: bytes, width: int, height: int, cmyk: bool) -> str:
        """What libjpeg-turbo has against a JPEG of this size, whose data is all looked at; empty: nothing.

        The handle is good for nothing else afterwards.
        """
        columns, rows = (width + 7) // 8, (height + 7) // 8
        out = ctypes.create_string_buffer(columns * rows * 4)
        form = TJPF_CMYK if cmyk else TJPF_RGB
        size = ctypes.c_ulong(len(jpeg))
        # The smallest scale costs the least.
        failed = _library.tjDecompress2(
            ctypes.c_void_p(self.address), jpeg, size, out, columns, 0, rows, form, TJFLAG_ACCURATEDCT
        )
        return self.last_error() if failed else ""

    def __del__(self) -> None:
        if hasattr(self, "address"):
            _library.tjDestroy(self.address)

"""The decoders in C, as the tests of decoding get them."""

from tests.data.decode.conftest import c_library

__all__ = ["c_library"]

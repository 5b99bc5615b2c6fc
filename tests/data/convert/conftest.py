"""Fixtures of the tests of conversions."""

import pytest

from engine.data.native.library import library


@pytest.fixture
def in_c() -> None:
    """Skips where the C library is not built."""
    native = library()
    if native is None or not native.has_jpeg:
        pytest.skip("the C library is not built with JPEG here: run `python -m engine build`")

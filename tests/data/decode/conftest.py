"""Each decoder test runs for the decoders in C and for those in numba, unless it asks for one of them."""

import pytest

from engine.data.native import library as native
from engine.data.native.library import Library


@pytest.fixture(scope="session")
def c_library() -> Library:
    """The decoders in C, all of them; a test that needs them is skipped where they are not built."""
    found = native.library()
    if found is None:
        pytest.skip("the C decoders are not built: run `python -m engine build`")
    if not found.has_jpeg:
        pytest.skip(
            "the C decoders are built without JPEG: install libjpeg-dev, then `python -m engine build`"
        )
    return found


@pytest.fixture(scope="session", params=["C", "numba"])
def library(request: pytest.FixtureRequest) -> Library | None:
    """The decoders in C, then None for those in numba."""
    if request.param == "numba":
        return None
    found: Library = request.getfixturevalue("c_library")
    return found


@pytest.fixture
def portable(library: Library | None) -> bool:
    """The same as DecodePool wants to be told."""
    return library is None

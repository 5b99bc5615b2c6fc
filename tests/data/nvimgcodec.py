"""Tests that call nvImageCodec: run where it is installed, with or without a GPU, and are skipped elsewhere."""

import pytest

from engine.data.gpu.nvjpeg import load_library
from engine.errors import UserError


def _why_not() -> str:
    try:
        load_library()
    except UserError as error:
        return str(error)
    return ""


_REASON = _why_not()
needs_nvimgcodec = pytest.mark.skipif(bool(_REASON), reason=_REASON)

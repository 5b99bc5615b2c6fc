"""The law between RGB and YUV is one: C's header, the integers and the packed path say what colour.py says."""

import re
from pathlib import Path

import numpy as np
import pytest

from engine.data.decode import colour

FACTORS = ("RED_V", "GREEN_U", "GREEN_V", "BLUE_U")
# Files that may hold the numbers themselves: the law for Python, and for C.
LAWS = {"engine/data/decode/colour.py", "engine/data/native/colour.h"}


def test_c_header_factors_equal_python_factors(repository: Path) -> None:
    header = (repository / "engine/data/native/colour.h").read_text()
    found = dict(re.findall(r"^#define (\w+) ([\d.]+)f$", header, re.MULTILINE))
    assert {name: float(value) for name, value in found.items()} == {
        name: getattr(colour, name) for name in FACTORS
    }


def test_factors_equal_jfif_formula() -> None:
    # From its weights of luma: 0.299, 0.587 and 0.114.
    exact = (2 * (1 - 0.299), 0.114 * 1.772 / 0.587, 0.299 * 1.402 / 0.587, 2 * (1 - 0.114))
    assert [getattr(colour, name) for name in FACTORS] == pytest.approx(exact, abs=1e-6)


def test_integer_conversion_is_within_one_rounding() -> None:
    y, u, v = np.meshgrid(np.arange(0, 256, 5), np.arange(-128, 128, 3), np.arange(-128, 128, 3))
    exact = (y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u)
    for found, wanted in zip(colour.rgb_from_yuv(y, u, v), exact, strict=True):
        assert np.abs(found - wanted).max() < 0.502


def test_factors_are_defined_in_listed_files_only(repository: Path) -> None:
    numbers = re.compile(r"\b(0\.344136|0\.714136|91881|22553|46802|116130)")
    files = [*(repository / "engine").rglob("*.py"), *(repository / "engine").rglob("*.[ch]")]
    assert len(files) > 100
    holders = {path.relative_to(repository).as_posix() for path in files if numbers.search(path.read_text())}
    assert holders == LAWS

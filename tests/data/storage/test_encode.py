"""Records are those of ffcv, but never of zero pixels, and always fit the format."""

import numpy as np
import pytest
from ffcv.fields import RGBImageField
from numpy.typing import NDArray

from engine.data.beton import layout
from engine.data.storage import JPEG, RAW
from engine.data.storage.formats import of_mode
from engine.data.storage.shrink import shrink, shrunk_size
from engine.data.storage.storage_format import EncodeSettings
from tests.data.odd_files import pixels_of


def settings(quality: int, subsampling: str = "420") -> EncodeSettings:
    """Nothing is shrunk."""
    return EncodeSettings(
        max_resolution=0, short_side=0, jpeg_quality=quality, jpeg_subsampling=subsampling, max_bytes=2**24
    )


def _noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", [JPEG.mode, RAW.mode])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (31, 17), (64, 64), (200, 100), (100, 250)])
@pytest.mark.parametrize("quality", [50, 90])
def test_records_equal_those_of_ffcv(mode: int, size: tuple[int, int], quality: int) -> None:
    pixels = _noise(*size)
    field = RGBImageField(
        write_mode="jpg" if mode == JPEG.mode else "raw", max_resolution=100, jpeg_quality=quality
    )
    metadata = np.zeros(1, layout.IMAGE)
    memory: list[NDArray[np.uint8]] = []

    def malloc(count: int) -> tuple[int, NDArray[np.uint8]]:
        memory.append(np.zeros(count, np.uint8))
        return 0, memory[0]

    field.encode(metadata, pixels, malloc)
    ours = shrink(pixels, 100)
    assert of_mode(mode).encode(ours, settings(quality)) == memory[0].tobytes()
    assert (mode, ours.shape[1], ours.shape[0], 0) == metadata[0].item()


@pytest.mark.parametrize("longer", range(501, 4000, 117))
def test_longer_side_becomes_exactly_the_maximum(longer: int) -> None:
    assert shrink(np.zeros((longer, 300, 3), np.uint8), 500).shape == (500, 300 * 500 // longer, 3)
    assert shrink(np.zeros((300, longer, 3), np.uint8), 500).shape == (300 * 500 // longer, 500, 3)


def test_shrinking_keeps_small_images_and_a_pixel_of_thin_ones() -> None:
    small = _noise(20, 30)
    assert shrink(small, 30) is small
    assert shrink(small, 0) is small
    assert shrink(np.zeros((5000, 2, 3), np.uint8), 100).shape == (100, 1, 3)


def test_shrunk_size_predicts_shrink() -> None:
    for height, width in np.random.default_rng(0).integers(1, 700, (200, 2)).tolist():
        assert shrunk_size(width, height, 160) == shrink(_noise(height, width), 160).shape[1::-1]


def test_jpeg_subsampling_follows_the_option() -> None:
    # Colours that change from pixel to pixel: only full chroma keeps them.
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[::2, ::2, 0] = pixels[1::2, 1::2, 2] = 255
    errors = {
        name: np.abs(pixels_of(JPEG.encode(pixels, settings(95, name))).astype(int) - pixels).mean()
        for name in ("420", "422", "444")
    }
    assert errors["444"] < 10 < errors["422"] < errors["420"]

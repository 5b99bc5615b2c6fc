"""The field for stock ffcv by itself; tests/data/convert/test_stock_ffcv.py uses it with ffcv's Loader and writer."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine.data.fields.yuv420 import Yuv420Field, _to_rgb
from engine.data.storage import YUV420
from engine.data.storage.yuv420 import encode_yuv420
from engine.errors import UserError
from tests.data.conftest import photo


def _encode(field: Yuv420Field, image: object) -> tuple[NDArray[np.void], bytes]:
    """The metadata and the record that ffcv's writer would store."""
    metadata = np.zeros(1, field.metadata_type)
    memory: list[NDArray[np.uint8]] = []

    def malloc(count: int) -> tuple[int, NDArray[np.uint8]]:
        memory.append(np.zeros(count, np.uint8))
        return 4096, memory[0]

    field.encode(metadata, image, malloc)
    return metadata, memory[0].tobytes()


def test_pil_and_numpy_images_are_encoded() -> None:
    pixels = photo(20, 31)
    expected = encode_yuv420(np.pad(pixels, ((0, 0), (0, 1), (0, 0)), mode="edge"))
    for image in (pixels, Image.fromarray(pixels)):
        metadata, record = _encode(Yuv420Field(), image)
        assert metadata.tolist() == [(YUV420.mode, 32, 20, 4096)]
        assert record == expected


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3))]
)
def test_other_than_rgb_image_is_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(TypeError, match="an RGB image"):
        _encode(Yuv420Field(), image)


def test_limits_survive_the_file() -> None:
    arguments = Yuv420Field(short_side=0, max_resolution=320).to_binary()[0]
    assert (arguments.dtype, arguments.shape) == (np.uint8, (1024,))
    again = Yuv420Field.from_binary(arguments)
    assert (again.short_side, again.max_resolution) == (0, 320)


@pytest.mark.parametrize("place", [0, 8], ids=["magic", "version"])
def test_other_magic_or_version_is_refused(place: int) -> None:
    arguments = Yuv420Field().to_binary()[0].copy()
    arguments[place] += 1
    with pytest.raises(UserError, match="not yuv420"):
        Yuv420Field.from_binary(arguments)


def test_rgb_is_within_a_level_of_jfif() -> None:
    y, cb, cr = np.meshgrid([0, 1, 60, 128, 200, 255], [0, 90, 128, 129, 255], [0, 100, 128, 131, 255])
    colours = np.stack([y, cb, cr], -1).reshape(-1, 3)
    found = []
    for luma, blue, red in colours.tolist():
        rgb = np.zeros((2, 2, 3), np.uint8)
        _to_rgb(np.array([luma] * 4 + [blue, red], np.uint8), rgb)
        assert (rgb == rgb[0, 0]).all()
        found.append(rgb[0, 0])
    luma, blue, red = (colours - [0, 128, 128]).T.astype(float)
    green = luma - (0.114 * 1.772 * blue + 0.299 * 1.402 * red) / 0.587
    expected = np.stack([luma + 1.402 * red, green, luma + 1.772 * blue], -1)
    assert np.abs(np.array(found) - expected.clip(0, 255)).max() < 0.51


def test_chroma_is_upsampled_to_the_right_pixels() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    for row in range(2):
        for column in range(3):
            pixels[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = (
                90 * row,
                60 * column,
                200 - 80 * row,
            )
    again = np.zeros_like(pixels)
    _to_rgb(np.frombuffer(encode_yuv420(pixels), np.uint8), again)
    assert np.abs(again.astype(int) - pixels).max() <= 2


def test_conversion_imports_neither_ffcv_nor_torch(repository: Path) -> None:
    program = (
        "import sys, engine.data.convert.conversion, engine.data.beton.reader, engine.cli.inspect\n"
        "print({'ffcv', 'numba', 'torch', 'engine.data.fields.yuv420'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")

"""The network's input against Pillow's and torchvision's own: odd sizes, gray, CMYK, transparent, rotated."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchvision.transforms import functional

from engine.data.sampling.crops import resized_side
from engine.predict.preprocess import Preprocessor
from tests.predict.conftest import card

Picture = Callable[..., Path]
_SIDE = 48
_PLAIN = Preprocessor(card(side=_SIDE, crop_law="torchvision").preprocessing)
_UPRIGHT = Preprocessor(card(side=_SIDE, crop_law="torchvision", exif="apply").preprocessing)


def _by_pillow(image: Image.Image) -> NDArray[np.int64]:
    """torchvision's Resize (of Pillow) and CenterCrop, in levels."""
    small = functional.resize(image.convert("RGB"), [resized_side(_SIDE, 0.875)])
    return np.asarray(functional.center_crop(small, [_SIDE, _SIDE])).astype(np.int64)


def _mean_difference(path: Path, by: Preprocessor = _PLAIN, *, upright: bool = False) -> float:
    with Image.open(path) as image:
        reference = _by_pillow(ImageOps.exif_transpose(image) if upright else image)
    return float(np.abs(by.image(path).astype(np.int64) - reference).mean())


@pytest.mark.parametrize("form", ["jpg", "png"])
def test_odd_sizes_are_within_a_level_of_pillow(form: str, picture: Picture) -> None:
    draw = np.random.default_rng(7)
    for _ in range(12):
        width, height = (int(side) for side in draw.integers(17, 400, 2))
        path = picture(f"{width}x{height}.{form}", width, height)
        assert _mean_difference(path) < 1, (width, height)


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("gray.jpg", "L", {}),
        ("cmyk.jpg", "CMYK", {}),
        ("progressive.jpg", "RGB", {"progressive": True}),
        ("full-colour.jpg", "RGB", {"subsampling": 0}),
        ("gray.png", "L", {}),
        ("palette.png", "P", {}),
        ("transparent.png", "RGBA", {}),
        ("gray-alpha.png", "LA", {}),
        ("bits.png", "1", {}),
        ("photo.webp", "RGB", {"quality": 90}),
        ("photo.tif", "RGB", {}),
        ("photo.bmp", "RGB", {}),
        ("photo.gif", "P", {}),
        ("misnamed.png", "RGB", {"format": "JPEG"}),
    ],
)
def test_odd_images_are_within_a_level_of_pillow(
    name: str, mode: str, options: dict[str, object], picture: Picture
) -> None:
    path = picture(name, 123, 85, mode=mode, **options)
    assert _mean_difference(path) < 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_images_are_within_a_level_of_pillow(orientation: int, picture: Picture) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = picture(f"turned{orientation}.jpg", 123, 85, exif=exif)
    assert _mean_difference(path, _UPRIGHT, upright=True) < 1
    assert _mean_difference(path) < 1


def test_sixteen_bits_keep_the_upper_eight(tmp_path: Path) -> None:
    levels = np.random.default_rng(1).integers(0, 2**16, (64, 64), np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    found = _PLAIN.image(tmp_path / "deep.png").astype(np.int64)
    expected = _by_pillow(Image.fromarray((levels >> 8).astype(np.uint8)))
    assert np.abs(found - expected).mean() < 1

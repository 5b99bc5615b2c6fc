"""The network's input: equal to validation's where the file holds the image unchanged, and Pillow's to a level."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert
from engine.data.loading.loader import Loader
from engine.data.sampling.crops import centre_crop
from engine.errors import UserError
from engine.predict.preprocess import Preprocessor
from tests.predict.conftest import card

Picture = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(picture: Picture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of JPEGs that a conversion keeps: odd sizes, gray, progressive, 4:4:4."""
    root = tmp_path_factory.mktemp("folder")
    files = [
        picture("plain.jpg", 61, 47),
        picture("tall.jpg", 41, 93, quality=95, subsampling=0),
        picture("gray.jpg", 50, 50, mode="L"),
        picture("progressive.jpg", 77, 64, progressive=True),
        picture("metadata.jpg", 64, 40, exif=_orientation(6)),
    ]
    for split in ("train", "val"):
        (root / split / "a").mkdir(parents=True)
        for path in files:
            (root / split / "a" / path.name).write_bytes(path.read_bytes())
    return root


def _orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("crop_law", ["fused", "torchvision"])
def test_input_equals_validations_to_the_bit(crop_law: str, folder: Path, tmp_path: Path) -> None:
    asked = card(crop_law=crop_law, side=24).preprocessing
    config = WriteConfig(
        source=SourceConfig(path=str(folder)), output=OutputConfig(folder=str(tmp_path), num_workers=1)
    )
    beton = open_beton(convert(config)["val"])
    assert beton.manifest is not None
    crop = centre_crop(asked.crop_law, asked.resolution, asked.ratio)
    with Loader(beton, device=torch.device("cpu"), in_memory=False) as loader:
        (batch,) = loader.batches([np.arange(beton.num_samples)], asked.resolution, crop)
        images = batch.images.clone()
    own = Preprocessor(asked)
    found = own.normalise(np.stack([own.image(folder / "val" / name) for name in beton.manifest.ids]))
    assert len(found) == 5 and torch.equal(found, images)


def test_rotation_follows_the_cards_rule(picture: Picture) -> None:
    path = picture("turned.jpg", 64, 40, exif=_orientation(6))
    upright = np.asarray(Image.open(path).convert("RGB").transpose(Image.Transpose.ROTATE_270))
    ignoring, applying = Preprocessor(card().preprocessing), Preprocessor(card(exif="apply").preprocessing)
    expected = applying.image(upright).astype(int)
    assert np.abs(applying.image(path).astype(int) - expected).mean() < 1
    assert np.abs(ignoring.image(path).astype(int) - expected).mean() > 10


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), "it is an array of float32"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\): give uint8"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
    ],
)
def test_array_of_another_kind_is_refused(array: np.ndarray, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Preprocessor(card().preprocessing).image(array)

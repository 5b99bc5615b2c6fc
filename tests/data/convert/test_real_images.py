"""Real photos go through: the 488 of imagenet-photos in every mode, and a part of CIFAR-10."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.config.write import SourceConfig
from engine.data.beton.reader import open_beton
from engine.data.decode.pillow_pixels import decode_rgb
from engine.data.sources import open_split
from engine.data.storage import RAW
from engine.data.storage.shrink import shrink
from tests.data.odd_files import pixels_of

Run = Callable[..., subprocess.CompletedProcess[str]]

_TRAIN, _VAL = 391, 97
_MAX_RESOLUTION = 160


@pytest.mark.parametrize("mode", ["jpeg", "raw", "proportion"])
def test_all_photos_convert(photos: Path, write_dataset: Run, tmp_path: Path, mode: str) -> None:
    options = [f"output.format={mode}", f"output.max_resolution={_MAX_RESOLUTION}", "output.jpeg_quality=95"]
    options += ["output.order=source"]
    done = write_dataset(f"source.path={photos}", f"output.folder={tmp_path}/out", *options, timeout=180)
    assert done.returncode == 0, done.stderr
    source = open_split(SourceConfig(path=str(photos)), "train")
    train, val = (open_beton(tmp_path / f"out/{split}.beton") for split in ("train", "val"))
    assert (train.num_samples, val.num_samples) == (_TRAIN, _VAL)
    assert train.manifest is not None
    assert train.manifest.ids == tuple(source.ids)
    assert train.labels.tolist() == list(source.labels)
    assert train.manifest.rejects == () and train.manifest.odd["grayscale"] > 0
    longer = np.maximum(train.images["width"], train.images["height"])
    assert longer.max() == _MAX_RESOLUTION
    memory = train.memory()
    for index in range(0, train.num_samples, 12):
        content = source.read(index)
        assert isinstance(content, bytes)
        image, expected = train.images[index], shrink(decode_rgb(content), _MAX_RESOLUTION)
        record = memory[int(image["data_ptr"]) :][: int(train.sizes[index])].tobytes()
        if image["mode"] == RAW.mode:
            decoded = np.frombuffer(record, np.uint8).reshape(expected.shape)
        else:
            decoded = pixels_of(record)
        # Shrinking is partly the DCT's work, which keeps more contrast than means do.
        assert decoded.shape == expected.shape
        assert np.abs(decoded.astype(int) - expected).mean() < 8


def test_photos_include_gray_and_other_odd_ones(photos: Path) -> None:
    modes = set()
    for path in photos.rglob("*.JPEG"):
        with Image.open(path) as image:
            modes.add(image.mode)
    assert "L" in modes, "the data set no longer shows that gray photos convert"


def test_part_of_cifar10_converts(cifar10: Path, write_dataset: Run, tmp_path: Path) -> None:
    options = ["source.val_folder=test", f"output.folder={tmp_path}/out", "output.format=raw"]
    done = write_dataset(f"source.path={cifar10}", *options)
    assert done.returncode == 0, done.stderr
    train, val = (open_beton(tmp_path / f"out/{split}.beton") for split in ("train", "val"))
    assert (train.num_samples, val.num_samples) == (600, 200)
    assert train.manifest is not None and val.manifest is not None
    assert train.manifest.classes == val.manifest.classes
    assert train.manifest.classes[0] == "airplane" and train.manifest.classes[9] == "truck"
    assert np.bincount(train.labels).tolist() == [60] * 10
    assert np.bincount(val.labels).tolist() == [20] * 10
    for index in (0, 57, 599):
        name = train.manifest.ids[index]
        assert name.startswith(train.manifest.classes[train.labels[index]] + "/")
        start = int(train.images["data_ptr"][index])
        pixels = train.memory()[start : start + 32 * 32 * 3].reshape(32, 32, 3)
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(cifar10 / "train" / name).convert("RGB")))

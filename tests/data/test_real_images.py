"""Real photos go through: the 488 of imagenet-photos in every mode, and a part of CIFAR-10."""

import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from engine.config.schema import SourceConfig
from engine.data import layout
from engine.data.beton import open_beton
from engine.data.encode import shrink
from engine.data.sources import open_split

Run = Callable[..., subprocess.CompletedProcess[str]]

_PHOTOS = 488
_CLASSES = 8
_MAX_RESOLUTION = 160


@pytest.fixture(scope="module")
def photos(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos as an image folder of 8 made-up classes: 8 photos for validation, the others to train on."""
    archive = shared_data / "imagenet-photos.tar"
    if not archive.is_file():
        pytest.skip(f"no photos here: {archive} does not exist")
    root = tmp_path_factory.mktemp("photos")
    with tarfile.open(archive) as tar:
        members = sorted((m for m in tar.getmembers() if m.name.endswith(".JPEG")), key=lambda m: m.name)
        for i, member in enumerate(members):
            split = "val" if i < _CLASSES else "train"
            path = root / split / f"class{i % _CLASSES}" / Path(member.name).name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None
            path.write_bytes(content.read())
    assert len(members) == _PHOTOS
    return root


@pytest.mark.parametrize("mode", ["jpeg", "raw", "proportion"])
def test_all_photos_convert(photos: Path, write_dataset: Run, tmp_path: Path, mode: str) -> None:
    options = [f"output.format={mode}", f"output.max_resolution={_MAX_RESOLUTION}", "output.jpeg_quality=95"]
    done = write_dataset(f"source.path={photos}", f"output.folder={tmp_path}/out", *options, timeout=180)
    assert done.returncode == 0, done.stderr
    source = open_split(SourceConfig(path=str(photos)), "train")
    train, val = (open_beton(tmp_path / f"out/{split}.beton") for split in ("train", "val"))
    assert (train.num_samples, val.num_samples) == (_PHOTOS - _CLASSES, _CLASSES)
    assert train.manifest is not None
    assert train.manifest.ids == tuple(source.ids)
    assert train.labels.tolist() == source.labels
    longer = np.maximum(train.images["width"], train.images["height"])
    assert longer.max() == _MAX_RESOLUTION
    memory = train.memory()
    for index in range(0, train.num_samples, 12):
        image, expected = train.images[index], shrink(source.read(index), _MAX_RESOLUTION)
        record = np.array(memory[int(image["data_ptr"]) :][: int(train.sizes[index])])
        if image["mode"] == layout.MODE_RAW:
            np.testing.assert_array_equal(record.reshape(expected.shape), expected)
        else:
            decoded = cv2.imdecode(record, cv2.IMREAD_COLOR)
            assert decoded is not None and decoded.shape == expected.shape
            assert np.abs(decoded[:, :, ::-1].astype(int) - expected).mean() < 6


def test_gray_and_other_odd_photos_are_among_them(photos: Path) -> None:
    modes = set()
    for path in photos.rglob("*.JPEG"):
        with Image.open(path) as image:
            modes.add(image.mode)
    assert "L" in modes, "the data set no longer shows that gray photos convert"


@pytest.fixture(scope="module")
def cifar(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 40 training and 10 test images of each class of CIFAR-10."""
    archive = shared_data / "cifar10-jpeg.tgz"
    if not archive.is_file():
        pytest.skip(f"no CIFAR-10 here: {archive} does not exist")
    root = tmp_path_factory.mktemp("cifar")
    taken: dict[str, int] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            if not name.endswith(".jpg") or taken.get(folder, 0) >= (
                40 if folder.startswith("train") else 10
            ):
                continue
            taken[folder] = taken.get(folder, 0) + 1
            content = tar.extractfile(member)
            assert content is not None
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / member.name).write_bytes(content.read())
    return root


def test_a_part_of_cifar_10_converts(cifar: Path, write_dataset: Run, tmp_path: Path) -> None:
    options = ["source.val_folder=test", f"output.folder={tmp_path}/out", "output.format=raw"]
    done = write_dataset(f"source.path={cifar}", *options)
    assert done.returncode == 0, done.stderr
    train, val = (open_beton(tmp_path / f"out/{split}.beton") for split in ("train", "val"))
    assert (train.num_samples, val.num_samples) == (400, 100)
    assert train.manifest is not None and val.manifest is not None
    assert train.manifest.classes == val.manifest.classes
    assert train.manifest.classes[0] == "airplane" and train.manifest.classes[9] == "truck"
    assert np.bincount(train.labels).tolist() == [40] * 10
    assert np.bincount(val.labels).tolist() == [10] * 10
    for index in (0, 57, 399):
        name = train.manifest.ids[index]
        assert name.startswith(train.manifest.classes[train.labels[index]] + "/")
        start = int(train.images["data_ptr"][index])
        pixels = train.memory()[start : start + 32 * 32 * 3].reshape(32, 32, 3)
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(cifar / "train" / name).convert("RGB")))

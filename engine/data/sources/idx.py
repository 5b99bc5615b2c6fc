"""MNIST-style idx files: one file of images, one of labels for each split, gzipped or not.

Found in the given folder itself (Debian's dataset-fashion-mnist) or where torchvision puts its downloads
(`FashionMNIST/raw`). Fashion-MNIST is known by the checksum of its labels, not by a folder's name; any other
set has its label numbers as class names.
"""

import gzip
import os
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.config.write import SourceConfig
from engine.data.sources.base import Source, SourceKind, Split
from engine.errors import UserError, describe_os_error

FASHION_MNIST = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# CRC-32 of all labels of the training and of the test split, one byte each.
_FASHION_MNIST_CRC = {0x2ED6E46A, 0x242BC73F}

_FILE_PREFIX = {"train": ("train",), "val": ("t10k", "test")}
_IMAGES, _LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"


@dataclass(frozen=True)
class IdxReader:
    """Reads images from one idx file; each process keeps the file's content after the first read."""

    path: Path

    def read(self, place: int) -> NDArray[np.uint8]:
        """Gray levels, uint8 of shape (height, width). Raises UserError naming the file."""
        return _load(self.path, 3)[place]

    def where(self, place: int) -> str:
        """The file's path and the image's number in it."""
        return f"image {place} of {self.path}"


def find(config: SourceConfig, split: Split) -> Source | None:
    """The split in idx files at `config.path`, None when there are none. Raises UserError for bad files."""
    folder = None if "://" in config.path else _folder(Path(config.path))
    if folder is None:
        return None
    prefix = _prefix(folder, split)
    images_path, labels_path = (_file(folder, f"{prefix}-{kind}") for kind in (_IMAGES, _LABELS))
    images, labels = _load(images_path, 3), _load(labels_path, 1)
    if len(images) != len(labels):
        raise UserError(
            f"{images_path} has {len(images)} images and {labels_path.name} {len(labels)} labels: "
            f"get both again"
        )
    if not images.size:
        raise UserError(f"{images_path} holds no images: get it again")
    return Source(
        kind="idx files",
        classes=_class_names(labels),
        labels=[int(label) for label in labels],
        ids=[f"{split}/{index:05d}" for index in range(len(labels))],
        places=range(len(labels)),
        reader=IdxReader(images_path),
    )


KIND = SourceKind(
    name="idx",
    help="a local folder of MNIST-style idx files",
    find=find,
)


def _folder(path: Path) -> Path | None:
    """The folder with idx files: `path`, or one where torchvision puts them below it."""
    candidates = [path, path / "raw", path / "FashionMNIST/raw", path / "MNIST/raw"]
    return next((one for one in candidates if any(f"-{_IMAGES}" in name for name in _names(one))), None)


def _names(folder: Path) -> list[str]:
    """The names in the folder; none where it can't be listed: a source that is probed later says why."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _prefix(folder: Path, split: Split) -> str:
    """How the names of the split's two files begin. Raises UserError where there are files of two such names."""
    there = _names(folder)
    found = [prefix for prefix in _FILE_PREFIX[split] if any(name.startswith(f"{prefix}-") for name in there)]
    if len(found) > 1:
        raise UserError(
            f"{folder} has idx files of {split} under two names, {found[0]}- and {found[1]}-: remove those of one"
        )
    return (*found, *_FILE_PREFIX[split])[0]


def _file(folder: Path, name: str) -> Path:
    """The file of this name, or its gzip; the unpacked one where both are there. Raises UserError where they differ."""
    paths = [folder / one for one in (name, f"{name}.gz") if one in _names(folder)]
    if not paths:
        raise UserError(f"no file {name} (or .gz) in {folder}: get the data set again")
    dimensions = 3 if name.endswith(_IMAGES) else 1
    if not np.array_equal(_load(paths[0], dimensions), _load(paths[-1], dimensions)):
        raise UserError(f"{paths[0]} and {paths[-1].name} are not the same data: remove the wrong one")
    return paths[0]


@lru_cache(maxsize=4)
def _load(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes. Raises UserError when it is not one, or is cut short."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged ({error}): get it again") from None
    except OSError as error:
        raise describe_os_error(error, path, "read") from None
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes((0, 0, 8, dimensions)):
        raise UserError(f"{path} is not an idx file of {dimensions}-dimensional bytes: get it again")
    shape = np.frombuffer(data[4:start], ">u4").astype(np.int64)
    expected = start + int(np.prod(shape, dtype=object))
    if len(data) != expected:
        raise UserError(f"{path} is damaged: {len(data)} bytes instead of {expected}; get it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(tuple(shape))


def _class_names(labels: NDArray[np.uint8]) -> list[str]:
    if zlib.crc32(labels.tobytes()) in _FASHION_MNIST_CRC:
        return list(FASHION_MNIST)
    # At least ten, so that a small part of a set in which the last digits are absent keeps all classes.
    return [str(digit) for digit in range(max(10, int(labels.max()) + 1))]

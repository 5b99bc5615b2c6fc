"""MNIST-style idx files become classes, labels and pixels, or one line that says what is wrong with them."""

import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.data.sources.idx import FASHION_MNIST
from engine.errors import UserError
from tests.data.sources.forms import idx_bytes, open_source, refused, write_idx_split

FASHION = Path("/usr/share/datasets/fashion-mnist")


def _write_idx(folder: Path, count: int = 12, ending: str = ".gz", digits: int = 10) -> NDArray[np.uint8]:
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (count, 5, 7), dtype=np.uint8)
    labels = np.arange(count, dtype=np.uint8) % digits
    for prefix in ("train", "t10k"):
        write_idx_split(folder, prefix, images, labels, ending)
    return images


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("below", [".", "raw", "FashionMNIST/raw", "MNIST/raw"])
def test_idx_files_are_found_in_all_usual_folders(tmp_path: Path, ending: str, below: str) -> None:
    images = _write_idx(tmp_path / "set" / below, ending=ending)
    source = open_source(tmp_path / "set", "val")
    assert source.ids[:2] == ["val/00000", "val/00001"]
    assert source.classes == [str(digit) for digit in range(10)]
    assert source.labels == [*range(10), 0, 1]
    pixels = source.read(3)
    assert isinstance(pixels, np.ndarray)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, images[3])
    assert source.where(3).startswith("image 3 of ")


def test_pickled_reader_holds_no_images(tmp_path: Path) -> None:
    _write_idx(tmp_path / "set", count=2000)
    source = open_source(tmp_path / "set")
    packed = pickle.dumps(source.reader)
    assert len(packed) < 1000
    np.testing.assert_array_equal(pickle.loads(packed).read(5), source.read(5))


def test_more_labels_than_digits_are_all_kept(tmp_path: Path) -> None:
    _write_idx(tmp_path / "set", count=26, digits=26)
    assert len(open_source(tmp_path / "set").classes) == 26


@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_recognised_by_its_labels() -> None:
    train, val = open_source(FASHION), open_source(FASHION, "val")
    assert train.classes == val.classes == list(FASHION_MNIST)
    assert (len(train), len(val)) == (60000, 10000)
    assert train.classes[train.labels[0]] == "Ankle boot"
    assert np.asarray(val.read(0)).shape == (28, 28)


def _damage(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("train-images-idx3-ubyte", lambda data: data[:-1], "is damaged: .* bytes instead of"),
        ("train-images-idx3-ubyte", lambda data: b"hello" + data, "is not an idx file"),
        ("train-images-idx3-ubyte", lambda data: data[:9], "is not an idx file"),
        (
            "train-labels-idx1-ubyte",
            lambda data: idx_bytes(np.zeros(3, np.uint8)),
            "12 images and .* 3 labels",
        ),
    ],
)
def test_damaged_idx_files_are_named(
    tmp_path: Path, name: str, change: Callable[[bytes], bytes], expected: str
) -> None:
    _write_idx(tmp_path / "set", ending="")
    _damage(tmp_path / "set", name, change)
    with pytest.raises(UserError, match=expected):
        open_source(tmp_path / "set")


@pytest.mark.parametrize(
    "change", [lambda data: data[:-9], lambda data: b"no gzip" + data, lambda data: data[:40] + data[45:]]
)
def test_damaged_gzip_files_are_named(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    _write_idx(tmp_path / "set")
    _damage(tmp_path / "set", "train-images-idx3-ubyte.gz", change)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        open_source(tmp_path / "set")


def test_missing_idx_files_are_named(tmp_path: Path) -> None:
    _write_idx(tmp_path / "set")
    (tmp_path / "set/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match=r"no file t10k-labels-idx1-ubyte \(or \.gz\) in "):
        open_source(tmp_path / "set", "val")


def test_files_of_one_split_under_two_names_are_refused(tmp_path: Path) -> None:
    _write_idx(tmp_path / "set", ending="")
    (tmp_path / "set/t10k-labels-idx1-ubyte").rename(tmp_path / "set/test-labels-idx1-ubyte")
    said = f"{tmp_path}/set has idx files of val under two names, t10k- and test-: remove those of one"
    assert refused(tmp_path / "set", "val") == said


def test_packed_and_unpacked_files_must_be_the_same(tmp_path: Path) -> None:
    for ending in ("", ".gz"):
        _write_idx(tmp_path / ending / "set", ending=ending)
    packed = tmp_path / ".gz/set/train-labels-idx1-ubyte.gz"
    packed.rename(tmp_path / "set" / packed.name)
    assert len(open_source(tmp_path / "set")) == 12
    write_idx_split(tmp_path / "set", "train", np.zeros((12, 5, 7), np.uint8), np.zeros(12, np.uint8))
    both = f"{tmp_path}/set/train-images-idx3-ubyte and train-images-idx3-ubyte.gz"
    assert refused(tmp_path / "set") == f"{both} are not the same data: remove the wrong one"


@contextmanager
def _as_nobody() -> Iterator[None]:
    """Root may read everything: for as long as this lasts it is another user."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize(("mode", "above"), [(0o000, 0o711), (0o444, 0o711), (0o755, 0o000)])
def test_unreadable_folder_is_refused_in_one_line(mode: int, above: int) -> None:
    # pytest's own folders are root's alone.
    with tempfile.TemporaryDirectory() as folder:
        folders = {Path(folder) / "set": mode, Path(folder): above}
        _write_idx(Path(folder) / "set")
        for path, bits in folders.items():
            path.chmod(bits)
        try:
            with _as_nobody():
                message = refused(Path(folder) / "set")
        finally:
            for path in reversed(folders):
                path.chmod(0o700)
    assert "permission denied: check the owner and mode" in message


def test_too_long_path_is_refused_in_one_line() -> None:
    name = "n" * 300
    assert refused(name) == f"source.path {name} does not exist: pass the folder or file of the data set"

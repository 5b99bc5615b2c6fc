"""The benchmark's images: the same file for the same input, another one for another, and clear refusals."""

import tarfile
from pathlib import Path

import cv2
import pytest

from benchmarks.images import prepare, synthetic_photo
from engine.data import layout
from engine.data.beton import open_beton
from engine.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten photos at different depths, and a file that is none."""
    for i in range(10):
        path = tmp_path / "photos" / ("deep" if i % 2 else "") / f"{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = cv2.resize(synthetic_photo(i), (40 + i, 30))
        assert cv2.imwrite(str(path.with_suffix(".jpg")), image)
        path.with_suffix(".jpg").rename(path)
    (tmp_path / "photos" / "README").write_text("no image")
    return tmp_path / "photos"


def test_a_folder_is_converted_once(folder: Path, cache: Path) -> None:
    first = prepare(folder, "raw", 100)
    written = first.beton.stat()
    assert prepare(folder, "raw", 100) == first
    assert first.beton.stat() == written
    assert first.beton.is_relative_to(cache)
    assert first.num_samples == 10
    assert (open_beton(first.beton).images["mode"] == layout.MODE_RAW).all()
    assert first.identity.startswith("photos: 10 images, 44 x 30 pixels on average, 3.00 bytes per pixel")


def test_a_changed_folder_is_converted_anew(folder: Path, cache: Path) -> None:
    first = prepare(folder, "jpeg", 100)
    (folder / "0.JPEG").unlink()
    assert prepare(folder, "jpeg", 100).num_samples == 9
    assert first.beton.exists()


def test_a_damaged_file_is_written_again(folder: Path, cache: Path) -> None:
    first = prepare(folder, "jpeg", 100)
    first.beton.write_bytes(first.beton.read_bytes()[:-8])
    assert prepare(folder, "jpeg", 100) == first


def test_a_part_is_spread_evenly(folder: Path, cache: Path) -> None:
    found = open_beton(prepare(folder, "raw", 5).beton)
    # Sorted by path: 0, 2, 4, 6, 8, then deep/1, 3, 5, 7, 9; every second one of these.
    assert sorted(found.images["width"].tolist()) == [40, 43, 44, 47, 48]


def test_a_tar_gives_the_pixels_of_its_files(folder: Path, cache: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(folder, "photos")
    ours, theirs = (open_beton(prepare(path, "raw", 100).beton) for path in (folder, tmp_path / "photos.tar"))
    assert sorted(ours.images["width"].tolist()) == sorted(theirs.images["width"].tolist())
    assert theirs.num_samples == 10


def test_made_up_photos_weigh_what_photos_weigh(cache: Path) -> None:
    made = prepare(None, "jpeg", 12)
    beton = open_beton(made.beton)
    pixels = beton.images["width"].astype(float) * beton.images["height"]
    # 0.23 for the photos of imagenet-photos.tar, written with the same settings.
    assert 0.1 < beton.sizes.sum() / pixels.sum() < 0.5
    assert made.identity.startswith("synthetic photo-like images, no real ones: 12 images")


@pytest.mark.parametrize("content", ["text", "empty folder"])
def test_what_holds_no_images_is_refused(content: str, cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "input"
    if content == "text":
        path.write_text("no tar")
    else:
        path.mkdir()
    with pytest.raises(UserError, match=r"no tar that can be read|holds no images"):
        prepare(path, "jpeg", 100)
    assert not list(cache.rglob(f"{path.stem}-*/*"))

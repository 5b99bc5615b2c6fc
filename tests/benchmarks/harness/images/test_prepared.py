"""The images: the same file for the same input, another one for another, clear refusals."""

import tarfile
from pathlib import Path

import pytest

from benchmarks.harness.images.prepared import prepare
from engine.data.beton.reader import open_beton
from engine.data.storage import RAW
from engine.errors import UserError


def test_folder_is_converted_once(folder: Path, cache: Path) -> None:
    first = prepare(folder, "raw")
    written = first.beton.stat()
    assert prepare(folder, "raw") == first
    assert first.beton.stat() == written
    assert first.beton.is_relative_to(cache)
    assert first.num_samples == 10
    assert (open_beton(first.beton).images["mode"] == RAW.mode).all()
    assert first.identity.startswith(
        "photos: 10 images, raw, 44 x 30 pixels on average, 3.00 bytes per pixel"
    )


def test_changed_folder_is_converted_again(folder: Path, cache: Path) -> None:
    first = prepare(folder, "jpeg")
    (folder / "0.JPEG").unlink()
    assert prepare(folder, "jpeg").num_samples == 9
    assert first.beton.exists()


def test_damaged_file_is_written_again(folder: Path, cache: Path) -> None:
    first = prepare(folder, "jpeg")
    first.beton.write_bytes(first.beton.read_bytes()[:-8])
    assert prepare(folder, "jpeg") == first


def test_subset_is_spread_evenly(folder: Path, cache: Path) -> None:
    found = open_beton(prepare(folder, "raw", 5).beton)
    # Sorted by path: 0, 2, 4, 6, 8, then deep/1, 3, 5, 7, 9; every second one of these.
    assert sorted(found.images["width"].tolist()) == [40, 43, 44, 47, 48]


@pytest.mark.parametrize("count", [None, 7])
def test_storages_hold_the_same_images_in_the_same_order(
    count: int | None, folder: Path, cache: Path
) -> None:
    betons = [open_beton(prepare(folder, storage, count).beton) for storage in ("jpeg", "raw", "yuv420")]
    manifests = [beton.manifest for beton in betons]
    assert manifests[0] is not None
    for beton, manifest in zip(betons, manifests, strict=True):
        assert manifest is not None
        assert manifest.ids == manifests[0].ids
        assert (beton.labels == betons[0].labels).all()


def test_tar_has_the_pixels_of_its_files(folder: Path, cache: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(folder, "photos")
    ours, theirs = (open_beton(prepare(path, "raw").beton) for path in (folder, tmp_path / "photos.tar"))
    assert sorted(ours.images["width"].tolist()) == sorted(theirs.images["width"].tolist())
    assert theirs.num_samples == 10


def test_made_up_photos_have_the_size_of_real_ones(cache: Path) -> None:
    made = prepare(None, "jpeg", 12)
    beton = open_beton(made.beton)
    pixels = beton.images["width"].astype(float) * beton.images["height"]
    # 0.23 for the photos of imagenet-photos.tar, written with the same settings.
    assert 0.1 < beton.sizes.sum() / pixels.sum() < 0.5
    assert made.identity.startswith("synthetic photo-like images, no real ones: 12 images")


@pytest.mark.parametrize("content", ["text", "empty folder"])
def test_input_without_images_is_refused(content: str, cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "input"
    if content == "text":
        path.write_text("no tar")
    else:
        path.mkdir()
    with pytest.raises(UserError, match=r"no tar that can be read|holds no images"):
        prepare(path, "jpeg")
    assert not list(cache.rglob(f"{path.stem}-*/*"))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["broken.jpg", "bro\nken.jpg"])
def test_bad_image_is_named_by_the_users_path(
    folder: Path, cache: Path, tmp_path: Path, packed: bool, name: str
) -> None:
    (folder / "deep" / name).write_bytes(b"no image")
    where, data = f"{folder}/deep/{name}", folder
    if packed:
        data = tmp_path / "photos.tar"
        where = f"photos/deep/{name} in {data}"
        with tarfile.open(data, "w") as tar:
            tar.add(folder, "photos")
    with pytest.raises(UserError) as caught:
        prepare(data, "jpeg")
    assert str(caught.value) == (
        f"cannot use image {where if where.isprintable() else repr(where)}: "
        f"it is not an image in a format known here: remove it"
    )

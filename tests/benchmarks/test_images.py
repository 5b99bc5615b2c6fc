"""The benchmark's images: the same file for the same input, another one for another, and clear refusals."""

import tarfile
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.images import prepare
from engine.data.beton.reader import open_beton
from engine.data.storage import RAW
from engine.errors import UserError


def test_a_folder_is_converted_once(folder: Path, cache: Path) -> None:
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


def test_a_changed_folder_is_converted_anew(folder: Path, cache: Path) -> None:
    first = prepare(folder, "jpeg")
    (folder / "0.JPEG").unlink()
    assert prepare(folder, "jpeg").num_samples == 9
    assert first.beton.exists()


def test_a_damaged_file_is_written_again(folder: Path, cache: Path) -> None:
    first = prepare(folder, "jpeg")
    first.beton.write_bytes(first.beton.read_bytes()[:-8])
    assert prepare(folder, "jpeg") == first


def test_a_part_is_spread_evenly(folder: Path, cache: Path) -> None:
    found = open_beton(prepare(folder, "raw", 5).beton)
    # Sorted by path: 0, 2, 4, 6, 8, then deep/1, 3, 5, 7, 9; every second one of these.
    assert sorted(found.images["width"].tolist()) == [40, 43, 44, 47, 48]


def test_images_are_repeated_as_records_of_their_own(folder: Path, cache: Path) -> None:
    once, often = prepare(folder, "raw"), prepare(folder, "raw", 25)
    assert (once.num_samples, often.num_samples) == (10, 25)
    assert often.identity.startswith("photos: 10 images repeated to 25, raw, ")
    beton = open_beton(often.beton)
    assert len(set(beton.images["data_ptr"].tolist())) == 25
    memory = beton.memory()
    records = Counter(
        memory[start : start + size].tobytes()
        for start, size in zip(beton.images["data_ptr"].tolist(), beton.sizes.tolist(), strict=True)
    )
    # 25 of 10: five of them three times, the others twice.
    assert sorted(records.values()) == [2] * 5 + [3] * 5
    assert often.bytes == sum(len(record) * times for record, times in records.items())


def test_images_are_repeated_in_the_order_of_the_file_of_each_once(folder: Path, cache: Path) -> None:
    for storage in ("jpeg", "raw", "yuv420"):
        once, often = (open_beton(prepare(folder, storage, count).beton) for count in (None, 25))
        for field in ("width", "height", "mode"):
            assert often.images[field].tolist() == (once.images[field].tolist() * 3)[:25]
        assert often.labels.tolist() == (once.labels.tolist() * 3)[:25]
        assert once.checksums is not None and often.checksums is not None
        assert often.checksums.tolist() == (once.checksums.tolist() * 3)[:25]


@pytest.mark.parametrize("count", [None, 7])
def test_every_storage_holds_the_same_images_in_the_same_order(
    count: int | None, folder: Path, cache: Path
) -> None:
    betons = [open_beton(prepare(folder, storage, count).beton) for storage in ("jpeg", "raw", "yuv420")]
    manifests = [beton.manifest for beton in betons]
    assert manifests[0] is not None
    for beton, manifest in zip(betons, manifests, strict=True):
        assert manifest is not None
        assert manifest.ids == manifests[0].ids
        assert (beton.labels == betons[0].labels).all()


def test_a_tar_gives_the_pixels_of_its_files(folder: Path, cache: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(folder, "photos")
    ours, theirs = (open_beton(prepare(path, "raw").beton) for path in (folder, tmp_path / "photos.tar"))
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
        prepare(path, "jpeg")
    assert not list(cache.rglob(f"{path.stem}-*/*"))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["broken.jpg", "bro\nken.jpg"])
def test_an_image_that_cannot_be_used_is_named_where_the_user_has_it(
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

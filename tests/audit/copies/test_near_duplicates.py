"""Copies of photos are found however they were made, different photos are not, and all pairs of hashes are compared."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from engine.audit.collection import Collection
from engine.audit.copies.image_copies import ALIKE, NEAR_BITS, find_pairs
from engine.audit.copies.near import KEYS, MOST, SIDE, near_pairs, perceptual_hashes, similarity
from engine.audit.pictures import Pictures
from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert


def encode(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def crop(image: Image.Image, share: float) -> Image.Image:
    """Without this share of its width and height."""
    width, height = image.size
    left, top = int(width * share / 2), int(height * share / 2)
    return image.crop((left, top, width - left, height - top))


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)


# How a copy is made, and the least share of such copies that has to be found.
COPIES: dict[str, tuple[Callable[[Image.Image], Image.Image], float]] = {
    "encoded again": (lambda image: encode(image, 40), 1.0),
    "half the size": (lambda image: encode(half(image), 80), 1.0),
    "2% cropped": (lambda image: encode(crop(image, 0.02), 90), 0.95),
    "5% cropped": (lambda image: encode(crop(image, 0.05), 90), 0.5),
    "a third darker": (lambda image: ImageEnhance.Brightness(image).enhance(0.67), 1.0),
    "more contrast": (lambda image: ImageEnhance.Contrast(image).enhance(1.3), 1.0),
    "paler": (lambda image: ImageEnhance.Color(image).enhance(0.6), 0.95),
}
PHOTOS = 14


@pytest.fixture(scope="module")
def collection(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """All 391 photos of train, and in val one kind of copy after the other, of 14 photos each."""
    folder = tmp_path_factory.mktemp("copies")
    (folder / "train").symlink_to(photos / "train")
    originals = sorted((photos / "train").rglob("*.JPEG"))
    for kind, (copy, _) in enumerate(COPIES.values()):
        for path in originals[kind * PHOTOS : (kind + 1) * PHOTOS]:
            to = folder / "val" / path.parent.name / path.name
            to.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as image:
                copy(image.convert("RGB")).save(to, "JPEG", quality=95)
    for name in {path.parent.name for path in originals}:
        (folder / "val" / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), "white").save(folder / "val" / name / "plain.JPEG")
    output = OutputConfig(folder=str(folder), max_resolution=256, num_workers=1, page_size=2)
    paths = convert(WriteConfig(source=SourceConfig(path=str(folder)), output=output))
    return Collection.of(*(open_beton(paths[split]) for split in ("train", "val")))


def test_copies_are_found_and_other_photos_are_not(collection: Collection) -> None:
    with Pictures(collection.betons, 2) as pictures:
        pairs, beyond = find_pairs(collection, pictures, near=True)
        assert not pictures.damaged
    assert beyond == 0
    names = [{Path(collection.source_id(image)).name for image in (pair.one, pair.other)} for pair in pairs]
    assert all(len(both) == 1 for both in names), "a pair of two different photos"
    found = {name for both in names for name in both}
    originals = sorted(
        (Path(source) for source in collection.train.manifest.ids),  # type: ignore[union-attr]
        key=lambda path: path.parts[-2:],
    )
    for kind, (name, (_, least)) in enumerate(COPIES.items()):
        copied = originals[kind * PHOTOS : (kind + 1) * PHOTOS]
        assert np.mean([path.name in found for path in copied]) >= least, name


def test_thresholds_separate_copies_from_other_photos(collection: Collection) -> None:
    with Pictures(collection.betons, 2) as pictures:
        small = pictures.whole(np.arange(collection.train.num_samples), SIDE)
    hashes = perceptual_hashes(small)
    places, _ = near_pairs(hashes, NEAR_BITS + 6)
    assert (similarity(*(small[places[:, side]] for side in (0, 1))) < ALIKE - 0.1).all()
    assert len(near_pairs(hashes, NEAR_BITS)[0]) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(0, 20), st.integers(0, 2**31), st.integers(8, 64))
def test_near_pairs_match_brute_force(count: int, limit: int, seed: int, bits: int) -> None:
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 2**64, count, dtype=np.uint64) & np.uint64(2**bits - 1)
    pairs, beyond = near_pairs(hashes, limit)
    expected = [
        (one, other)
        for one in range(count)
        for other in range(one + 1, count)
        if np.bitwise_count(hashes[one] ^ hashes[other]) <= limit
    ]
    kept = [
        pair
        for pair in expected
        if sum(first == pair[0] for first, _ in expected[: expected.index(pair)]) < MOST
    ]
    assert pairs.tolist() == [list(pair) for pair in kept]
    assert beyond == len(expected) - len(kept)


def test_pairs_across_slices_are_found_with_full_progress() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 9000, dtype=np.uint64)
    hashes[8999], hashes[4100] = hashes[0] ^ np.uint64(5), hashes[4099]
    lookups: list[int] = []
    pairs, _ = near_pairs(hashes, 3, lookups.append)
    assert pairs.tolist() == [[0, 8999], [4099, 4100]]
    assert sum(lookups) == KEYS * 9000


@pytest.mark.parametrize("bits", range(NEAR_BITS + 3))
def test_planted_pairs_are_found_for_any_bit_positions(bits: int) -> None:
    random = np.random.default_rng(bits)
    # So few that none are near by chance.
    hashes = random.integers(0, 2**64, 2000, dtype=np.uint64)
    for copy in range(1000, 2000):
        flips = random.choice(64, bits, replace=False).astype(np.uint64)
        hashes[copy] = hashes[copy - 1000] ^ np.bitwise_or.reduce(np.uint64(1) << flips, initial=np.uint64(0))
    pairs, beyond = near_pairs(hashes, NEAR_BITS)
    expected = [[one, one + 1000] for one in range(1000)] if bits <= NEAR_BITS else []
    assert (pairs.tolist(), beyond) == (expected, 0)


def test_thousands_of_copies_are_counted_and_the_nearest_kept() -> None:
    hashes = np.full(3000, 0xFEDCBA9876543210, np.uint64)
    hashes[::3] = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64)
    pairs, beyond = near_pairs(hashes, NEAR_BITS)
    same = np.flatnonzero(np.arange(3000) % 3)
    expected = [[one, other] for row, one in enumerate(same) for other in same[row + 1 : row + 1 + MOST]]
    assert pairs.tolist() == expected
    assert len(pairs) + beyond == 2000 * 1999 // 2


def test_plain_images_match_only_in_the_same_colour() -> None:
    white, grey, photo = (np.full((1, SIDE, SIDE, 3), level, np.uint8) for level in (255, 128, 0))
    photo[:] = np.random.default_rng(0).integers(0, 255, photo.shape)
    assert perceptual_hashes(white) == perceptual_hashes(grey)
    assert similarity(white, white) == 1
    assert similarity(white, grey) == 0
    assert similarity(white, photo) == 0
    assert similarity(photo, photo) == pytest.approx(1)

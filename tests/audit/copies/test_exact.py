"""Equal bytes are found within and across files, with checksums and without; equal checksums alone are not enough."""

from pathlib import Path

import numpy as np
import pytest

from engine.audit.collection import Collection
from engine.audit.copies.exact import exact_groups
from engine.audit.copies.image_copies import check_duplicates, find_pairs
from engine.audit.finding import FINE, FOUND
from engine.audit.pictures import Pictures
from engine.data.beton.reader import open_beton
from tests.data.betons import drop_checksums, write_pixels


def pictures_of(*seeds: int) -> list[np.ndarray]:
    return [np.random.default_rng(seed).integers(0, 255, (24, 24, 3), dtype=np.uint8) for seed in seeds]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Six pictures, the first three of class a: 2 and 5 are the same; and four, of which two are of the others."""
    train = write_pixels(tmp_path / "one", pictures_of(1, 2, 3, 4, 5, 3))
    return train, write_pixels(tmp_path / "two", pictures_of(4, 11, 12, 1))


def ids(collection: Collection, images: np.ndarray) -> list[tuple[str, str]]:
    return sorted(
        (collection.place(int(image))[0], Path(collection.source_id(int(image))).stem) for image in images
    )


EXPECTED = [
    [("train", "0000"), ("val", "0003")],
    [("train", "0002"), ("train", "0005")],
    [("train", "0003"), ("val", "0000")],
]


@pytest.mark.parametrize("checksums", [True, False])
def test_equal_images_are_grouped_over_both_files(files: tuple[Path, Path], checksums: bool) -> None:
    if not checksums:
        drop_checksums(files[1])
    collection = Collection.of(*map(open_beton, files))
    groups = exact_groups(collection.betons)
    assert sorted(ids(collection, group) for group in groups) == EXPECTED


def test_pairs_give_findings_for_labels_leaks_and_repeats(files: tuple[Path, Path]) -> None:
    collection = Collection.of(*map(open_beton, files))
    with Pictures(collection.betons, 1) as pictures:
        pairs, beyond = find_pairs(collection, pictures, near=False)
    said = {finding.check: finding for finding in check_duplicates(collection, pairs, beyond, near=False)}
    # 0 is a in train and b in val; 2 and 5 are a and b; 3 is b in train and a in val.
    assert said["contradicting labels"].level == FOUND
    assert said["contradicting labels"].verdict.startswith("3 pairs")
    assert said["train in val"].data["images"] == 2
    assert said["train in val"].verdict.startswith("2 (50.00%)")
    assert len(said["repeated images"].data["pairs"]) == 1


def test_equal_checksums_of_different_bytes_are_no_pair(files: tuple[Path, Path]) -> None:
    betons = [open_beton(path) for path in files]
    for beton in betons:
        assert beton.checksums is not None
        object.__setattr__(beton, "checksums", np.zeros_like(beton.checksums))
    collection = Collection.of(*betons)
    assert sorted(ids(collection, group) for group in exact_groups(betons)) == EXPECTED


def test_files_without_copies_are_fine(tmp_path: Path) -> None:
    files = (write_pixels(tmp_path / str(n), pictures_of(n, n + 10)) for n in (1, 2))
    collection = Collection.of(*map(open_beton, files))
    assert exact_groups(collection.betons) == []
    assert {finding.level for finding in check_duplicates(collection, [], 0, near=True)} == {FINE}

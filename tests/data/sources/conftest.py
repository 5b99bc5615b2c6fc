"""A small image folder that every form of a data set is made of."""

from pathlib import Path

import pytest

from tests.data.conftest import jpeg_bytes, photo

CLASSES = ("n01440764", "n01443537", "n02085620")


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of three classes: 5, 6 and 7 training images, 3 of each for validation. Not to be changed."""
    root = tmp_path_factory.mktemp("animals")
    for split, counts in (("train", (5, 6, 7)), ("val", (3, 3, 3))):
        for label, (name, count) in enumerate(zip(CLASSES, counts, strict=True)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                seed = 100 * label + number + (50 if split == "val" else 0)
                # Numbers of one and two digits: sorted as text they have another order.
                (folder / f"{name}_{number * 4}.JPEG").write_bytes(jpeg_bytes(photo(8 + number, 9, seed)))
    return root
